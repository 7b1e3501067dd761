"""The work behind `results verify`: a folder of results is compared with a manifest that is proven, offline.

State owned here: an SQLite file for the time of it, so that a million results take no memory. A result may stand
where `results download` puts it: under its name, or, where that was taken, under the one with its job's id in it, and
so for each path of its source.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from blobforge import resultnames as names
from blobforge.manifest import ManifestHead, ManifestJob, ManifestMore, ManifestOutput, read
from blobforge.resultnames import Layout, Names

_TAKEN = 3  # names with a job's id in it that are looked at
_SCHEMA = """
CREATE TABLE files (path TEXT PRIMARY KEY, place TEXT NOT NULL, size INTEGER, plain INTEGER NOT NULL,
                    claimed INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX files_by_place ON files (place);
CREATE TABLE unfound (id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL,
                      others TEXT NOT NULL);
"""


class FolderFinding(NamedTuple):
    """What is wrong in the folder, at `path` below it. An extra file has no `job_id` and no `name`."""

    problem: Literal["missing", "changed", "extra"]
    path: str
    job_id: int | None = None
    name: str | None = None


class Tally(NamedTuple):
    """`good` are as they were signed; of `unproven` the manifest knows no hash, and their size is as it says."""

    good: int
    unproven: int


class FolderCheck:
    """One comparison. `besides` are files in the folder that are no results, such as the manifest itself."""

    def __init__(self, root: Path, layout: Layout, *, besides: frozenset[Path] = frozenset()) -> None:
        self._root = root.resolve()
        self._layout = layout
        self._db = sqlite3.connect("")  # a file that goes with the connection
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.executescript(_SCHEMA)
        self._good = self._unproven = 0
        self._db.executemany("INSERT INTO files (path, place, size, plain) VALUES (?, ?, ?, ?)", self._walk(besides))

    def close(self) -> None:
        self._db.close()

    def compare(self, manifest: BinaryIO, *, done: Callable[[int], None]) -> Iterator[FolderFinding]:
        """All that is wrong; `done` is called with how many outputs more were looked at. Raises ManifestError,
        OSError."""
        job: ManifestJob | None = None
        outputs: list[ManifestOutput] = []
        paths: list[str] = []
        for line in read(manifest):
            match line:
                case ManifestHead():
                    continue
                case ManifestJob():
                    if job is not None:
                        self._look_for(job, outputs, paths)
                    job, outputs, paths = line, [*line.outputs], [*line.paths]
                case ManifestMore():
                    outputs += line.outputs
                    paths += line.paths
            done(len(line.outputs))
        if job is not None:
            self._look_for(job, outputs, paths)
        yield from self._findings()

    def tally(self) -> Tally:
        return Tally(self._good, self._unproven)

    def _look_for(self, job: ManifestJob, outputs: list[ManifestOutput], further: list[str]) -> None:
        """The outputs of a job, each at each path of its source."""
        paths = [job.source_path, *further] if self._layout == "path" else [job.source_path]
        for output in outputs:
            places = dict.fromkeys(self._places(job, path, output) for path in paths)
            found = [self._is_at(place, job, output) for place in places]
            if all(found):
                if output.sha256 is None:
                    self._unproven += 1
                else:
                    self._good += 1

    def _places(self, job: ManifestJob, path: str | None, output: ManifestOutput) -> tuple[tuple[Names, Names], ...]:
        """The folder that is the job's alone, where it has several outputs, and what is below that. Of one output the
        manifest does not tell whether it was brought as one of several."""
        several = names.place_of_several(
            self._layout, job_id=job.job_id, source_hash=job.source_hash, source_path=path, name=output.name
        )
        if job.outputs_total > 1:
            return (several,)
        last = output.name.rpartition("/")[2]
        filename = names.name_beside(path, first=job.source_path, filename=last)
        single = names.place(
            self._layout, job_id=job.job_id, source_hash=job.source_hash, source_path=path, filename=filename
        )
        return ((), single), several

    def _is_at(self, places: tuple[tuple[Names, Names], ...], job: ManifestJob, output: ManifestOutput) -> bool:
        looked_at: dict[str, None] = {}
        for candidate in ("/".join(each) for place in places for each in self._candidates(place, job.job_id)):
            if candidate in looked_at:
                continue
            looked_at[candidate] = None
            for path, size, plain in self._standing(candidate):
                if plain and self._is(path, size, output):
                    self._claim(path)
                    return True
        # What stands there may be another job's, which is still to come.
        own, inside = places[0]
        self._db.execute(
            "INSERT INTO unfound (job_id, name, path, others) VALUES (?, ?, ?, ?)",
            (job.job_id, output.name, "/".join((*own, *inside)), "\0".join(looked_at)),
        )
        return False

    def _candidates(self, place: tuple[Names, Names], job_id: int) -> Iterator[Names]:
        """Where it may stand. The name with its id comes first: under the plain one may be another job's, of the same
        bytes."""
        own, inside = place
        for folder in self._own_folders(own, job_id):
            for where in self._folders(folder, inside[:-1]):
                for again in range(_TAKEN):
                    yield (*where, names.apart(inside[-1], job_id, again))
                yield (*where, inside[-1])

    def _own_folders(self, own: Names, job_id: int) -> Iterator[Names]:
        if not own:
            yield ()
            return
        for where in self._folders((), own[:-1]):
            for again in range(_TAKEN):
                yield (*where, names.apart(own[-1], job_id, again))
            yield (*where, own[-1])

    def _folders(self, below: Names, asked: Names) -> Iterator[Names]:
        """What they may be called: where there is a file of that name, or it is another job's alone, it has a `~`."""
        folders = below
        for part in asked:
            folder = part
            while self._is_file((*folders, folder)):
                folder += "~"
            folders = (*folders, folder)
        yield folders
        yield (*below, *asked)
        for depth in range(len(asked)):
            yield (*below, *asked[:depth], f"{asked[depth]}~", *asked[depth + 1 :])

    def _is_file(self, path: Names) -> bool:
        return self._db.execute("SELECT 1 FROM files WHERE place = ?", (names.key(path),)).fetchone() is not None

    def _standing(self, path: str) -> list[tuple[str, int, bool]]:
        """What stands at that path and is no other result, on a file system that takes two spellings for one, too."""
        found = self._db.execute(
            "SELECT path, size, plain FROM files WHERE place = ? AND claimed = 0 ORDER BY path <> ?",
            (names.key(tuple(path.split("/"))), path),
        )
        return [(each, size, bool(plain)) for each, size, plain in found.fetchall()]

    def _is(self, path: str, size: int, output: ManifestOutput) -> bool:
        if output.size not in (None, size):
            return False
        if output.sha256 is None:
            return True
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(self._root / path, flags), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == output.sha256

    def _claim(self, path: str) -> None:
        self._db.execute("UPDATE files SET claimed = 1 WHERE path = ?", (path,))

    def _findings(self) -> Iterator[FolderFinding]:
        for job_id, name, path, others in self._db.execute(
            "SELECT job_id, name, path, others FROM unfound ORDER BY id"
        ):
            standing = [each for candidate in others.split("\0") for each, _, _ in self._standing(candidate)]
            if standing:
                self._claim(standing[0])
                yield FolderFinding("changed", standing[0], job_id, name)
            else:
                yield FolderFinding("missing", path, job_id, name)
        for (path,) in self._db.execute("SELECT path FROM files WHERE claimed = 0 ORDER BY path"):
            yield FolderFinding("extra", path)

    def _walk(self, besides: frozenset[Path]) -> Iterator[tuple[str, str, int, bool]]:
        """All that is no folder; no link is followed. Names that are no UTF-8 are told as they can be written."""
        left: list[Names] = [()]
        while left:
            within = left.pop()
            with os.scandir(self._root.joinpath(*within)) as entries:
                for entry in entries:
                    path = (*within, entry.name)
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(status.st_mode):
                        left.append(path)
                    elif self._root.joinpath(*path) not in besides:
                        shown = "/".join(path).encode("utf-8", "surrogateescape").decode(errors="backslashreplace")
                        yield shown, names.key(tuple(shown.split("/"))), status.st_size, stat.S_ISREG(status.st_mode)
