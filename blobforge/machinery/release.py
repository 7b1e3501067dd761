"""The number of the release that runs."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """As it is installed; looked up on the disk once in a process, for that takes a millisecond."""
    return metadata.version("blobforge-server")
