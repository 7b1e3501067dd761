"""The folders of the process's user, by XDG and the customs of other systems; none without a home.

A process in a bare container has no HOME, and its user no entry in passwd. What would be kept there is then not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

NO_HOME = "this user has no home folder: set HOME, or XDG_CONFIG_HOME, XDG_CACHE_HOME and XDG_STATE_HOME"


def config() -> Path | None:
    """Settings: `blobforge login`."""
    from platformdirs import user_config_path

    return _if_there(lambda: user_config_path("blobforge", appauthor=False))


def cache() -> Path | None:
    """The folder for files that can be made again: the hashes of files."""
    from platformdirs import user_cache_path

    return _if_there(lambda: user_cache_path("blobforge"))


def state() -> Path | None:
    """The folder for files that should outlive a process: the instances of workers."""
    from platformdirs import user_state_path

    return _if_there(lambda: user_state_path("blobforge", appauthor=False))


def _if_there(folder: Callable[[], Path]) -> Path | None:
    try:
        found = folder()
    except RuntimeError:
        return None
    return found if found.is_absolute() else None
