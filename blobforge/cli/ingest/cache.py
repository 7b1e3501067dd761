"""The hashes of files that were read before. State owned here: one SQLite file in the user's cache folder.

It may be lost at any time, and is then made anew. SQLite here is a file format, as in any program that keeps more
than fits a JSON file; the coordinator's state is elsewhere, and only `blobforge/store/` knows how that is kept.

A file is taken to be the same while its path, size, mtime, ctime and inode are: an mtime can be set back, a ctime
cannot. Should that be wrong, an upload is refused (it is hashed again on its way); `--rehash` reads all anew.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from blobforge.cli.ingest.find import Candidate

VERSION = 2
KEPT_DAYS = 180  # what was not seen for so long is forgotten
_SECOND = 1_000_000_000
_COARSE = 2 * _SECOND  # the mtimes of some file systems (FAT, old NFS)
_FINE = _SECOND // 10  # those of all others, many times over

_SCHEMA = """
CREATE TABLE files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    sha256 TEXT NOT NULL, content_size INTEGER NOT NULL, pointer INTEGER NOT NULL, seen INTEGER NOT NULL
) WITHOUT ROWID
"""
_GET = (
    "SELECT sha256, content_size, pointer, seen FROM files"
    " WHERE path = ? AND size = ? AND mtime_ns = ? AND ctime_ns = ? AND inode = ?"
)
_PUT = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Content(NamedTuple):
    """What a file stands for: its own bytes or, for a Git LFS pointer, those that it points to."""

    sha256: str
    size: int
    pointer: bool


class HashCache:
    """Safe to use from several threads. What goes wrong with it costs time, never a run: it then forgets all."""

    def __init__(self, connection: sqlite3.Connection | None, *, distrusted: bool = False) -> None:
        """`distrusted`: what it knows is not used, and replaced by what is read now."""
        self._connection = connection
        self._distrusted = distrusted
        self._lock = threading.Lock()

    def get(self, files: Sequence[Candidate]) -> list[Content | None]:
        """The known content of each of `files`, in their order; None where the file is new or has changed."""
        with self._lock:
            if self._connection is None or self._distrusted:
                return [None] * len(files)
            try:
                return [self._get(self._connection, file) for file in files]
            except sqlite3.Error:
                self._give_up()
                return [None] * len(files)

    def put(self, found: Iterable[tuple[Candidate, Content]]) -> None:
        """Remember, in one transaction, what was read; but not of a file so fresh that it may still be written to
        without a trace in its times.
        """
        now = time.time_ns()
        rows = [_row(file, content, _day(now)) for file, content in found if _settled(file, now)]
        with self._lock:
            if self._connection is None or not rows:
                return
            try:
                with self._connection:
                    self._connection.executemany(_PUT, rows)
            except sqlite3.Error:
                self._give_up()

    def forget(self, file: Candidate) -> None:
        """It turned out to be another one."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            if self._connection is not None:
                with self._connection:
                    self._connection.execute("DELETE FROM files WHERE path = ?", (_key(file.path),))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._give_up()

    def _get(self, connection: sqlite3.Connection, file: Candidate) -> Content | None:
        key = _key(file.path)
        known_by = (key, file.size, _signed(file.mtime_ns), _signed(file.ctime_ns), _signed(file.inode))
        row = connection.execute(_GET, known_by).fetchone()
        if row is None:
            return None
        sha256, size, pointer, seen = row
        today = _day(time.time_ns())
        if today - seen > KEPT_DAYS // 2:
            with connection:
                connection.execute("UPDATE files SET seen = ? WHERE path = ?", (today, key))
        return Content(sha256, size, bool(pointer))

    def _give_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def open_cache(folder: Path, *, distrusted: bool = False) -> HashCache:
    """The cache in `folder`, made if it is not there or cannot be read; one that keeps nothing if that fails."""
    path = folder / "hashes.sqlite3"
    for _ in range(2):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return HashCache(_open(path), distrusted=distrusted)
        except sqlite3.OperationalError:
            break  # locked, read-only, no room: not ours to mend
        except sqlite3.DatabaseError:
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                with contextlib.suppress(OSError):
                    path.with_name(name).unlink(missing_ok=True)
        except OSError:
            break
    return HashCache(None)


def _open(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        with connection:
            if version != VERSION:
                connection.execute("DROP TABLE IF EXISTS files")
                connection.execute(_SCHEMA)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            else:
                connection.execute("DELETE FROM files WHERE seen < ?", (_day(time.time_ns()) - KEPT_DAYS,))
    except BaseException:
        connection.close()
        raise
    return connection


def _key(path: str) -> bytes:
    return os.fsencode(os.path.abspath(path))


def _row(file: Candidate, content: Content, today: int) -> tuple[bytes, int, int, int, int, str, int, int, int]:
    return (
        _key(file.path),
        file.size,
        _signed(file.mtime_ns),
        _signed(file.ctime_ns),
        _signed(file.inode),
        content.sha256,
        content.size,
        int(content.pointer),
        today,
    )


def _signed(number: int) -> int:
    """The number as a signed one of 64 bits, as SQLite has them. A disk may have inodes that take all 64 of them, and
    mtimes of the year 9999."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _settled(file: Candidate, now: int) -> bool:
    """Whether a later write is sure to leave other times; Git calls what is not "racily clean"."""
    return all(
        now - time_ns > (_COARSE if time_ns % _SECOND == 0 else _FINE) for time_ns in (file.mtime_ns, file.ctime_ns)
    )


def _day(now: int) -> int:
    return now // (86_400 * _SECOND)
