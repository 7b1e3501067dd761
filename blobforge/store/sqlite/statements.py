"""What runs statements on SQLite. What no statement is to blame for is StoreUnavailable to the writer."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import apsw

from blobforge.store.errors import DatabaseError, StoreUnavailable
from blobforge.store.sql.running import Row

# No request is to blame for these.
OUTAGES = (
    apsw.FullError, apsw.IOError, apsw.BusyError, apsw.ReadOnlyError, apsw.NoMemError, apsw.CantOpenError,
)  # fmt: skip


class Statements:
    """What the parts of the Store run their statements with."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection
        self.written = connection.total_changes()

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        db = self._db
        try:
            found = db.execute(statement, values).fetchall()
        except OUTAGES as error:
            raise StoreUnavailable(str(error)) from error
        self.written = db.total_changes()
        return found

    def row(self, statement: str, values: Row = ()) -> Row | None:
        rows = self.rows(statement, values)
        return rows[0] if rows else None

    def number(self, statement: str, values: Row = ()) -> int:
        return int(self.rows(statement, values)[0][0])

    def change(self, statement: str, values: Row = ()) -> int:
        self.rows(statement, values)
        return self._db.changes()

    def insert(self, statement: str, values: Row) -> int:
        self.rows(statement, values)
        return self._db.last_insert_rowid()

    def patience(self) -> AbstractContextManager[None]:
        return nullcontext()

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def close(self) -> None:
        self._db.close()


class Queries:
    """What the parts of the Reader ask with."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        return self._db.execute(statement, values).fetchall()

    def row(self, statement: str, values: Row = ()) -> Row | None:
        return self._db.execute(statement, values).fetchone()

    def each(self, statement: str, values: Row = ()) -> Generator[Row, None, None]:
        cursor = self._db.cursor()
        try:
            yield from cursor.execute(statement, values)
        finally:
            cursor.close()

    @contextmanager
    def moment(self) -> Iterator[None]:
        inside = self._db.in_transaction
        if inside:
            yield
            return
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            if self._db.in_transaction:  # SQLite has ended it by itself after some errors
                self._db.execute("COMMIT")

    @contextmanager
    def outages_told(self) -> Iterator[None]:
        try:
            yield
        except apsw.Error as error:
            raise DatabaseError(f"cannot read the database: {error}") from error

    def close(self) -> None:
        self._db.close()
