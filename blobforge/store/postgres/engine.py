"""PostgreSQL as an engine: a database in a cluster, which any number of servers share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from blobforge.store.errors import DatabaseError
from blobforge.store.postgres import database
from blobforge.store.postgres.commons import RowCommons
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.follower import PostgresFollower
from blobforge.store.postgres.known import LastKnown
from blobforge.store.postgres.reader import PostgresReader
from blobforge.store.postgres.statements import Queries
from blobforge.store.postgres.store import PostgresStore
from blobforge.store.sql.export import DatabaseExport


class PostgresEngine:
    """The database of a URL. `server` is the name of this run, which no other server has or had."""

    keeper = None

    def __init__(self, url: str, server: str) -> None:
        self.url = url
        self.server = server
        self._known = LastKnown()

    @property
    def schema(self) -> int:
        return len(database.migrations())

    def version(self) -> int:
        return database.version(self.url)

    def mark_restored(self, *, now: int) -> None:
        database.mark_restored(self.url, now=now)

    def exists(self) -> bool:
        return database.is_there(self.url)

    def open_store(self) -> PostgresStore:
        database.prepare(self.url)
        return PostgresStore(WriterTurns(self.url, self.server, schema=self.schema, known=self._known))

    def open_reader(self) -> PostgresReader:
        return PostgresReader(self.url)

    def commons(self, folder: Path) -> RowCommons:
        return RowCommons(self.url, now=lambda: time.time_ns() // 1_000_000)

    def follow(self) -> PostgresFollower:
        return PostgresFollower(self.url, self.server, known=self._known)

    @contextmanager
    def export(self) -> Iterator[DatabaseExport]:
        if not self.exists():
            raise DatabaseError("the database of BLOBFORGE_DATABASE_URL is empty")
        asked = Queries(self.url)
        try:
            with database.damage_told(), asked.outages_told():
                yield DatabaseExport(asked, self.schema)
        finally:
            asked.close()

    def damage_told(self) -> AbstractContextManager[None]:
        return database.damage_told()
