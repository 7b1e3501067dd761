"""Stages: all that came of one accepted result by one step, and the manifest of it, which a joining job has as its
source.

The manifest is JSON, written once: what a page came to later makes another one. A job of the stage that did not
complete stands under `missing`: one bad page costs a page. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec

MOST_INPUTS: Final = 2_000  # outputs that one joining job is given
FORMAT: Final = 1


class Input(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output of a job of the stage. `name` is that of the output that this job came of, and its own behind it;
    `key` names the object, `version` which of it where the store has versions; `sha256` is as it is on record."""

    name: str
    job_id: int
    attempt: int
    key: str
    size: int | None = None
    sha256: str | None = None
    version: str | None = None


class Missing(msgspec.Struct, frozen=True, omit_defaults=True):
    """A job of the stage that brought nothing: it is dead or cancelled, or completed without an output."""

    name: str
    job_id: int
    status: str
    error: str | None = None


class StageManifest(msgspec.Struct, frozen=True):
    """`parent`, `attempt` and `step` say which stage; `inputs` and `missing` are by name."""

    blobforge_join: int
    parent: int
    attempt: int
    step: int
    inputs: Sequence[Input]
    missing: Sequence[Missing]


def written(manifest: StageManifest) -> tuple[str, str]:
    """The text of the manifest, and its SHA-256."""
    text = msgspec.json.encode(manifest)
    return text.decode(), hashlib.sha256(text).hexdigest()


_decode = msgspec.json.Decoder(StageManifest).decode


def read(text: str) -> StageManifest:
    return _decode(text)
