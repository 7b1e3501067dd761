"""The read side on PostgreSQL: a connection of its own, which sees one moment at a time."""

from __future__ import annotations

from blobforge.store.figures import Space
from blobforge.store.miscounts import Miscounts
from blobforge.store.postgres import miscounts, schema_sql
from blobforge.store.postgres.parameters import array_of_trigrams
from blobforge.store.postgres.statements import Queries
from blobforge.store.sql.reader import SqlReader


class PostgresReader(SqlReader):
    wanted_text = staticmethod(array_of_trigrams)

    def __init__(self, url: str) -> None:
        super().__init__(Queries(url))
        self._url = url

    def miscounts(self, *, most: int) -> Miscounts:
        return miscounts.look(self._url, most=most)

    def space(self) -> Space:
        row = self._ask.row(schema_sql.SIZE)
        assert row is not None
        return Space({"main": int(row[0])})
