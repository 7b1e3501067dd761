"""A PostgreSQL that several servers of a play share: it may be away, and what is connected to it may be cut off.

It has the play's time: what servers tell of each other there goes by the clock of the database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import trio

from blobforge.store.postgres.commons import RowCommons
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.pipeline import Pipeline
from blobforge.store.postgres.store import PostgresStore
from tests.fixtures.databases import Faults
from tests.fixtures.local import virtual_now
from tests.fixtures.on_postgres import PostgresDatabase, Seat, make
from tests.fixtures.postgres import Cluster

TEMPLATE = "in_a_play"
# Found before pg_catalog's own, where the path says so.
_CLOCK = """
    CREATE SCHEMA play;
    CREATE TABLE play.clock (ms bigint);
    INSERT INTO play.clock VALUES (0);
    CREATE FUNCTION play.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
        AS 'SELECT to_timestamp(ms / 1000.0) FROM play.clock'"""
_SET_CLOCK = "UPDATE play.clock SET ms = $1"
_PATH = "-c search_path=play,public,pg_catalog"
_CUT = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
     WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
       AND (application_name = %s OR %s)"""


class _Commons(RowCommons):
    """Each question is asked at the play's time."""

    def _connected(self) -> Pipeline:
        pipe = super()._connected()
        pipe.queue(_SET_CLOCK, (virtual_now(),))
        return pipe


class PlayedEngine(Seat):
    """What one run of a server has of the database."""

    def open_store(self) -> PostgresStore:
        self.turns = WriterTurns(
            self.url,
            self.server,
            schema=self.schema,
            known=self._known,
            open_=self._pipeline,
            clock=trio.current_time,
        )
        return PostgresStore(self.turns)

    def commons(self, folder: Path) -> RowCommons:
        return _Commons(self.url, now=virtual_now)


class SharedDatabase:
    """New, and gone with `close`."""

    def __init__(self, cluster: Cluster) -> None:
        self.is_away = False
        self.back_at = 0.0
        self._cluster = cluster
        self._name = cluster.database(cluster.template(TEMPLATE, _make(cluster)))
        self.looked_into = PostgresDatabase(cluster, self._name)
        self.looked_into.version()  # its connection outlives all outages

    @property
    def url(self) -> str:
        return self._cluster.url(self._name)

    def engine(self, server: str, faults: Faults) -> PlayedEngine:
        """For a run of a server, which has that name, and no other had."""
        url = f"{self.url}&options={quote(_PATH, safe='')}&application_name={quote(_connection_of(server), safe='')}"
        made = PlayedEngine(url, server)
        made.faults = faults
        return made

    def end(self, server: str) -> None:
        """Its process is no more, and its connections with it."""
        self._cut(server, everyone=False)

    def go_away(self) -> None:
        """Whoever is connected is cut off, and none can connect."""
        self.is_away = True
        self._cluster.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
        self._cut("", everyone=True)

    def come_back(self) -> None:
        if self.is_away:
            self._cluster.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")
            self.is_away = False
            self.back_at = trio.current_time()

    def close(self) -> None:
        self.looked_into.looking.close()
        self._cluster.drop(self._name)

    def _cut(self, server: str, *, everyone: bool) -> None:
        self.looked_into.looking.execute(_CUT, (_connection_of(server), everyone))


def _connection_of(server: str) -> str:
    """As its connections are called, by which the servers see whether one is there (commons_sql.SIGN)."""
    return f"blobforge {server}"


def _make(cluster: Cluster) -> Any:
    def made(url: str) -> None:
        make(url)
        for statement in _CLOCK.split(";\n"):
            cluster.execute(statement, database=TEMPLATE)

    return made
