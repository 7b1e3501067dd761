"""What a folder of results holds. State owned here: one SQLite file for each folder and server, in the user's cache
folder, so that nothing but results is in the folder itself.

It may be lost at any time: what is in the folder is then known again by its bytes, and not fetched a second time. A
file is taken to be what was fetched while its size and its mtime are.

Two results never have one path. The one that has it keeps it; of those that come together, the job with the lowest id
has the name, and each other one has its own id in it (`names.apart`). A job with several outputs has a folder for
itself, which is kept apart as a whole. One output may stand at several paths: those under which its source was
submitted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from blobforge import resultnames as names
from blobforge.cli.fetch.folder import FolderBusy
from blobforge.resultnames import Layout, Names

VERSION = 3
_FOLDER = "results"

# `asked`: the path before others were heeded. `key`: of the result that the file is of, '' before it is there.
# `results` are those that are whole, and at how many paths they stand; `main` is the name of the main output, NULL
# where an earlier release has not noted it. `folders.job_id`: whose it is alone.
_SCHEMA = """
CREATE TABLE files (
    job_id INTEGER NOT NULL, name TEXT NOT NULL, asked TEXT NOT NULL, path TEXT NOT NULL, place TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL, size INTEGER, mtime_ns INTEGER, sha256 TEXT, PRIMARY KEY (job_id, path)
) WITHOUT ROWID;
CREATE INDEX files_by_name ON files (job_id, name);
CREATE TABLE results (job_id INTEGER PRIMARY KEY, key TEXT NOT NULL, paths INTEGER NOT NULL, main TEXT);
CREATE TABLE folders (place TEXT PRIMARY KEY, job_id INTEGER) WITHOUT ROWID;
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_WANTED = """
CREATE TEMP TABLE wanted (
    job_id INTEGER PRIMARY KEY, source_hash TEXT NOT NULL, source_path TEXT, paths INTEGER NOT NULL
)
"""


class WantedResult(NamedTuple):
    """A job whose result is to be fetched. `paths`: at how many paths of its source it is to stand."""

    job_id: int
    source_hash: str
    source_path: str | None
    paths: int


class NamedOutput(NamedTuple):
    """An output that wants a path: beside `source_path`, one of its source's. `name` is '' for the only one of a job,
    which is to be called `filename`; `key` is that of the result."""

    wanted: WantedResult
    source_path: str | None
    name: str
    filename: str
    key: str


class FetchedFile(NamedTuple):
    """A file that is in the folder, at `path` below it, of the result with this key. `size` in bytes."""

    job_id: int
    key: str
    path: str
    size: int
    mtime_ns: int
    sha256: str


class WholeResult(NamedTuple):
    """A result all of whose files are in the folder. `main`: the name of the main output, '' for the only one."""

    wanted: WantedResult
    key: str
    main: str


class GivenPath(NamedTuple):
    """Where an output goes: `path` below the folder. `known`: what is there is an earlier one of the same job.
    `there`: it is there already (size in bytes, mtime in ns, SHA-256)."""

    path: str
    known: bool
    there: tuple[int, int, str] | None = None


