"""The work behind `results verify`: a folder of results is compared with a manifest that is proven, offline.

State owned here: an SQLite file for the time of it, so that a million results take no memory. A result may stand
where `results download` puts it: under its name, or, where that was taken, under the one with its job's id in it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from blobforge.cli.fetch import names
from blobforge.cli.fetch.names import Layout, Names
from blobforge.manifest import ManifestHead, ManifestJob, ManifestMore, ManifestOutput, read

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
        for line in read(manifest):
            match line:
                case ManifestHead():
                    continue
                case ManifestJob():
                    job = line
                case ManifestMore():
                    pass
            assert job is not None, "more comes behind its job"
            for output in line.outputs:
                self._look(job, output)
            done(len(line.outputs))
        yield from self._findings()

    def tally(self) -> Tally:
        return Tally(self._good, self._unproven)

    def _look(self, job: ManifestJob, output: ManifestOutput) -> None:
        beside = names.place(
            self._layout,
            job_id=job.job_id,
            source_hash=job.source_hash,
            source_path=job.source_path,
            filename=output.name.rpartition("/")[2],
        )
        # One of several may be called `img/1.png`. Where only the main one was fetched, it stands without folders.
        asked = (*beside[:-1], *names.folders_of(output.name), beside[-1])
        candidates = [
            "/".join(each) for place in dict.fromkeys((asked, beside)) for each in self._candidates(place, job.job_id)
        ]
        for candidate in candidates:
            for path, size, plain in self._standing(candidate):
                if plain and self._is(path, size, output):
                    self._claim(path)
                    if output.sha256 is None:
                        self._unproven += 1
                    else:
                        self._good += 1
                    return
        # What stands there may be another job's, which is still to come.
        self._db.execute(
            "INSERT INTO unfound (job_id, name, path, others) VALUES (?, ?, ?, ?)",
            (job.job_id, output.name, "/".join(asked), "\0".join(candidates)),
        )

    def _candidates(self, asked: Names, job_id: int) -> Iterator[Names]:
        """Where it may stand. The name with its id comes first: under the plain one may be another job's, of the same
        bytes."""
        folders: Names = ()
        for part in asked[:-1]:
            folder = part
            while self._is_file((*folders, folder)):
                folder += "~"
            folders = (*folders, folder)
        for where in dict.fromkeys((folders, asked[:-1])):
            for again in range(_TAKEN):
                yield (*where, names.apart(asked[-1], job_id, again))
            yield (*where, asked[-1])

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
