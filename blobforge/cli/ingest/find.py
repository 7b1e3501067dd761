"""Which files the arguments of `submit` and `ingest` mean. Blocks: it reads folders."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

TYPES = {".pdf": "pdf"}
"""The job type of a file by its suffix. Other suffixes name their own: `.epub` is `epub`."""

LONGEST_TAG = 100  # characters; the server refuses more
MOST_TAGS = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Candidate(NamedTuple):
    """A file to submit, as a job of this type. `size` (bytes), `mtime_ns` and `inode` are what it had when found."""

    path: str
    type: str
    tags: tuple[str, ...]
    size: int
    mtime_ns: int
    inode: int


class Problem(NamedTuple):
    """An argument, or a file below one, that cannot be taken, and why. `misnamed`: the argument means no file."""

    path: str
    reason: str
    misnamed: bool = False


Tagger = Callable[[str, str], tuple[str, ...]]
"""(argument, file) -> the tags that the file's place gives it."""


def no_tags(_argument: str, _path: str) -> tuple[str, ...]:
    """A file's place says nothing."""
    return ()


def tags_of_path(argument: str, path: str) -> tuple[str, ...]:
    """The folders and the file's name without its suffix: `books/comics/obelix.pdf` is books, comics, obelix.

    A relative argument counts as it was typed; of an absolute one, or one that leads outside (`..`), only what is
    below it: where on this machine a collection lies says nothing about what is in it.
    """
    typed = PurePath(argument)
    counted = PurePath(path)
    if typed.is_absolute() or ".." in typed.parts:
        counted = counted.relative_to(typed)
    parts = [*counted.parts[:-1], counted.stem]
    names = (_CONTROL.sub(" ", os.fsencode(part).decode("utf-8", "replace")).strip() for part in parts)
    return tuple(dict.fromkeys(name[:LONGEST_TAG] for name in names if name not in ("", ".")))


def find(paths: Sequence[Path], job_type: str | None, tagger: Tagger = no_tags) -> Iterator[Candidate | Problem]:
    """The files that `paths` name, each once. In folders: those with the type's suffix, and no hidden ones."""
    seen: set[str] | None = set() if len(paths) > 1 else None
    for argument in map(str, paths):
        for each in _one(argument, job_type, tagger):
            if seen is None or isinstance(each, Problem):
                yield each
            elif each.path not in seen:
                seen.add(each.path)
                yield each


def _one(argument: str, job_type: str | None, tagger: Tagger) -> Iterator[Candidate | Problem]:
    try:
        status = os.stat(argument)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        yield Problem(argument, "no such file or folder" if missing else error.strerror or str(error), missing)
        return
    if stat.S_ISDIR(status.st_mode):
        wanted = job_type or "pdf"
        count = 0
        for each in _in_folder(argument, f".{wanted}".lower(), wanted, argument, tagger):
            count += 1
            yield each
        if not count:
            yield Problem(argument, f"no .{wanted} file in this folder", misnamed=True)
    elif not stat.S_ISREG(status.st_mode):
        yield Problem(argument, "not a file", misnamed=True)
    else:
        suffix = PurePath(argument).suffix.lower()
        if type_ := job_type or TYPES.get(suffix) or suffix.lstrip("."):
            yield _candidate(argument, type_, tagger(str(PurePath(argument).parent), argument), status)
        else:
            yield Problem(argument, "its name does not tell its type: give --type", misnamed=True)


def _in_folder(folder: str, suffix: str, type_: str, argument: str, tagger: Tagger) -> Iterator[Candidate | Problem]:
    under_way = [_entries(folder)]  # a list and no recursion: folders may be deeper than Python's stack
    while under_way:
        entry = next(under_way[-1], None)
        if entry is None:
            under_way.pop()
        elif isinstance(entry, Problem):
            yield entry
        elif not entry.name.startswith("."):
            try:
                # A link to a folder is not followed: it may lead out of the collection, or in a circle.
                if entry.is_dir(follow_symlinks=False):
                    under_way.append(_entries(entry.path))
                elif entry.name.lower().endswith(suffix) and entry.is_file():
                    yield _candidate(entry.path, type_, tagger(argument, entry.path), entry.stat())
            except OSError as error:
                yield Problem(entry.path, error.strerror or str(error))


def _entries(folder: str) -> Iterator[os.DirEntry[str] | Problem]:
    try:
        with os.scandir(folder) as scan:
            yield from sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        yield Problem(folder, f"cannot be read: {error.strerror or error}")


def _candidate(path: str, type_: str, tags: tuple[str, ...], status: os.stat_result) -> Candidate:
    path = path.removeprefix("./")
    return Candidate(path, type_, tags, status.st_size, status.st_mtime_ns, status.st_ino)
