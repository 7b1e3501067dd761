"""What a folder of results holds. State owned here: one SQLite file for each folder and server, in the user's cache
folder, so that nothing but results is in the folder itself.

It may be lost at any time: what is in the folder is then known again by its bytes, and not fetched a second time. A
file is taken to be what was fetched while its size and its mtime are.

Two results never have one path. The one that has it keeps it; of those that come together, the job with the lowest id
has the name, and each other one has its own id in it (`names.apart`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from blobforge.cli.fetch import names
from blobforge.cli.fetch.names import Layout, Names

VERSION = 1
_FOLDER = "results"

_SCHEMA = """
CREATE TABLE files (
    job_id INTEGER NOT NULL, path TEXT NOT NULL, place TEXT NOT NULL UNIQUE, key TEXT NOT NULL,
    size INTEGER, mtime_ns INTEGER, sha256 TEXT, PRIMARY KEY (job_id, path)
) WITHOUT ROWID;
CREATE TABLE folders (place TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
_WANTED = """
CREATE TEMP TABLE wanted (job_id INTEGER PRIMARY KEY, source_hash TEXT NOT NULL, source_path TEXT)
"""


class LedgerBusy(Exception):
    """Another run writes to the same folder."""


class Wanted(NamedTuple):
    """A job whose result is to be fetched."""

    job_id: int
    source_hash: str
    source_path: str | None


class FetchedResult(NamedTuple):
    """A result that is in the folder, at `path` below it. `size` in bytes."""

    job_id: int
    key: str
    path: str
    size: int
    mtime_ns: int
    sha256: str


class GivenPath(NamedTuple):
    """Where a result goes: `path` below the folder. `known`: what is there is an earlier one of the same job.
    `former`: where else earlier ones of it are."""

    path: str
    known: bool
    former: list[str]


class Ledger:
    """For one run: another one finds it locked."""

    def __init__(self, connection: sqlite3.Connection) -> None:
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
        return int(
            self._db.execute("SELECT count(DISTINCT job_id) FROM files WHERE sha256 IS NOT NULL").fetchone()[0]
        )

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
        return len(gone)

    def done(self, fetched: Iterable[FetchedResult]) -> None:
        """These are in the folder now, and what was there for the same jobs is not."""
        with self._db:
            for each in fetched:
                self._db.execute("DELETE FROM files WHERE job_id = ? AND path <> ?", (each.job_id, each.path))
                self._db.execute(
                    "UPDATE files SET key = ?, size = ?, mtime_ns = ?, sha256 = ? WHERE job_id = ? AND path = ?",
                    (each.key, each.size, each.mtime_ns, each.sha256, each.job_id, each.path),
                )

    # --- what is to be fetched

    def want(self, jobs: Iterable[tuple[Wanted, str]]) -> int:
        """Keep in mind those whose result, by its key, is not in the folder; returns how many."""
        before = self._db.total_changes
        with self._db:
            for wanted, key in jobs:
                there = self._db.execute("SELECT 1 FROM files WHERE job_id = ? AND key = ?", (wanted.job_id, key))
                if there.fetchone() is None:
                    self._db.execute("INSERT OR IGNORE INTO wanted VALUES (?, ?, ?)", wanted)
        return self._db.total_changes - before

    def wanted(self, many: int) -> Iterator[list[Wanted]]:
        """All of them, those with the lowest ids first, so many at a time; they are forgotten at the end."""
        last = 0
        while rows := self._db.execute(
            "SELECT * FROM wanted WHERE job_id > ? ORDER BY job_id LIMIT ?", (last, many)
        ).fetchall():
            yield [Wanted(*row) for row in rows]
            last = rows[-1][0]
        with self._db:
            self._db.execute("DELETE FROM wanted")

    def give_paths(self, layout: Layout, results: Sequence[tuple[Wanted, str]]) -> list[GivenPath]:
        """The paths of these results with these file names, in their order. From now on they are theirs."""
        with self._db:
            return [self._give_path(layout, wanted, filename) for wanted, filename in results]

    def _give_path(self, layout: Layout, wanted: Wanted, filename: str) -> GivenPath:
        asked = names.place(
            layout,
            job_id=wanted.job_id,
            source_hash=wanted.source_hash,
            source_path=wanted.source_path,
            filename=filename,
        )
        free = self._free(asked, wanted.job_id)
        path = "/".join(free)
        had = self._db.execute("SELECT path, sha256 FROM files WHERE job_id = ?", (wanted.job_id,)).fetchall()
        self._db.execute(
            "INSERT OR IGNORE INTO files (job_id, path, place, key) VALUES (?, ?, ?, '')",
            (wanted.job_id, path, names.key(free)),
        )
        self._db.executemany(
            "INSERT OR IGNORE INTO folders VALUES (?)",
            [(names.key(free[:depth]),) for depth in range(1, len(free))],
        )
        known = any(each == path and sha256 is not None for each, sha256 in had)
        return GivenPath(path, known, [each for each, _ in had if each != path])

    def _free(self, asked: Names, job_id: int) -> Names:
        """The path, or the next one to it that no other result has: no file is in another's way, as a file or as a
        folder."""
        folders: Names = ()
        for part in asked[:-1]:
            folder = part
            while self._holder((*folders, folder)) is not None:
                folder += "~"
            folders = (*folders, folder)
        name, again = asked[-1], 0
        while self._is_taken((*folders, name), job_id):
            name = names.apart(asked[-1], job_id, again)
            again += 1
        return (*folders, name)

    def _holder(self, path: Names) -> int | None:
        row = self._db.execute("SELECT job_id FROM files WHERE place = ?", (names.key(path),)).fetchone()
        return int(row[0]) if row else None

    def _is_taken(self, path: Names, job_id: int) -> bool:
        if self._holder(path) not in (None, job_id):
            return True
        return self._db.execute("SELECT 1 FROM folders WHERE place = ?", (names.key(path),)).fetchone() is not None


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

    Without a cache folder (None) it lasts for the run only. Raises LedgerBusy.
    """
    if cache is None:
        return Ledger(_open(":memory:"))
    path = _named(cache, root, server, ".sqlite3")
    for _ in range(2):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Ledger(_open(path))
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise LedgerBusy(f"Another run fetches into {root}.") from error
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
        if version != VERSION:
            for table in ("files", "folders", "about"):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            connection.executescript(f"{_SCHEMA} PRAGMA user_version = {VERSION};")
        else:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection
