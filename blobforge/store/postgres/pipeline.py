"""One connection on which statements gather, and go together: as many as there are in one round trip.

It is libpq's pipeline, asked for by hand: psycopg's own costs three times the time of it. Every statement is prepared
once. State owned here: the connection, what it has prepared, and what has gathered.
"""

from __future__ import annotations

import select
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import errors, pq
from psycopg.adapt import Transformer

from blobforge.store.errors import StoreUnavailable
from blobforge.store.postgres.texts import without_nul

SqlValue = int | str | bytes | None
# A statement keeps its plan in the memory of the server's process, about 50 KiB; those of moves are made of columns.
MOST_PREPARED: Final = 300
_BAD: Final = pq.ConnStatus.BAD
_OK: Final = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK, pq.ExecStatus.EMPTY_QUERY)


class Lost(StoreUnavailable):
    """The connection is no more. What was under way may have happened, if it held a COMMIT."""


class SqlAnswer(NamedTuple):
    """`changed`: how many rows a statement has written."""

    rows: list[tuple[Any, ...]]
    changed: int


class _Gathered(NamedTuple):
    statement: str
    values: list[bytes | None]
    formats: list[pq.Format]
    then: Callable[[SqlAnswer], None] | None


class Pipeline:
    """Used by one thread at a time. Statements are spelled with `$1`."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """`connection` is new, and this one's from now on."""
        self._connection = connection
        self._pg = connection.pgconn
        self._rows = Transformer(connection)
        self._prepared: OrderedDict[str, bytes] = OrderedDict()
        self._names = 0
        self._gathered: list[_Gathered] = []
        self._poll = select.poll()
        self.round_trips = self.statements = 0
        self._pg.nonblocking = 1
        self._pg.enter_pipeline_mode()

    @property
    def alive(self) -> bool:
        """Whether it has not been found dead."""
        return self._pg.status != _BAD

    def close(self) -> None:
        self._gathered.clear()
        self._connection.close()

    def queue(
        self, statement: str, values: Sequence[SqlValue] = (), then: Callable[[SqlAnswer], None] | None = None
    ) -> None:
        """It goes with the next flush; `then` is told its answer, once all have been answered."""
        formats = [pq.Format.BINARY if type(value) is bytes else pq.Format.TEXT for value in values]
        self._gathered.append(_Gathered(statement, [_sent(value) for value in values], formats, then))

    def run(self, statement: str, values: Sequence[SqlValue] = (), *, within: float) -> SqlAnswer:
        """Run it behind those that have gathered."""
        answers: list[SqlAnswer] = []
        self.queue(statement, values, answers.append)
        self.flush(within=within)
        return answers[0]

    def forget(self) -> None:
        """What has gathered is not sent."""
        self._gathered.clear()

    def flush(self, *, within: float) -> None:
        """Send what has gathered, and wait for all answers for so long (seconds). Raises Lost, or the error of the
        first statement that failed; those behind it have not run."""
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        self.round_trips += 1
        self.statements += len(gathered)
        try:
            told = self._exchange(gathered, time.monotonic() + within)
        except psycopg.OperationalError as error:
            self.close()
            raise Lost(_line(error)) from error
        except BaseException:
            self.close()  # what comes next on it would be taken for the answer to another question
            raise
        answers = self._answers(gathered, told)
        for each, answer in zip(gathered, answers, strict=True):
            if each.then is not None:
                each.then(answer)

    # --- sending

    def _exchange(self, gathered: list[_Gathered], until: float) -> list[tuple[str | None, pq.abc.PGresult]]:
        """All results: of statements (None), and of what was prepared for one."""
        pg = self._pg
        kinds: list[str | None] = []
        for statement, values, formats, _ in gathered:
            name = self._prepared.get(statement)
            if name is None:
                name = self._prepare(statement, kinds)
            else:
                self._prepared.move_to_end(statement)
            pg.send_query_prepared(name, values, formats)
            kinds.append(None)
        pg.pipeline_sync()
        results: list[pq.abc.PGresult] = []
        fd, flushed = pg.socket, False
        while True:
            if not flushed:
                flushed = pg.flush() == 0
            while not pg.is_busy():
                result = pg.get_result()
                if result is None:
                    if pg.status == _BAD:
                        raise psycopg.OperationalError(pg.get_error_message())
                elif result.status == pq.ExecStatus.PIPELINE_SYNC:
                    return list(zip(kinds, results, strict=True))
                elif pg.status == _BAD:
                    raise psycopg.OperationalError(result.get_error_message())
                else:
                    results.append(result)
            self._wait(fd, writing=not flushed, until=until)
            pg.consume_input()

    def _wait(self, fd: int, *, writing: bool, until: float) -> None:
        # At least once: where this process was stopped, the answer may be there, and the time over.
        left = max(0.0, until - time.monotonic())
        self._poll.register(fd, select.POLLIN | (select.POLLOUT if writing else 0))
        if not self._poll.poll(left * 1000):
            raise psycopg.OperationalError("the database does not answer")

    def _prepare(self, statement: str, kinds: list[str | None]) -> bytes:
        if len(self._prepared) >= MOST_PREPARED:
            _, oldest = self._prepared.popitem(last=False)
            self._pg.send_query_params(b"DEALLOCATE " + oldest, None)
            kinds.append("")
        self._names += 1
        name = self._prepared[statement] = b"s%d" % self._names
        self._pg.send_prepare(name, statement.encode())
        kinds.append(statement)
        return name

    # --- answers

    def _answers(self, gathered: list[_Gathered], told: list[tuple[str | None, pq.abc.PGresult]]) -> list[SqlAnswer]:
        failed: pq.abc.PGresult | None = None
        answers = []
        for prepared, result in told:
            if result.status in _OK:
                if prepared is None:
                    answers.append(self._answer(result))
                continue
            if prepared is not None:
                self._prepared.pop(prepared, None)
            if result.status == pq.ExecStatus.FATAL_ERROR and failed is None:
                failed = result
        if failed is not None:
            error = raised(errors.error_from_result(failed))
            if isinstance(error, Lost):
                self.close()  # it may be open, to a server that is a standby now: another host has to be asked
            raise error
        return answers

    def _answer(self, result: pq.abc.PGresult) -> SqlAnswer:
        rows: list[tuple[Any, ...]] = []
        if result.ntuples:
            self._rows.set_pgresult(result)
            rows = self._rows.load_rows(0, result.ntuples, tuple)
        return SqlAnswer(rows, result.command_tuples or 0)


