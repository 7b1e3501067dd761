"""The write side on SQLite. State owned here: the write connection."""

from __future__ import annotations

import apsw

from blobforge.store.sql.store import SqlStore
from blobforge.store.sqlite.bulk import Bulk
from blobforge.store.sqlite.file import SqliteFile
from blobforge.store.sqlite.statements import Statements


class Store(SqlStore):
    def __init__(self, connection: apsw.Connection) -> None:
        statements = Statements(connection)
        super().__init__(statements, Bulk(statements), SqliteFile(statements))
        self.turn_seconds = None
