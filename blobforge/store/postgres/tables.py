"""All rows of a database, to be copied; and an empty one that is filled with rows, by COPY."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

import psycopg

from blobforge.store.commons import LIVE_SECONDS
from blobforge.store.errors import DatabaseError
from blobforge.store.postgres import schema_sql as sql
from blobforge.store.postgres.connecting import connect
from blobforge.store.postgres.database import damage_told, migrations, prepare, refuse_others
from blobforge.store.postgres.texts import without_nul
from blobforge.store.tables import NUMBERED, TABLES, TableRow

AT_ONCE: Final = 5_000  # rows of a server-side cursor
_NEVER_EMPTY: Final = ("recovery", "installation", "pulse")


class DatabaseTables:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._db = connection
        of = connection.info
        self.name = f"postgresql://{of.user}@{of.host}:{of.port}/{of.dbname}"

    @property
    def installation(self) -> str:
        ((found,),) = self._db.execute("SELECT id FROM installation").fetchall()
        return str(found)

    def columns(self, table: str) -> list[str]:
        return [str(name) for (name,) in self._db.execute(sql.COLUMNS, (table,))]

    def count(self, table: str) -> int:
        ((n,),) = self._db.execute(f"SELECT count(*) FROM {table}".encode()).fetchall()
        return int(n)

    def rows(
        self, table: str, columns: Sequence[str], *, after: TableRow | None = None
    ) -> Generator[TableRow, None, None]:
        key = ", ".join(TABLES[table])
        behind = f"WHERE ({key}) > ({', '.join(['%s'] * len(after))})" if after is not None else ""
        statement = f"SELECT {_named(columns)} FROM {table} {behind} ORDER BY {key}"
        with self._db.transaction(), self._db.cursor(f"copied_{table}") as cursor:
            cursor.itersize = AT_ONCE
            yield from cursor.execute(statement.encode(), after)

    def numbers(self) -> dict[str, int]:
        ((jobs,),) = self._db.execute("SELECT job FROM turn").fetchall()
        return {table: int(jobs) if table == "jobs" else self._sequence(table) for table in NUMBERED}

    def _sequence(self, table: str) -> int:
        ((last, called),) = self._db.execute(f"SELECT last_value, is_called FROM {table}_id_seq".encode()).fetchall()
        return int(last) if called else 0


class NewDatabase(DatabaseTables):
    """`copying` is a table that says so, which servers look for."""

    def last(self, table: str) -> TableRow | None:
        key = TABLES[table]
        backwards = ", ".join(f"{name} DESC" for name in key)
        found = self._db.execute(f"SELECT {', '.join(key)} FROM {table} ORDER BY {backwards} LIMIT 1".encode())
        return found.fetchone()

    def add(self, table: str, columns: Sequence[str], rows: Iterable[TableRow]) -> None:
        into = f"COPY {table} ({_named(columns)}) FROM STDIN"
        with self._db.transaction(), self._db.cursor() as cursor, cursor.copy(into.encode()) as copying:
            for row in rows:
                copying.write_row(row)

    def kept(self, row: TableRow) -> TableRow:
        return tuple(without_nul(value) if type(value) is str else value for value in row)

    def finish(self, numbers: Mapping[str, int]) -> None:
        with self._db.transaction():
            self._db.execute("SET LOCAL synchronous_commit = on")
            self._db.execute("UPDATE turn SET job = %s", (numbers["jobs"],))
            for table in NUMBERED[1:]:
                n = numbers[table]
                self._db.execute("SELECT setval(%s, %s, %s)", (f"{table}_id_seq", max(n, 1), n > 0))
            # Turns begin anew here. No server is left that looked before the deletions that these numbers tell of.
            self._db.execute(sql.FORGET_ALL_EPOCHS.encode())
            self._db.execute("DROP TABLE copying")
        self._db.execute("ANALYZE")


def _named(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


@contextmanager
def reading(url: str) -> Iterator[DatabaseTables]:
    """All of a database of ours, as of one moment, which no server uses. Raises DatabaseError."""
    with _opened(url) as connection:
        if not {"turn", "jobs"} <= {str(name) for (name,) in connection.execute(sql.TABLES)}:
            raise DatabaseError("the database that is to be copied is empty, or none of ours")
        ((version,),) = connection.execute("SELECT schema FROM turn").fetchall()
        if version != len(migrations()):
            raise DatabaseError("the database that is to be copied has another release's schema: start a server once")
        servers = [name for (name,) in connection.execute(sql.LIVE, (LIVE_SECONDS * 1000,))]
        if servers:
            raise DatabaseError(
                f"the database that is to be copied is in use by {', '.join(servers)}: stop all servers first; one "
                f"that was killed is forgotten after {LIVE_SECONDS:.0f} s"
            )
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            yield DatabaseTables(connection)


@contextmanager
def making(url: str, installation: str) -> Iterator[NewDatabase]:
    """An empty database, to be a copy of that installation, or what has become of it so far. Raises DatabaseError."""
    with _opened(url) as connection:
        tables = {str(name) for (name,) in connection.execute(sql.TABLES)}
        if "copying" in tables:
            ((of,),) = connection.execute("SELECT installation FROM copying").fetchall()
            if of != installation:
                raise DatabaseError(f"the database holds a part of a copy of another installation ({of}): empty it")
        else:
            if not tables:
                prepare(url)
            _begin(connection, installation)
        connection.execute("SET synchronous_commit = off")  # what is lost so is copied again
        yield NewDatabase(connection)


def _begin(connection: psycopg.Connection[Any], installation: str) -> None:
    with connection.transaction():
        full = [table for table in TABLES if table not in _NEVER_EMPTY and _any(connection, table)]
        ((job,),) = connection.execute("SELECT job FROM turn FOR UPDATE").fetchall()
        if full or job:
            raise DatabaseError(
                f"the database is not empty ({', '.join(full[:5]) or 'jobs were there'}): name an empty one"
            )
        connection.execute("CREATE TABLE copying (installation TEXT NOT NULL)")
        connection.execute("INSERT INTO copying (installation) VALUES (%s)", (installation,))
        for table in _NEVER_EMPTY:  # all rows are those of the source
            connection.execute(f"DELETE FROM {table}".encode())


def _any(connection: psycopg.Connection[Any], table: str) -> bool:
    return bool(connection.execute(f"SELECT 1 FROM {table} LIMIT 1".encode()).fetchall())


@contextmanager
def _opened(url: str) -> Iterator[psycopg.Connection[Any]]:
    with damage_told(), closing(connect(url)) as connection:
        refuse_others(connection)
        # The index of the key is walked from its first row on: no table is sorted as a whole.
        connection.execute("SET enable_seqscan = off")
        connection.execute("SET enable_sort = off")
        yield connection
