"""What runs shared statements on PostgreSQL: in the writer's turn, or on a connection that only reads."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import psycopg

from blobforge.store.errors import DatabaseError, StoreUnavailable
from blobforge.store.postgres.connecting import open_pipeline
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.pipeline import Lost, Pipeline, SqlAnswer, SqlValue
from blobforge.store.postgres.spelling import inserting, spelled, writes
from blobforge.store.sql.running import Row

ANSWER_MS: Final = 20_000  # for a statement that reads: none takes more than moments
AT_ONCE: Final = 50  # rows that are fetched ahead, where they are taken one by one

# As the writer's (turns_sql.py): what is asked goes by keys and in the order of an index. And most of what is walked
# row by row is left after a few.
_SESSION: Final = f"""
    SELECT set_config('plan_cache_mode', 'force_generic_plan', false),
           set_config('enable_seqscan', 'off', false),
           set_config('enable_sort', 'off', false),
           set_config('enable_bitmapscan', 'off', false),
           set_config('cursor_tuple_fraction', '0.001', false),
           set_config('jit', 'off', false),
           set_config('default_transaction_read_only', 'on', false),
           set_config('idle_in_transaction_session_timeout', '{2 * ANSWER_MS}', false),
           set_config('statement_timeout', '{ANSWER_MS}', false)"""
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class TurnStatements:
    """Statements of the writer, in the turn that it has."""

    def __init__(self, turns: WriterTurns) -> None:
        self._turns = turns
        self.written = 0

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        return self._run(spelled(statement), values).rows

    def row(self, statement: str, values: Row = ()) -> Row | None:
        rows = self.rows(statement, values)
        return rows[0] if rows else None

    def number(self, statement: str, values: Row = ()) -> int:
        return int(self.rows(statement, values)[0][0])

    def change(self, statement: str, values: Row = ()) -> int:
        return self._run(spelled(statement), values).changed

    def insert(self, statement: str, values: Row) -> int:
        return int(self._run(inserting(statement), values).rows[0][0])

    def patience(self) -> AbstractContextManager[None]:
        return self._turns.patience()

    def close(self) -> None:
        self._turns.close()

    def _run(self, statement: str, values: Sequence[SqlValue]) -> SqlAnswer:
        found = self._turns.run(statement, values)
        if writes(statement):
            self.written += found.changed
        return found


class Queries:
    """State owned here: a connection that only reads, opened when it is needed and once more when it was lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pipe: Pipeline | None = None
        self._within = False  # a moment
        self._begun = False  # its transaction
        self._cursors: set[int] = set()

    def rows(self, statement: str, values: Row = ()) -> list[Row]:
        return self._run(spelled(statement), values).rows

    def row(self, statement: str, values: Row = ()) -> Row | None:
        rows = self.rows(statement, values)
        return rows[0] if rows else None

    def each(self, statement: str, values: Row = ()) -> Generator[Row, None, None]:
        assert self._within, "what is read row by row is of one moment"
        number = next(number for number in range(len(self._cursors) + 1) if number not in self._cursors)
        self._cursors.add(number)
        fetch = f"FETCH {AT_ONCE} FROM c{number}"
        try:
            declared = (f"DECLARE c{number} NO SCROLL CURSOR FOR {spelled(statement)}", values)
            rows = self._run(fetch, (), declared).rows
            while rows:
                yield from rows
                rows = self._run(fetch, ()).rows if len(rows) == AT_ONCE else []
        finally:
            self._cursors.discard(number)
            if self._begun and self._pipe is not None:
                self._pipe.queue(f"CLOSE c{number}")

    @contextmanager
    def moment(self) -> Iterator[None]:
        if self._within:
            yield
            return
        self._within = True
        try:
            yield
        finally:
            self._within = False
            self._end()

    @contextmanager
    def outages_told(self) -> Iterator[None]:
        try:
            yield
        except (StoreUnavailable, psycopg.Error) as error:
            raise DatabaseError(f"cannot read the database: {error}") from error

    def close(self) -> None:
        pipe, self._pipe, self._begun = self._pipe, None, False
        if pipe is not None:
            pipe.close()

    def _run(
        self, statement: str, values: Sequence[SqlValue], first: tuple[str, Sequence[SqlValue]] | None = None
    ) -> SqlAnswer:
        """Run `first` and the statement in one round trip; once more on another connection, if the one at hand was
        lost and nothing of the moment had been read."""
        while True:
            fresh = self._pipe is None
            pipe = self._pipe = self._pipe or self._opened()
            begins = self._within and not self._begun
            if begins:
                pipe.queue(_BEGIN)
                self._begun = True
            if first is not None:
                pipe.queue(*first)
            try:
                return pipe.run(statement, values, within=2 * ANSWER_MS / 1000)
            except Lost:
                again = not fresh and (begins or not self._begun)
                self.close()
                if not again:
                    raise

    def _opened(self) -> Pipeline:
        pipe = open_pipeline(self._url)
        pipe.run(_SESSION, (), within=2 * ANSWER_MS / 1000)
        return pipe

    def _end(self) -> None:
        """The moment is over: its transaction, if it had one, ends before the next statement."""
        pipe, begun, self._begun = self._pipe, self._begun, False
        if pipe is None or not begun:
            return
        try:
            pipe.run("ROLLBACK", (), within=2 * ANSWER_MS / 1000)
        except (StoreUnavailable, psycopg.Error):
            self.close()
