"""The write side on PostgreSQL: transactions in turn with those of all other servers."""

from __future__ import annotations

from blobforge.machinery.tally import Spread
from blobforge.store.postgres.bulk import PostgresBulk
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.parameters import array_of_trigrams
from blobforge.store.postgres.statements import TurnStatements
from blobforge.store.sql.store import SqlStore


class PostgresStore(SqlStore):
    kept_text = staticmethod(array_of_trigrams)

    def __init__(self, turns: WriterTurns) -> None:
        statements = TurnStatements(turns)
        super().__init__(statements, PostgresBulk(turns, statements), None)
        self._turns = turns

    @property
    def turn_seconds(self) -> Spread:
        return self._turns.turn_seconds
