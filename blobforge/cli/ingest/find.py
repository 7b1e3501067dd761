"""Which files the arguments of `submit` and `ingest` mean. Blocks: it reads folders."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import PurePath
from typing import NamedTuple

from pathspec import GitIgnoreSpec

TYPES = {".pdf": "pdf"}
"""The job type of a file by its suffix. Other suffixes name their own: `.epub` is `epub`."""

LONGEST_TAG = 100  # characters; the server refuses more
MOST_TAGS = 100
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class Candidate(NamedTuple):
    """A file to submit, as a job of this type. `size` (bytes), the times and `inode` are what it had when found.

    `name`: what the job is told as its source's path, where that is not the file's own.
    """

    path: str
    type: str
    tags: tuple[str, ...]
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    name: str = ""

    @property
    def shown(self) -> str:
        """The path for people and for the job."""
        return self.name or self.path


class RejectedPath(NamedTuple):
    """An argument, or a file below one, that cannot be taken, and why. `misnamed`: the argument means no file.
    `size`: the bytes that it was found with.
    """

    path: str
    reason: str
    misnamed: bool = False
    size: int = 0


class Selection:
    """Which files are meant: all that is given must hold. Of a folder's files a suffix is wanted always."""

    def __init__(
        self,
        job_type: str | None = None,
        suffixes: Sequence[str] = (),
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> None:
        """`include` and `exclude`: patterns as in .gitignore. Raises ValueError for what is none."""
        self.type = job_type
        self.given = tuple(f".{suffix.lower().removeprefix('.')}" for suffix in suffixes)
        self.suffixes = self.given or (f".{job_type or 'pdf'}".lower(),)
        self._include = GitIgnoreSpec.from_lines(include) if include else None
        self._exclude = GitIgnoreSpec.from_lines(exclude) if exclude else None

    def type_of(self, path: str) -> str:
        """The job type: the one that was given, else what the suffix says; nothing where it says nothing."""
        suffix = PurePath(path).suffix.lower()
        return self.type or TYPES.get(suffix) or suffix.lstrip(".")

    def leaves_out(self, below: str) -> bool:
        """Whether `exclude` names this path below the folder that is walked. A folder's ends with a slash."""
        return self._exclude is not None and self._exclude.match_file(below)

    def takes(self, below: str) -> bool:
        """Whether the patterns take this file, by its path below the folder that is walked."""
        return (self._include is None or self._include.match_file(below)) and not self.leaves_out(below)

    def takes_listed(self, path: str) -> bool:
        """Whether a file that a list names is taken: its suffix is looked at only where suffixes were given."""
        return (not self.given or path.lower().endswith(self.given)) and self.takes(
            os.path.normpath(path).lstrip("/")
        )


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


def find(
    arguments: Sequence[str], selection: Selection, tagger: Tagger = no_tags, *, listed: Iterable[str] | None = None
) -> Iterator[Candidate | RejectedPath]:
    """The files that `arguments` name, and then those that `listed` names, each once.

    A folder stands for the files in it, and below, that `selection` takes; hidden ones are none of them. An argument
    that is a file counts whatever its name; a listed one only if `selection` takes it.
    """
    seen: set[str] | None = set() if len(arguments) > 1 or listed is not None else None
    named = ((argument, False) for argument in arguments)
    for argument, in_list in chain(named, ((each, True) for each in listed or ())):
        for found in _one(argument, selection, tagger, in_list=in_list):
            if seen is None:
                yield found
            elif found.path not in seen:
                seen.add(found.path)
                yield found


def _one(argument: str, selection: Selection, tagger: Tagger, *, in_list: bool) -> Iterator[Candidate | RejectedPath]:
    try:
        status = os.stat(argument)
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        missing = isinstance(error, FileNotFoundError)
        why = getattr(error, "strerror", None) or str(error)
        yield RejectedPath(argument, "no such file or folder" if missing else why, missing)
        return
    if stat.S_ISDIR(status.st_mode):
        count = 0
        for each in _in_folder(argument, selection, tagger):
            count += 1
            yield each
        if not count:
            looked_for = " or ".join(selection.suffixes)
            reason = f"no {looked_for} file in this folder (--suffix takes others)"
            yield RejectedPath(argument, reason, misnamed=True)
    elif in_list and not selection.takes_listed(argument):
        return
    elif not stat.S_ISREG(status.st_mode):
        yield RejectedPath(argument, "not a file", misnamed=True)
    elif type_ := selection.type_of(argument):
        yield _candidate(argument, type_, tagger(str(PurePath(argument).parent), argument), status)
    else:
        yield RejectedPath(argument, "its name does not tell its type: give --type", misnamed=True)


def _in_folder(folder: str, selection: Selection, tagger: Tagger) -> Iterator[Candidate | RejectedPath]:
    under_way = [_entries(folder)]  # a list and no recursion: folders may be deeper than Python's stack
    while under_way:
        entry = next(under_way[-1], None)
        if entry is None:
            under_way.pop()
        elif isinstance(entry, RejectedPath):
            yield entry
        elif not entry.name.startswith("."):
            below = os.path.relpath(entry.path, folder)
            try:
                # A link to a folder is not followed: it may lead out of the collection, or in a circle.
                if entry.is_dir(follow_symlinks=False):
                    if not selection.leaves_out(f"{below}/"):
                        under_way.append(_entries(entry.path))
                elif entry.name.lower().endswith(selection.suffixes) and selection.takes(below):
                    if entry.is_file():
                        yield _candidate(
                            entry.path, selection.type_of(entry.path), tagger(folder, entry.path), entry.stat()
                        )
                    elif not entry.is_dir():
                        yield RejectedPath(entry.path, "a link to nothing" if entry.is_symlink() else "not a file")
            except OSError as error:
                yield RejectedPath(entry.path, error.strerror or str(error))


def _entries(folder: str) -> Iterator[os.DirEntry[str] | RejectedPath]:
    try:
        with os.scandir(folder) as scan:
            yield from sorted(scan, key=lambda entry: entry.name)
    except OSError as error:
        yield RejectedPath(folder, f"cannot be read: {error.strerror or error}")


def _candidate(path: str, type_: str, tags: tuple[str, ...], status: os.stat_result) -> Candidate:
    path = path.removeprefix("./")
    return Candidate(path, type_, tags, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
