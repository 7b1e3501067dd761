"""A private folder for one piece of work with a backup: nothing of it stays."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blobforge.backup import BackupError


@contextmanager
def private_folder(folder: Path) -> Iterator[Path]:
    """Make the folder for the block, for our own eyes only; what a killed run has left in it goes first.

    Yields the path as it was given. Raises BackupError when it cannot be made.
    """
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise BackupError(f"cannot make {folder}: {error}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