class Ledger:
    """For one run: another one finds it locked."""

    def __init__(self, connection: sqlite3.Connection, *, lasting: bool = False) -> None:
        self.lasting = lasting  # the next run finds it, and what is kept beside it
        self._db = connection
        self._db.execute(_WANTED)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # --- what is said of the folder

    def about(self, name: str) -> str | None:
        """What was noted under this name."""
        row = self._db.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def note(self, name: str, value: str) -> None:
        """Note something for the next run."""
        with self._db:
            self._db.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    # --- what is there

    def count(self) -> int:
        """How many results the folder holds."""
        return int(self._db.execute("SELECT count(*) FROM results").fetchone()[0])

    def forget_missing(self, root: Path, *, read: bool = False) -> int:
        """Forget what is not in the folder as it was left there; returns how many. `read`: the bytes are looked at,
        too."""
        gone = [
            (job_id, path)
            for job_id, path, *left in self._db.execute("SELECT job_id, path, size, mtime_ns, sha256 FROM files")
            if not _is_there(root / path, *left, read=read)
        ]
        with self._db:
            self._db.executemany("DELETE FROM files WHERE job_id = ? AND path = ?", gone)
            self._db.executemany("DELETE FROM results WHERE job_id = ?", {(job_id,) for job_id, _ in gone})
        return len(gone)

    def replaced(self, whole: Iterable[WholeResult]) -> list[str]:
        """The paths of files that are of former results of these jobs, and no part of those that are whole now."""
        found: list[str] = []
        for each in whole:
            rows = self._db.execute(
                "SELECT path FROM files WHERE job_id = ? AND key <> ? AND sha256 IS NOT NULL",
                (each.wanted.job_id, each.key),
            )
            found += [path for (path,) in rows]
        return found

    def former_main(self, coming: WholeResult) -> list[str]:
        """The paths at which the main output of this job's former result stands, if that is one of several."""
        rows = self._db.execute(
            """SELECT files.path FROM results JOIN files USING (job_id)
               WHERE job_id = ?1 AND results.key <> ?2 AND files.key = results.key AND name <> ''
               AND name = coalesce(main, ?3)""",
            (coming.wanted.job_id, coming.key, coming.main),
        )
        return [path for (path,) in rows]

    def done(self, fetched: Iterable[FetchedFile]) -> None:
        """These are in the folder now."""
        with self._db:
            self._db.executemany(
                "UPDATE files SET key = ?, size = ?, mtime_ns = ?, sha256 = ? WHERE job_id = ? AND path = ?",
                [(each.key, each.size, each.mtime_ns, each.sha256, each.job_id, each.path) for each in fetched],
            )

    def whole(self, results: Iterable[WholeResult]) -> None:
        """All of these is in the folder, and nothing is of former results of the same jobs."""
        with self._db:
            for wanted, key, main in results:
                self._db.execute("DELETE FROM files WHERE job_id = ? AND key <> ?", (wanted.job_id, key))
                self._db.execute(
                    "INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)", (wanted.job_id, key, wanted.paths, main)
                )

    # --- what is to be fetched

    def want(self, jobs: Iterable[tuple[WantedResult, str]]) -> int:
        """Keep in mind those whose result, by its key, is not in the folder; returns how many."""
        before = self._db.total_changes
        with self._db:
            for wanted, key in jobs:
                there = self._db.execute(
                    "SELECT key, paths FROM results WHERE job_id = ?", (wanted.job_id,)
                ).fetchone()
                if there != (key, wanted.paths):
                    self._db.execute("INSERT OR IGNORE INTO wanted VALUES (?, ?, ?, ?)", wanted)
        return self._db.total_changes - before

    def wanted(self, many: int) -> Iterator[list[WantedResult]]:
        """All of them, those with the lowest ids first, so many at a time; they are forgotten at the end."""
        last = 0
        while rows := self._db.execute(
            "SELECT * FROM wanted WHERE job_id > ? ORDER BY job_id LIMIT ?", (last, many)
        ).fetchall():
            yield [WantedResult(*row) for row in rows]
            last = rows[-1][0]
        with self._db:
            self._db.execute("DELETE FROM wanted")

    def give_paths(self, layout: Layout, outputs: Sequence[NamedOutput]) -> list[GivenPath]:
        """The paths of these outputs, in their order. From now on they are theirs."""
        with self._db:
            return [self._give_path(layout, each) for each in outputs]

    def _give_path(self, layout: Layout, output: NamedOutput) -> GivenPath:
        job_id, source_hash, *_ = output.wanted
        own: Names = ()
        if output.name:
            own, inside = names.place_of_several(
                layout, job_id=job_id, source_hash=source_hash, source_path=output.source_path, name=output.name
            )
            asked = (*own, *inside)
        else:
            filename = names.name_beside(
                output.source_path, first=output.wanted.source_path, filename=output.filename
            )
            asked = inside = names.place(
                layout, job_id=job_id, source_hash=source_hash, source_path=output.source_path, filename=filename
            )
        had = self._db.execute(
            "SELECT path, key, size, mtime_ns, sha256 FROM files WHERE job_id = ? AND name = ? AND asked = ?",
            (job_id, output.name, "/".join(asked)),
        ).fetchone()
        if had is None:
            if own:
                own = self._own_folder(own, job_id)
            free = self._free((*own, *inside), job_id, output.name, own=len(own))
            path = "/".join(free)
            self._db.execute(
                """INSERT INTO files (job_id, name, asked, path, place, key) VALUES (?, ?, ?, ?, ?, '')
                   ON CONFLICT (job_id, path) DO UPDATE SET asked = excluded.asked""",
                (job_id, output.name, "/".join(asked), path, names.key(free)),
            )
            self._db.executemany(
                "INSERT OR IGNORE INTO folders VALUES (?, ?)",
                [
                    (names.key(free[:depth]), job_id if own and depth >= len(own) else None)
                    for depth in range(1, len(free))
                ],
            )
            had = self._db.execute(
                "SELECT path, key, size, mtime_ns, sha256 FROM files WHERE job_id = ? AND path = ?", (job_id, path)
            ).fetchone()
        path, key, size, mtime_ns, sha256 = had
        known = sha256 is not None
        return GivenPath(path, known, (size, mtime_ns, sha256) if known and key == output.key else None)

    def _own_folder(self, asked: Names, job_id: int) -> Names:
        """The folder, or the next one to it in which no other result stands."""
        folders = self._folders(asked[:-1], job_id)
        name, again = asked[-1], 0
        while True:
            path = (*folders, name)
            whose = self._db.execute("SELECT job_id FROM folders WHERE place = ?", (names.key(path),)).fetchone()
            if self._holder(path) is None and whose in (None, (job_id,)):
                return path
            name = names.apart(asked[-1], job_id, again)
            again += 1

    def _folders(self, asked: Names, job_id: int, below: Names = ()) -> Names:
        """The folders, or the next ones to them: none is a file, or another job's alone."""
        folders = below
        for part in asked:
            folder = part
            while self._holder((*folders, folder)) is not None or self._is_anothers((*folders, folder), job_id):
                folder += "~"
            folders = (*folders, folder)
        return folders

    def _free(self, asked: Names, job_id: int, output: str, *, own: int) -> Names:
        """The path, or the next one to it that no other result has: no file is in another's way, as a file or as a
        folder. The first `own` of its folders are settled."""
        folders = self._folders(asked[own:-1], job_id, below=asked[:own])
        name, again = asked[-1], 0
        while True:
            path = (*folders, name)
            holder = self._holder(path)
            if holder is not None and holder[:2] == (job_id, output):
                return tuple(holder[2].split("/"))  # as it is spelled there
            if holder is None and not self._is_folder(path):
                return path
            name = names.apart(asked[-1], job_id, again)
            again += 1

    def _holder(self, path: Names) -> tuple[int, str, str] | None:
        """The job, the output and the spelling of the file that has this path."""
        row: tuple[int, str, str] | None = self._db.execute(
            "SELECT job_id, name, path FROM files WHERE place = ?", (names.key(path),)
        ).fetchone()
        return row

    def _is_folder(self, path: Names) -> bool:
        return self._db.execute("SELECT 1 FROM folders WHERE place = ?", (names.key(path),)).fetchone() is not None

    def _is_anothers(self, path: Names, job_id: int) -> bool:
        row = self._db.execute("SELECT job_id FROM folders WHERE place = ?", (names.key(path),)).fetchone()
        return row is not None and row[0] not in (None, job_id)


