"""The writer's transactions in the cluster: each takes the turn, and has its place in the one order of all.

A transaction is two round trips: its beginning goes with what is loaded first, and its end with all that is written.
What becomes of one whose connection is lost is found out and never guessed: a new incarnation of this server waits
until it has ended; then its nonce is in the log, or it is not.

State owned here: the connection, the incarnation, the turn that is taken, and the last one that this server knows.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
import structlog

from blobforge.machinery.tally import Spread
from blobforge.store.errors import (
    ForkedInCommit,
    HistoryForked,
    OutcomeUnknown,
    SchemaUnknown,
    StaleState,
    StoreUnavailable,
)
from blobforge.store.opentransaction import Unwritable
from blobforge.store.postgres import turns_sql as sql
from blobforge.store.postgres.connecting import open_pipeline
from blobforge.store.postgres.known import LastKnown, is_there
from blobforge.store.postgres.pipeline import Lost, Pipeline, SqlAnswer, SqlValue

log = structlog.get_logger("blobforge.store")

# Seconds. The turn is held for milliseconds; where it is not given for so long, the server that holds it is stopped.
LOCK_WAIT: Final = 5.0
# A server that is stopped between its two round trips is thrown out after it: all others wait for it.
IDLE_WAIT: Final = 2.0
# For an answer. Longer than the wait for a lock, which says more.
ANSWER_WAIT: Final = 10.0
# For the answer to what looks through all jobs, which is asked after a restore or a fork alone.
LONG_WAIT: Final = 900.0
LEAVE_WAIT: Final = 2.0
# How long it is tried to find out what became of a commit, before its callers are told that it is not known.
FINDING_OUT: Final = 10.0
# Between tries to connect: what comes in between is refused at once.
RETRY_AFTER: Final = 0.5
_BETWEEN: Final = 0.1
# The log holds all entries of two minutes, and many of older ones: so long a server may be stopped, or a client away,
# and still read on. It never holds more than so many.
KEPT_MS: Final = 120_000
KEPT: Final = 2_000
MOST_KEPT: Final = 50_000
_PRUNED_EACH: Final = 100  # turns


class WriterTurns:
    """Used by one thread at a time: the writer's."""

    def __init__(
        self,
        url: str,
        server: str,
        *,
        schema: int,
        known: LastKnown | None = None,
        open_: Callable[[str], Pipeline] = open_pipeline,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self._url = url
        self._schema = schema
        self._open = open_
        self._pipe: Pipeline | None = None
        self._incarnation = 0
        self._clock = clock
        self._answer_wait = ANSWER_WAIT
        self._tried_at = -math.inf  # without success
        self.begun = False  # BEGIN has been sent, or waits to be
        self._taken: tuple[int, int, int, int] | None = None  # n, at, job, type_settings
        self.known = known or LastKnown()
        self._forks = self.known.forks  # of which this connection has said so
        self._settled = ""  # the latest settlement before the turn that is taken
        self.turn_seconds = Spread()  # that transactions took to begin
        self.turn = 0  # of the last transaction that this server knows to be committed
        # The last turn of a server that does not keep all counters, where those were not counted since.
        self.older: int | None = None
        self.others_wrote = True  # before the turn that was taken last, and after the one before
        self.on_news: Callable[[], None] = lambda: None  # called then, before anything else is told of that turn
        self._round_trips = self._statements = 0  # of connections that are no more

    # --- the turn

    @property
    def n(self) -> int:
        """The place of this transaction among all that write. It waits for the turn, as do the next two."""
        return self.take()[0]

    @property
    def at(self) -> int:
        """The time of this transaction (ms), which never goes back, whichever server it is of."""
        return self.take()[1]

    @property
    def job(self) -> int:
        """The highest number that was ever given to a job."""
        return self.take()[2]

    @property
    def type_settings(self) -> int:
        """The last turn before this one that changed what is set for types."""
        return self.take()[3]

    @property
    def round_trips(self) -> int:
        return self._round_trips + (self._pipe.round_trips if self._pipe is not None else 0)

    @property
    def statements(self) -> int:
        return self._statements + (self._pipe.statements if self._pipe is not None else 0)

    def take(self) -> tuple[int, int, int, int]:
        """Wait for the turn: (its number, its time in ms, the highest number of a job, the turn that changed what is
        set for types)."""
        if self._taken is None:
            self.flush()
        assert self._taken is not None
        return self._taken

    # --- transactions

    def begin(self, clock: int) -> None:
        """Take the turn, with the first statement that follows. `clock` is what this server takes for the time (ms).
        Raises StoreUnavailable."""
        pipe = self._connected()
        self.begun, self._taken = True, None
        pipe.queue(sql.BEGIN)
        pipe.queue(sql.HOLD_SERVER, (self.server, self._incarnation), self._held)
        pipe.queue(sql.TAKE_TURN, (clock, self._schema), self._took)

    def _held(self, answer: SqlAnswer) -> None:
        if not answer.rows:  # another connection has the name of this one, or the row was thought to be left behind
            self._drop()
            raise Lost("this server is another one's incarnation by now")

    def _took(self, answer: SqlAnswer) -> None:
        n, at, oldest, job, self.older, settled, type_settings = answer.rows[0]
        self._taken = (n, at, job, type_settings)
        if oldest > self._schema:
            raise SchemaUnknown(_too_old(oldest, self._schema))
        if n <= self.turn or self._forks != self.known.forks:
            self._fork(n - 1)
        self.others_wrote = n != self.turn + 1
        self.turn = n - 1
        self._settled = settled
        if not self.known.has_read_of(settled):
            self.queue(sql.SETTLEMENTS, (), self._read_of)  # with what is sent next
        if self.others_wrote:
            self.on_news()

    def queue(
        self, statement: str, values: Sequence[SqlValue] = (), then: Callable[[SqlAnswer], None] | None = None
    ) -> None:
        """It goes with what is run or flushed next."""
        self._there().queue(statement, values, then)

    def run(self, statement: str, values: Sequence[SqlValue] = ()) -> SqlAnswer:
        """Raises StoreUnavailable for an outage; Unwritable, with its reason, for what fails by itself, or failed
        among what was queued: the transaction is lost with it."""
        answers: list[SqlAnswer] = []
        self.queue(statement, values, answers.append)
        self.flush()
        return answers[0]

    def flush(self) -> None:
        """The same of all that was queued."""
        waits, began = self.begun and self._taken is None, time.perf_counter()
        try:
            self._there().flush(within=self._answer_wait)
            if waits:
                self.turn_seconds.add(time.perf_counter() - began)
        except psycopg.errors.DivisionByZero as error:
            raise Unwritable from StaleState("a row was no longer as it was read: " + str(error.diag.context or ""))
        except psycopg.Error as error:
            raise Unwritable from error

    @contextmanager
    def patience(self) -> Iterator[None]:
        """What is asked within may take long; other servers wait for the turn, and answer 503 meanwhile."""
        self._answer_wait = LONG_WAIT
        try:
            yield
        finally:
            self._answer_wait = ANSWER_WAIT

    def commit(self, told: str) -> float:
        """Returns how long it took, in seconds. Raises StoreUnavailable when nothing of it happened, OutcomeUnknown
        when that could not be found out."""
        n, at, *_ = self.take()  # where nothing was asked before
        nonce = secrets.token_bytes(12)
        began = time.perf_counter()
        self.queue(sql.TELL, (n, self.server, nonce, at, told))
        if n % _PRUNED_EACH == 0:
            self.queue(sql.PRUNE_LOG, (n - MOST_KEPT, n - KEPT, at - KEPT_MS, 10 * _PRUNED_EACH))
        self.queue(sql.NOTIFY, (self.server,))
        self.queue(sql.COMMIT)
        try:
            self.flush()
        except Lost as error:
            self.begun = False
            self._find_out(n, nonce, error)
        self.begun = False
        self.turn = n
        self.known.learn(n, nonce, self._forks)
        return time.perf_counter() - began

    @property
    def recount(self) -> int:
        """The turn in which a recount was begun last, if none has ended since."""
        return int(self.run(sql.RECOUNT).rows[0][0])

    def begin_recount(self) -> int:
        n = self.n
        self.queue(sql.BEGIN_RECOUNT)
        return n

    def counted(self) -> None:
        """All counters are right."""
        self.queue(sql.RECOUNTED, (self._schema,))

    @property
    def losses_settled(self) -> bool:
        """Whether another server has settled what the last fork has cost that this one has met."""
        self.take()
        return self.known.is_settled(id_ for (id_,) in self.run(sql.SETTLEMENTS).rows)

    def settle_losses(self) -> None:
        """In this transaction they are, for all servers."""
        n, at, *_ = self.take()
        id_ = secrets.token_hex(8)
        self.known.read_of([id_])
        self.queue(sql.ADD_SETTLEMENT, (id_, n, at, self.server))
        self.queue(sql.SETTLED, (id_,))

    def _read_of(self, answer: SqlAnswer) -> None:
        self.known.read_of(id_ for (id_,) in answer.rows)

    def learn(self, n: int, nonce: bytes) -> None:
        """An entry of another server was read in this transaction."""
        if self.known.has_read_of(self._settled):
            self.known.learn(n, nonce, self._forks)

    def rollback(self) -> None:
        """All of the transaction is undone, if there is one: the turn is given back."""
        begun, self.begun, self._taken = self.begun, False, None
        pipe = self._pipe
        if pipe is None:
            return
        pipe.forget()
        if begun:
            try:
                pipe.run(sql.ROLLBACK, within=ANSWER_WAIT)
            except (StoreUnavailable, psycopg.Error):
                self._drop()

    def close(self) -> None:
        """This server ends, and leaves no row behind; where it cannot be reached now, the others see to that."""
        if self._pipe is not None and not self.begun:
            with suppress(StoreUnavailable, psycopg.Error):
                self._pipe.run(sql.FORGET_SERVER, (self.server, self._incarnation), within=LEAVE_WAIT)
        self._drop()

    # --- the connection

    def _there(self) -> Pipeline:
        if self._pipe is None:
            if self.begun:
                raise Lost("the connection to the database is lost")
            return self._connected()
        return self._pipe

    def _connected(self) -> Pipeline:
        """Raises StoreUnavailable; at once, where that was tried a moment ago."""
        if self._pipe is not None and self._pipe.alive:
            return self._pipe
        if self._clock() - self._tried_at < RETRY_AFTER:
            raise StoreUnavailable("the database cannot be reached")
        self._drop()
        try:
            return self._connect()
        except StoreUnavailable:
            self._tried_at = self._clock()
            raise

    def _connect(self) -> Pipeline:
        """A new incarnation of this server, which nothing of the former one can overtake."""
        pipe = self._open(self._url)
        try:
            pipe.run(sql.SESSION, (_ms(IDLE_WAIT), _ms(LOCK_WAIT)), within=ANSWER_WAIT)
            raised = pipe.run(sql.RAISE_INCARNATION, (self.server,), within=ANSWER_WAIT)
            n, _, oldest, settled = pipe.run(sql.LATEST_TURN, within=ANSWER_WAIT).rows[0]
            self._pipe, self._incarnation = pipe, raised.rows[0][0]
            if oldest > self._schema:
                raise SchemaUnknown(_too_old(oldest, self._schema))
            last = self.known.entry
            if self._forks != self.known.forks or (last is not None and not is_there(self._ask, *last, n)):
                self._fork(n)
            if not self.known.has_read_of(settled):
                self._read_of(pipe.run(sql.SETTLEMENTS, within=ANSWER_WAIT))
        except psycopg.Error as error:
            self._drop(pipe)
            raise StoreUnavailable(str(error)) from error
        except BaseException:
            self._drop(pipe)
            raise
        return pipe

    def _drop(self, pipe: Pipeline | None = None) -> None:
        for each in {self._pipe, pipe} - {None}:
            assert each is not None
            self._round_trips += each.round_trips
            self._statements += each.statements
            each.close()
        self._pipe = None

    # --- what became of it

    def _find_out(self, n: int, nonce: bytes, error: Lost) -> None:
        """Returns when the transaction is committed whose connection was lost. Raises StoreUnavailable when not."""
        until = time.monotonic() + FINDING_OUT
        self._drop()
        while True:
            try:
                pipe = self._connect()
                found = pipe.run(sql.NONCE, (n,), within=ANSWER_WAIT).rows
            except HistoryForked as fork:
                # It may have been committed to the history that goes on.
                raise ForkedInCommit(str(fork), fork.number) from error
            except StoreUnavailable as away:
                if time.monotonic() > until:
                    raise OutcomeUnknown(str(away)) from error
                time.sleep(_BETWEEN)
                continue
            if found and found[0][0] == nonce:
                log.info("found out: what was being committed is", turn=n)
                return
            raise StoreUnavailable(f"the connection was lost before the commit: {error}") from error

    def _ask(self, statement: str, values: Sequence[SqlValue]) -> list[tuple[Any, ...]]:
        assert self._pipe is not None
        return self._pipe.run(statement, values, within=ANSWER_WAIT).rows

    def _fork(self, latest: int) -> None:
        last, before = self.known.entry, self.known.forks
        known, self.turn = max(self.turn, last[0] if last is not None else 0), latest
        self._forks = self.known.lose(self._forks)
        if self._forks > before:  # else the follower has said so
            log.error("the database has lost what was acknowledged: its history goes on from elsewhere",
                      known=known, latest=latest)  # fmt: skip
        raise HistoryForked(
            f"the database has lost what was committed: it ends with turn {latest}, and {known} was known",
            self._forks,
        )


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"


def _too_old(oldest: int, schema: int) -> str:
    return f"the database is used by servers of a newer release (schema {oldest}, this one knows {schema}): update it"
