"""All rows of a database file, to be copied; and a new file that is made of rows."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import apsw

from blobforge.store.errors import DatabaseError
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.database import migrations, open_reader, open_writer, refuse_others
from blobforge.store.tables import NUMBERED, TABLES, TableRow

_NUMBERS: Final = "SELECT name, seq FROM sqlite_sequence"
_FORGET_NUMBERS: Final = "DELETE FROM sqlite_sequence"
_SET_NUMBER: Final = "INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)"


class FileTables:
    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._db = connection
        self.name = str(path)

    @property
    def installation(self) -> str:
        (found,) = self._db.execute("SELECT id FROM installation").fetchall()
        return str(found[0])

    def columns(self, table: str) -> list[str]:
        return [str(name) for (name,) in self._db.execute(sql.COLUMNS_OF, (table,))]

    def count(self, table: str) -> int:
        ((n,),) = self._db.execute(sql.COUNT_ROWS.format(table=table)).fetchall()
        return int(str(n))

    def rows(
        self, table: str, columns: Sequence[str], *, after: TableRow | None = None
    ) -> Generator[TableRow, None, None]:
        key = ", ".join(TABLES[table])
        behind = f"WHERE ({key}) > ({', '.join('?' * len(after))})" if after is not None else ""
        cursor = self._db.cursor()
        try:
            yield from cursor.execute(
                f"SELECT {_named(columns)} FROM {table} {behind} ORDER BY {key}", after if after is not None else ()
            )
        finally:
            cursor.close()

    def numbers(self) -> dict[str, int]:
        given = {str(name): int(str(n)) for name, n in self._db.execute(_NUMBERS)}
        return {table: given.get(table, 0) for table in NUMBERED}


class NewFile(FileTables):
    """It stands beside the file that it is to be, under another name."""

    def __init__(self, connection: apsw.Connection, path: Path, partial: Path) -> None:
        super().__init__(connection, path)
        self._path = path
        self._partial = partial

    def last(self, table: str) -> TableRow | None:
        key = TABLES[table]
        backwards = ", ".join(f"{name} DESC" for name in key)
        return self._db.execute(f"SELECT {', '.join(key)} FROM {table} ORDER BY {backwards} LIMIT 1").fetchone()

    def add(self, table: str, columns: Sequence[str], rows: Iterable[TableRow]) -> None:
        with self._db:
            self._db.executemany(
                f"INSERT INTO {table} ({_named(columns)}) VALUES ({', '.join('?' * len(columns))})", rows
            )

    def kept(self, row: TableRow) -> TableRow:
        return row

    def finish(self, numbers: Mapping[str, int]) -> None:
        with self._db:
            self._db.execute(_FORGET_NUMBERS)
            self._db.executemany(_SET_NUMBER, [(table, n) for table, n in numbers.items() if n])
        self._db.execute(sql.CHECKPOINT).fetchall()
        self._db.close()  # takes its side files along
        os.link(self._partial, self._path)  # unlike a rename, it fails where there is something by now
        self._partial.unlink()
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _named(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


@contextmanager
def reading(path: Path) -> Iterator[FileTables]:
    """All of a database of ours, as of one moment. Raises DatabaseError."""
    with _told(path):
        if not path.is_file():
            raise DatabaseError(f"there is no database {path}")
        refuse_others(path)
        with closing(open_reader(path)) as connection:
            if connection.pragma("user_version") != len(migrations()):
                raise DatabaseError(f"{path} was written by an older release: start the server once")
            connection.execute("BEGIN")
            yield FileTables(connection, path)


@contextmanager
def making(path: Path, installation: str) -> Iterator[NewFile]:
    """A new file with a copy of that installation, or what has become of it so far. Raises DatabaseError."""
    if path.exists():
        raise DatabaseError(f"{path} exists already: name another file, or move it away")
    partial = path.with_name(f".{path.name}.{installation}.copying")
    with _told(path):
        fresh = not partial.exists()
        connection = open_writer(partial)
        try:
            with connection:  # all rows are those of the source
                connection.execute("DELETE FROM installation WHERE id <> ?", (installation,))
                if fresh:
                    connection.execute("DELETE FROM recovery")
            yield NewFile(connection, path, partial)
        finally:
            connection.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except (apsw.Error, OSError) as error:
        raise DatabaseError(f"cannot copy with {path}: {error}") from error