def _is_there(path: Path, size: int | None, mtime_ns: int | None, sha256: str | None, *, read: bool) -> bool:
    try:
        status = path.lstat()
        if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
            return False
        if not read:
            return True
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def parts_folder(cache: Path, root: Path, server: str) -> Path:
    """Where the beginnings of large results are kept, beside the ledger, whose lock is theirs, too."""
    return _named(cache, root, server, ".parts")


def _named(cache: Path, root: Path, server: str, suffix: str) -> Path:
    said = f"{server}\0{os.fspath(root)}".encode("utf-8", "surrogateescape")
    return cache / _FOLDER / f"{hashlib.sha256(said).hexdigest()[:32]}{suffix}"


def open_ledger(cache: Path | None, root: Path, server: str) -> Ledger:
    """The ledger of the folder `root` for this server, made if it is not there or cannot be read.

    Without a cache folder (None) it lasts for the run only. Raises FolderBusy.
    """
    if cache is None:
        return Ledger(_open(":memory:"))
    path = _named(cache, root, server, ".sqlite3")
    for _ in range(2):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Ledger(_open(path), lasting=True)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise FolderBusy(root) from error
            break  # read-only, no room: not ours to mend
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm", "-journal"):
                with contextlib.suppress(OSError):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
        except OSError:
            break
    return Ledger(_open(":memory:"))


def _open(path: Path | str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=0, check_same_thread=False)
    try:
        # Held until the run ends: of two runs, each would take the other's files for strangers'.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 2:
            connection.executescript(f"ALTER TABLE results ADD COLUMN main TEXT; PRAGMA user_version = {VERSION};")
        elif version != VERSION:
            for table in ("files", "results", "folders", "about"):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            connection.executescript(f"{_SCHEMA} PRAGMA user_version = {VERSION};")
        else:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection
