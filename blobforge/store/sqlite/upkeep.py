"""What `blobforge db` does to the database file beside a server, or in its absence: copy, shrink, describe."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from blobforge.store.errors import DatabaseError
from blobforge.store.keeping import FileStats, OnCopied, Table
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.check import check, open_readonly
from blobforge.store.sqlite.database import BUSY_TIMEOUT_MS, check_sqlite_version, refuse_others

COPIED_AT_ONCE = 2048  # pages between two looks at whether the caller wants it stopped


def schema_version(path: Path) -> int:
    """Raises DatabaseError."""
    with _reading(path) as connection:
        return _pragma(connection, "user_version")


def stats(path: Path) -> FileStats:
    """Describe the file. Counts every row: seconds for millions. Raises DatabaseError."""
    with _reading(path) as connection:
        connection.execute("BEGIN")
        names = [row[0] for row in connection.execute(sql.TABLES)]
        counted = [Table(name, int(_one(connection, sql.COUNT_ROWS.format(table=name))[0])) for name in names]
        jobs = _one(connection, sql.JOB_SPAN) if "jobs" in names else (None, None, None)
        audit = _one(connection, sql.AUDIT_SPAN) if "audit" in names else (None, None)
        pages, free = _one(connection, sql.PAGES)
        return FileStats(
            path=str(path),
            size=path.stat().st_size,
            wal_size=_size(path.with_name(f"{path.name}-wal")),
            page_size=_pragma(connection, "page_size"),
            pages=pages,
            free_pages=free,
            incremental=_pragma(connection, "auto_vacuum") == 2,
            schema_version=_pragma(connection, "user_version"),
            sqlite_version=apsw.sqlite_lib_version(),
            tables=counted,
            oldest_job=jobs[0],
            newest_job=jobs[1],
            last_change=jobs[2],
            oldest_audit=audit[0],
            newest_audit=audit[1],
        )


def backup(path: Path, to: Path, *, checked: bool = True, on_copied: OnCopied | None = None) -> list[str]:
    """Copy the database as it is at this moment, also while a server writes to it, and check the copy.

    Returns what is wrong with it, and then there is no copy. The file `to` is never written over, is ours alone
    (0600), and is there whole or not at all. Raises DatabaseError.
    """
    if to.exists():
        raise DatabaseError(f"{to} exists already; choose another name, or remove it first.")
    partial = to.with_name(f".{to.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            _copy(path, partial, on_copied)
            findings = check(partial) if checked else []
            if findings:
                return findings
            _sync(partial)
            os.link(partial, to)  # unlike a rename, it fails where there is something by now
        finally:
            partial.unlink(missing_ok=True)
        _sync(to.parent)
    except OSError as error:
        raise DatabaseError(f"cannot write {to}: {error.strerror or error}.") from error
    return []


def vacuum(path: Path) -> tuple[int, int]:
    """Write the file anew without its free pages, and prepare it for giving them back by and by.

    Returns its size before and after (bytes). The caller makes sure that no server has it open. Raises DatabaseError.
    """
    check_sqlite_version(apsw.sqlite_lib_version())
    before = _size(path) + _size(path.with_name(f"{path.name}-wal"))
    try:
        refuse_others(path)
        with contextlib.closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            connection.execute(sql.AUTO_VACUUM)
            connection.execute(sql.VACUUM)
            connection.execute(sql.CHECKPOINT)
    except apsw.FullError as error:
        raise DatabaseError(
            f"there is not enough free disk space beside {path}: it takes about twice {before:,} bytes. "
            "Nothing was changed."
        ) from error
    except apsw.Error as error:
        raise DatabaseError(f"cannot vacuum {path}: {error}.") from error
    return before, _size(path)


@contextlib.contextmanager
def _reading(path: Path, what: str = "read") -> Iterator[apsw.Connection]:
    """A read-only connection. Raises DatabaseError, also for what SQLite says while it is used."""
    try:
        with contextlib.closing(open_readonly(path)) as connection:
            yield connection
    except apsw.FullError as error:
        raise DatabaseError(f"cannot {what} the database {path}: the disk is full.") from error
    except apsw.Error as error:
        raise DatabaseError(f"cannot {what} the database {path}: {error}.") from error


def _copy(path: Path, to: Path, on_copied: OnCopied | None) -> None:
    with _reading(path, "copy") as source, contextlib.closing(apsw.Connection(str(to))) as target:
        # One read transaction over all steps: a copy that sees no change in between never has to start anew,
        # however much is written meanwhile.
        target.execute(sql.NO_JOURNAL)  # it is thrown away when anything goes wrong
        source.execute("BEGIN")
        _one(source, sql.SCHEMA_SIZE)  # the first read is what begins it
        with target.backup("main", source, "main") as copying:
            while not copying.done:
                copying.step(COPIED_AT_ONCE)
                if on_copied is not None:
                    on_copied(copying.page_count - copying.remaining, copying.page_count)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _one(connection: apsw.Connection, statement: str) -> tuple[Any, ...]:
    row = connection.execute(statement).fetchone()
    assert row is not None
    return tuple(row)


def _pragma(connection: apsw.Connection, name: str) -> int:
    value = connection.pragma(name)
    assert isinstance(value, int)
    return value
