"""The original BlobForge's database, read as it is: rows by their columns' names, whatever schema it has.

Nothing is known of a column before it was looked up: what a version has not is absent, what a later one adds is
passed over. Text is read as bytes, for Go keeps file names in it that are no UTF-8; these are escaped as the command
line escapes them (`caf%E9.txt`). The file is left as it is (`belonging.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import apsw

from blobforge.store.errors import DatabaseError
from blobforge.store.sqlite import belonging, sql
from blobforge.store.sqlite.belonging import Owner
from blobforge.store.whole import OriginalRow


class Original:
    """`version` is its schema's."""

    def __init__(self, connection: apsw.Connection, version: int) -> None:
        self._db = connection
        self.version = version
        self._columns = {table: self._columns_of(table) for (table,) in self._db.execute(sql.TABLES)}

    def count(self, table: str) -> int:
        if table not in self._columns:
            return 0
        row = self._db.execute(sql.COUNT_ROWS.format(table=table)).fetchone()
        return int(row[0]) if row else 0

    def rows(self, table: str, *, at_once: int) -> Iterator[list[OriginalRow]]:
        columns = self._columns.get(table)
        if not columns:
            return
        asked = ", ".join(sql.ORIGINAL_COLUMN.format(column=_quoted(column)) for column in columns)
        statement = sql.ORIGINAL_ROWS.format(columns=asked, table=_quoted(table))
        after = -(2**63)
        while found := list(self._db.execute(statement, (after, at_once))):
            after = int(str(found[-1][0]))
            yield [dict(zip(columns, map(_readable, values), strict=True)) for _, *values in found]

    def _columns_of(self, table: apsw.SQLiteValue) -> list[str]:
        return [str(row[0]) for row in self._db.execute(sql.COLUMNS_OF, (table,))]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Original]:
    """The original's database. Raises DatabaseError for what is none, and while a process has it open."""
    try:
        found = belonging.judge(path)
        if found.owner is not Owner.ORIGINAL:
            whose = "empty" if found.owner is Owner.NOBODY else f"the database of {found.owner.value}"
            if found.owner is Owner.OURS:
                whose = "a database of this BlobForge: copy it (`blobforge db backup`), or `blobforge export` it"
            raise DatabaseError(f"{path} is not a database of the original BlobForge; it is {whose}")
        refuse_open(path)
        with belonging.untouched(path) as connection:
            yield Original(connection, found.version)
    except (apsw.Error, OSError) as error:
        raise DatabaseError(f"cannot read {path}: {error}") from error


def refuse_open(path: Path) -> None:
    """Raises DatabaseError when another process has the database open: what is read beside it may be torn.

    SQLite locks the file for as long as a connection uses a WAL; where we may not ask for that lock, it is not known.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise DatabaseError(f"a process has {path} open: stop the original BlobForge first, then try again") from None
    finally:
        os.close(descriptor)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _readable(value: object) -> object:
    return _text(value) if isinstance(value, bytes) else value


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        text = value.decode("utf-8", "surrogateescape")
        return "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in text)
    return None if value is None else str(value)
