"""Statements on the writer's connection, all rows at once. What no statement is to blame for is StoreUnavailable."""

from __future__ import annotations

from typing import Any

import apsw

from blobforge.store.errors import StoreUnavailable
from blobforge.store.sqlite.rows import Row

# No request is to blame for these.
OUTAGES = (
    apsw.FullError, apsw.IOError, apsw.BusyError, apsw.ReadOnlyError, apsw.NoMemError, apsw.CantOpenError,
)  # fmt: skip


class Statements:
    """What the parts of the Store run their statements with."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        """Run it; all rows that it gives. Raises StoreUnavailable for an outage."""
        try:
            return self._db.execute(statement, values).fetchall()
        except OUTAGES as error:
            raise StoreUnavailable(str(error)) from error

    def row(self, statement: str, values: Row = ()) -> Row | None:
        """The first row, if there is one."""
        rows = self.rows(statement, values)
        return rows[0] if rows else None

    def number(self, statement: str, values: Row = ()) -> int:
        """The one number that it gives."""
        return int(self.rows(statement, values)[0][0])

    def change(self, statement: str, values: Row = ()) -> int:
        """Run it; how many rows it has changed."""
        self.rows(statement, values)
        return self._db.changes()

    def insert(self, statement: str, values: Row) -> int:
        """Run it; the number that SQLite gave to the row."""
        self.rows(statement, values)
        return self._db.last_insert_rowid()

    @property
    def written(self) -> int:
        """How many rows have been written so far: it goes up when, and only when, a statement changes one."""
        return self._db.total_changes()

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def close(self) -> None:
        self._db.close()


Values = list[Any]
