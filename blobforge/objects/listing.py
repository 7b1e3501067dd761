"""Lists of the embedded store: its folders walked in the order of their keys. Everything here blocks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from blobforge.objects import Listed, ListedPage
from blobforge.objects.incoming import os_failure
from blobforge.objects.keys import SOURCES, check_prefix
from blobforge.objects.paths import part_of


def page(root: Path, prefix: str, *, after: str, limit: int) -> ListedPage:
    """One page of `ObjectStore.list_page`. Raises ObjectStoreError."""
    check_prefix(prefix)
    walk = _sources(root, after) if prefix == SOURCES else _below(root / prefix, prefix, after)
    found = (_described(key, path) for key, path in walk if key > after)
    try:
        listed = list(islice((each for each in found if each is not None), limit + 1))
    except OSError as error:
        raise os_failure("list the objects", root, error) from error
    return ListedPage(listed[:limit], listed[limit - 1].key if len(listed) > limit else None)


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
    for part, is_folder, path in sorted(_parts(folder)):
        key = f"{beginning}{part}"
        if not is_folder:
            yield key, path
        # All keys below are known when `after` is behind them: neither below, nor before.
        elif after <= key or after.startswith(key):
            yield from _below(path, key, after)


def _parts(folder: Path) -> Iterator[tuple[str, bool, Path]]:
    """What the keys below go on with, a folder's part with its slash, so that they are in the order of keys."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name[0] != ".":
                    is_folder = entry.is_dir(follow_symlinks=False)
                    part = part_of(entry.name)
                    yield f"{part}/" if is_folder else part, is_folder, folder / entry.name
    except (FileNotFoundError, NotADirectoryError):
        return


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
