"""The writer: every change to the database, many in one commit. State owned here: the one write connection, through
the Store.

Group commit: whatever has gathered in the mailbox goes into one transaction, in one hop to a thread. Replies are
settled after COMMIT and never before: acknowledged means durable. When the commit fails, nothing of it has happened,
and every asker in it is told to come again. A message that meets a bug fails alone: it is undone in memory, or, where
some of it has been written, the transaction is made once more without it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import msgspec
import structlog
import trio
from msgspec.structs import replace

from actors import repeats
from actors.effects import apply, perform
from actors.effects.needs import needs_of
from actors.effects.standing import may_revoke, stands
from actors.effects.transaction import LOST, Rules, Transaction, transact
from actors.mailbox import Envelope, Mailbox, Reply
from actors.messages import (
    AdvanceOperation,
    Answer,
    Audit,
    Batch,
    BeginCanary,
    CancelCanary,
    Claim,
    Command,
    ExpireLeases,
    ExpireWorkers,
    Granted,
    Repeatable,
    SettleFork,
    WorkerRegistered,
)
from actors.sequencer import EventSink, Sequencer
from actors.turntime import TurnTime
from blobforge.events import CredentialsRevoked, Event, Fact, WritesResumed
from blobforge.machinery.hop import Hop, in_thread_at_once
from blobforge.machinery.outage import Outage
from blobforge.machinery.redaction import redact
from blobforge.machinery.tally import Spread
from blobforge.machinery.tracing import Tracer
from blobforge.people import AuditEntry
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.errors import HistoryForked, OutcomeUnknown, SchemaUnknown, StoreUnavailable
from blobforge.store.following import Entry
from blobforge.store.writing import Store

log = structlog.get_logger("blobforge.writer")

# Ten thousand workers that beat at once wait in their connections, not here: a mailbox of a few transactions
# keeps the answer within reach of a client's patience.
MAILBOX = 4096
# So large that one COMMIT is cheap beside it, so small that no message waits long for the transaction to end.
LARGEST_BATCH = 512
# How often all other tasks go first, before a transaction begins that has room: clients that were just answered ask
# again, and share its COMMIT. With one, a quarter fewer claims were answered a second. Not where one message is
# alone behind another that was: to give way would be a tenth of its cost, for nothing.
GIVE_WAY = 3
BATCH_SIZES = tuple(float(2**power) for power in range(10))  # 1 to 512
COME_AGAIN_SECONDS = 5

CANNOT_WRITE = Refusal(
    RefusalCode.UNAVAILABLE,
    "The server cannot write to its database now; nothing was changed. Try again later.",
    retry_after=COME_AGAIN_SECONDS,
)
NOT_KNOWN = Refusal(
    RefusalCode.UNAVAILABLE,
    "The connection to the database was lost while this was written, and the server could not find out whether it "
    "was. Look what became of it, or send it again with the same key.",
    retry_after=COME_AGAIN_SECONDS,
)


class Committed(msgspec.Struct):
    """What one transaction came to: an answer (or the bug that was met) for each message, and what happened; in the
    history of all servers, what came `before` it and is news here, and itself as an `entry`. `at`: its time (ms)."""

    answers: list[Answer | Exception]
    events: list[Event]
    facts: list[Fact]
    wrote: bool
    commit_seconds: float
    before: Sequence[Entry]
    entry: Entry | None
    at: int


class Stands(msgspec.Struct, frozen=True):
    """An answer with which all that was done stands, though it be a refusal."""

    answer: Answer


class Writer:
    """Takes messages, answers after COMMIT. What has happened goes to its `sequencer`, whose events go to `sink`."""

    heeds: ClassVar[frozenset[type[Fact]]] = frozenset({CredentialsRevoked, WritesResumed})

    def __init__(
        self,
        store: Store,
        rules: Rules,
        *,
        now: Callable[[], int],
        sink: EventSink,
        hop: Hop | None = None,
        dice: random.Random | None = None,
        tracer: Tracer | None = None,
        outage: Outage | None = None,
    ) -> None:
        self.mailbox: Mailbox[Envelope[Any]] = Mailbox(MAILBOX)
        self._store = store
        self._rules = rules
        self._time = TurnTime(now)
        self.sequencer = Sequencer(sink, store.server)
        self.sequencer.listeners.append(self)
        self._hop = hop or in_thread_at_once
        self.dice = dice or random.Random()  # others in plays
        self._tracer = tracer
        self._outage = outage or Outage()
        self.commits = 0
        self.committed_messages = 0
        self.failed_commits = 0
        self.writes = 0  # commits that changed anything
        self.second_tries = 0  # transactions that were made once more, without what met a bug
        self.failing = False
        self.outdated = False  # the database belongs to a newer release: nothing can be written any more
        self._revocations = 0  # that were told of in this run
        self._resumed = 0  # times that writes came back after an outage
        self.turn: int | None = None  # its last one that wrote, in the history of all servers
        self.turn_at: int | None = None  # ms
        self._crowded = False  # whether the last transaction held more than one message
        self.batch_sizes = Spread(BATCH_SIZES)
        self.transaction_seconds = Spread()
        self.commit_seconds = Spread()

    async def run(self) -> None:
        """Serve until the mailbox says stop: then everything before it has been committed and answered."""
        while True:
            batch = await self._gather()
            if batch is None:
                return
            await self._commit(batch)

    async def stop(self) -> None:
        """End `run` after all that was sent before this."""
        await self.mailbox.put(STOP)

    async def _gather(self) -> list[Envelope[Any]] | None:
        """What goes into the next transaction; None: all has been."""
        first = self.mailbox.take_nowait()
        while first is None:
            first = await self.mailbox.take()
        if first is STOP:
            return None
        batch = [first]
        weight = _weight(first)
        if weight < LARGEST_BATCH and (self._crowded or len(self.mailbox)):
            for _ in range(GIVE_WAY):
                await trio.lowlevel.cancel_shielded_checkpoint()  # what was taken is to be answered
        while weight < LARGEST_BATCH and (more := self.mailbox.take_nowait()) is not None:
            if more is STOP:
                await self._commit(batch)
                return None
            batch.append(more)
            weight += _weight(more)
        self._crowded = len(batch) > 1
        if self._crowded and any(may_revoke(envelope.message) for envelope in batch):
            # None was answered yet, so any order is good; in this one nothing is done for a caller that is being shut
            # out.
            batch.sort(key=lambda envelope: not may_revoke(envelope.message))
        return batch

    async def _commit(self, batch: list[Envelope[Any]]) -> None:
        if (fork := self.sequencer.fork) > self.sequencer.settled:
            # Before anything is given a number that may be out there, or is done for a lease that was lost.
            batch = [Envelope(SettleFork(fork), Reply()), *batch]
        if self._tracer is None:
            await self._commit_untraced(batch)
            return
        began = time.time_ns()
        commits = self.commits
        await self._commit_untraced(batch)
        ended, committed = time.time_ns(), self.commits > commits
        # Behind the answers: no caller waits for its own trace.
        for envelope in batch:
            if (trace := envelope.trace) is not None:
                kind = type(envelope.message).__name__
                self._tracer.record(trace, "writer wait", trace.sent, began, message=kind)
                self._tracer.record(
                    trace, "writer commit", began, ended, message=kind, batch=len(batch), committed=committed
                )

    async def _commit_untraced(self, batch: list[Envelope[Any]]) -> None:
        now, last = self._time.now(), self.sequencer.last
        began = time.perf_counter()
        try:
            done = await self._hop(partial(self._transact, batch, now, last))
        except StoreUnavailable as error:
            self._outage.met("commit", error)
            if isinstance(error, HistoryForked):
                self.sequencer.meet_fork(error.number)
            self.outdated = self.outdated or isinstance(error, SchemaUnknown)
            self.failing = True
            self.failed_commits += 1
            for envelope in batch:
                envelope.reply.settle(NOT_KNOWN if isinstance(error, OutcomeUnknown) else CANNOT_WRITE)
            return
        except Exception as error:
            # The transaction as a whole met a bug; its messages are innocent of each other, but none was written.
            log.exception("transaction failed", messages=len(batch))
            self.failed_commits += 1
            for envelope in batch:
                envelope.reply.fail(error)
            return
        if self.failing and done.wrote:
            # Only a transaction that wrote shows it: an empty one succeeds on a full disk, too.
            self._outage.over("commit")
            self.failing = False
            self.sequencer.tell([WritesResumed()])
        self._time.taken(done.at, proposed=now)
        self._note_settled(batch, done)
        self.commits += 1
        self.writes += done.wrote
        self.committed_messages += len(batch)
        self.batch_sizes.add(len(batch))
        self.transaction_seconds.add(time.perf_counter() - began)
        self.commit_seconds.add(done.commit_seconds)
        # Facts first: a caller that is answered now and asks again finds the actors informed.
        self._tell(done)
        if done.entry is not None and self.sequencer.last < done.entry.n:
            await self.sequencer.fill()
        for envelope, answer in zip(batch, done.answers, strict=True):
            if isinstance(answer, Exception):
                envelope.reply.fail(answer)
            else:
                envelope.reply.settle(answer)
        await self.sequencer.publish(done.events if done.entry is None else ())

    def _note_settled(self, batch: list[Envelope[Any]], done: Committed) -> None:
        message = batch[0].message
        if isinstance(message, SettleFork) and not isinstance(done.answers[0], Exception):
            self.sequencer.settled = message.fork

    def _tell(self, done: Committed) -> None:
        self.sequencer.take(done.before)
        if done.entry is not None:
            self.turn, self.turn_at = done.entry.n, done.entry.at
            self.sequencer.take([done.entry])
        else:
            self.sequencer.tell(done.facts)

    def post(self, facts: Sequence[Fact]) -> None:
        """Credentials were revoked, by this transaction or another server's; or writes have resumed."""
        resumed = sum(isinstance(fact, WritesResumed) for fact in facts)
        self._resumed += resumed
        self._revocations += len(facts) - resumed

    def _transact(self, batch: list[Envelope[Any]], now: int, last: int, *, careful: bool = False) -> Committed:
        """Runs in the thread. `last` is the place up to which all has been told."""
        done, again = transact(
            partial(Transaction, self._store, self._rules, now, self.dice, self._revocations),
            partial(self._together, batch, last),
            careful=careful,
        )
        self.second_tries += again
        return done

    def _together(self, batch: list[Envelope[Any]], last: int, tx: Transaction) -> Committed:
        """All messages in one transaction."""
        answers: list[Answer | Exception] = []
        store, entry = self._store, None
        needs = None if tx.careful else needs_of([(envelope.message, envelope.repeat) for envelope in batch])
        with store.transaction(needs, now=tx.now):
            tx.now, turn = store.now, store.turn
            if turn > last:
                tx.revocations += _revocations(store.missed, last, turn)
            for place, envelope in enumerate(batch):
                try:
                    answer = tx.whole(place, self._answer, envelope)
                    answers.append(answer.answer if isinstance(answer, Stands) else answer)
                except LOST:
                    raise
                except Exception as error:
                    # A bug in one effect; it is undone, the others are not to suffer.
                    log.exception("effect failed", message=type(envelope.message).__name__)
                    answers.append(error)
            tx.hide_comparisons()
            store.tell(tx.events, tx.facts)
        wrote = store.wrote
        if wrote and (turn := store.turn):
            entry = Entry(turn, store.server, tx.now, tuple(tx.events), tuple(tx.facts))
        return Committed(answers, tx.events, tx.facts, wrote, store.commit_seconds, store.missed, entry, tx.now)

    def _answer(self, tx: Transaction, envelope: Envelope[Any]) -> Answer | Stands:
        message = cast(Command, envelope.message)
        if isinstance(message, Claim) and envelope.reply.abandoned:
            return Granted(idle=True)  # the claimant is no longer there to take the jobs
        if isinstance(message, ExpireLeases | ExpireWorkers) and self._is_of_an_outage(message.resumed):
            # Heartbeats could not be written either: a worker that came meanwhile is not silent. Once something can
            # be written again, the reaper hears of it, and gives every worker a fresh period.
            self._store.pulse(now=tx.now)
            return Stands(CANNOT_WRITE)
        if (refusal := stands(tx, envelope.caller)) is not None:
            return refusal
        repeat, audit = envelope.repeat, envelope.audit
        if repeat is None and audit is None:
            return apply(tx, message)
        if (earlier := self._remembered(tx, repeat)) is not None:
            return earlier
        answer = perform(tx, message)
        if audit is not None and not isinstance(answer, Refusal):
            tx.audit(_entry(audit, tx.now))
        if repeat is not None and not _comes_again(message, answer):
            self._store.remember(
                repeat.subject, repeat.key, repeat.fingerprint, msgspec.msgpack.encode(answer), now=tx.now
            )
        return Stands(answer)

    def _is_of_an_outage(self, resumed: int | None) -> bool:
        """Whether nothing could be written when this was sent, after writes had come back so often, or can be now."""
        return self.failing or resumed not in (None, self._resumed)

    def _remembered(self, tx: Transaction, repeat: Repeatable | None) -> Answer | None:
        """The answer that this idempotency key was given before, if any."""
        if repeat is None:
            return None
        answer = repeats.earlier(self._store, repeat, now=tx.now, window=self._rules.idempotency_window)
        # An old answer says nothing about what there is now: the scheduler must not take it for news.
        if isinstance(answer, Granted):
            none = not answer.jobs
            return replace(answer, idle=none, repeated=none, withheld_lines=(), rooms=())
        return answer


