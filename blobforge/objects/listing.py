"""Lists of the embedded store: its folders walked in the order of their keys. Everything here blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from blobforge.objects import Listed
from blobforge.objects.incoming import os_failure
from blobforge.objects.keys import SOURCES, check_prefix


def page(root: Path, prefix: str, *, after: str, limit: int) -> list[Listed]:
    """One page of `ObjectStore.list_page`. Raises ObjectStoreError."""
    check_prefix(prefix)
    walk = _sources(root, after) if prefix == SOURCES else _below(root / prefix, prefix, after)
    found = (_described(key, path) for key, path in walk if key > after)
    try:
        return list(islice((each for each in found if each is not None), limit))
    except OSError as error:
        raise os_failure("list the objects", root, error) from error


def stale(folder: Path, *, before: float) -> list[Path]:
    """Files in `folder` that were last written to before `before` (Unix seconds)."""
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.stat(follow_symlinks=False).st_mtime < before]
    except FileNotFoundError:
        return []  # one of them has just gone: there is a next time
    except OSError as error:
        raise os_failure("look through unfinished uploads", folder, error) from error


def _sources(root: Path, after: str) -> Iterator[tuple[str, Path]]:
    top = root / "sources"
    first = after.removeprefix(SOURCES)[:2]
    for folder in _names(top):
        if folder >= first:
            yield from ((f"{SOURCES}{name}", top / folder / name) for name in _names(top / folder))


def _below(folder: Path, beginning: str, after: str) -> Iterator[tuple[str, Path]]:
    """The files in the folder and below; `beginning` is what their keys begin with.

    Names that begin with a dot are notes beside an object, and go with it.
    """
    for name in _names(folder):
        path, key = folder / name, f"{beginning}{name}"
        # All keys below are known when `after` is behind them: neither below, nor before.
        if name[0] == "." or (after > f"{key}/" and not after.startswith(f"{key}/")):
            continue
        if path.is_dir():
            yield from _below(path, f"{key}/", after)
        else:
            yield key, path


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _described(key: str, path: Path) -> Listed | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return Listed(key, status.st_size, status.st_mtime) if stat.S_ISREG(status.st_mode) else None
