"""What a worker does for each job of a type, in words that another machine can do it by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec

IN_METADATA = "recipes"
"""Under this name, by type, it stands in the metadata of a worker's registration."""


class Recipe(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The options of `blobforge work`: a command (`exec`) or a function (`handler`), the limits (seconds, bytes), and
    the rules for outputs and their names, but for schemas, which are files of the worker's. `since`: when the worker
    registered with it, RFC 3339."""

    exec: str | None = None
    handler: str | None = None
    stdout: bool = False
    timeout: float | None = None
    stall_timeout: float | None = None
    progress_regex: str | None = None
    max_memory: int | None = None
    min_size: tuple[str, ...] = ()
    media_type: tuple[str, ...] = ()
    check: str | None = None
    output_suffix: str = ""
    since: str | None = None

    @classmethod
    def of(cls, metadata: Any, type_: str) -> Self | None:
        """That of a worker with this metadata, for jobs of this type; None: it told none."""
        recipes = metadata.get(IN_METADATA) if isinstance(metadata, Mapping) else None
        try:
            return msgspec.convert(recipes[type_], cls) if isinstance(recipes, Mapping) and type_ in recipes else None
        except msgspec.ValidationError:  # another version's
            return None