# What no statement is to blame for, by the class of its SQLSTATE, or by the whole of it.
_OUTAGE_CLASSES: Final = frozenset({
    "08",  # the connection
    "40",  # locks taken in another order
    "53",  # disk full, out of memory, too many connections
    "57",  # shut down, cancelled, starting up
    "58",  # the disk errs
    "XX",  # damaged
})  # fmt: skip
_OUTAGES: Final = frozenset({
    "25006",  # it is a standby now
    "25P03",  # it was open for too long: we were stopped
    "55P03",  # the lock was not given in time
})  # fmt: skip
# After these the same connection will not do any better.
_LOSES: Final = frozenset({"25006", "25P03", "57P01", "57P02", "57P03"})


def raised(error: psycopg.Error) -> Exception:
    """The error as the store tells it: Lost and StoreUnavailable for an outage."""
    state = error.sqlstate
    if state in _LOSES or (state is None and isinstance(error, psycopg.OperationalError)):
        return _caused(Lost(_line(error)), error)
    if state is not None and (state in _OUTAGES or state[:2] in _OUTAGE_CLASSES):
        return _caused(StoreUnavailable(_line(error)), error)
    return error


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _sent(value: SqlValue) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return without_nul(value).encode()  # libpq would send what is before
    return b"%d" % value