def _revocations(missed: Sequence[Entry], last: int, turn: int) -> int:
    """How often something was revoked behind what has been told, as far as it is known; where not all of it is, it
    may have been."""
    news = [entry for entry in missed if entry.n > last]
    revoked = sum(isinstance(fact, CredentialsRevoked) for entry in news for fact in entry.facts)
    whole = len(news) == turn - last and all(entry.known for entry in news)
    return revoked if whole else revoked + 1


def _weight(envelope: Envelope[Any]) -> int:
    """How many effects a message is, at most: what a transaction gives is in memory until all of it is committed."""
    message = envelope.message
    match message:
        case Batch():
            return len(message.items)
        case Claim():
            return message.limit
        case BeginCanary() | CancelCanary():
            return len(message.jobs)
        case AdvanceOperation():
            return len(message.jobs) + len(message.workers)
        case _:
            return 1


def _entry(audit: Audit, now: int) -> AuditEntry:
    # Names and details are as callers wrote them, and the audit log is kept for long: no secret goes in.
    name, subject = redact(audit.name), redact(audit.subject)
    detail = redact(audit.detail) if audit.detail is not None else None
    return AuditEntry(0, now, audit.actor, name, audit.address, audit.action, subject, detail)


def _comes_again(message: Command, answer: Answer) -> bool:
    """Whether the same is to be asked once more: after a refusal that says so, or while another process is the worker
    that one would be, and for a claim whose time is not over and that was given no job, which the scheduler asks
    for."""
    if isinstance(answer, Refusal):
        return answer.retry_after is not None
    if isinstance(answer, WorkerRegistered):
        return answer.alive is not None
    return isinstance(message, Claim) and message.wait > 0 and isinstance(answer, Granted) and not answer.jobs


class _Stop:
    """The last thing in the mailbox."""


STOP: Any = _Stop()
