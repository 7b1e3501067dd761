"""A run of the real writer on a recorded disk: what the disk was asked, what the database held after each
transaction, and when somebody was told so."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import msgspec
import trio
import trio.testing

from actors.effects.transaction import Rules
from actors.mailbox import ask
from actors.messages import (
    Audit,
    Cancel,
    Claim,
    Complete,
    CreateToken,
    Fail,
    Granted,
    Heartbeat,
    JobBeat,
    Register,
    Release,
    Repeatable,
    Retry,
    SetPriority,
)
from actors.writer import Writer
from blobforge.access import DEFAULT_SCOPES
from blobforge.events import Event, Fact
from blobforge.job import Job, RetryPolicy
from blobforge.machinery.hop import Hop, in_place
from blobforge.store.sql import sql
from blobforge.store.sqlite.database import open_writer
from blobforge.store.sqlite.store import Store
from tests.power.record import Acknowledged, Entry, recording
from tests.store.making import ADMIN, T0, submission

NAME = "blobforge.db"


class Run(msgspec.Struct):
    """`states[n]` is the database's whole content after n transactions, as a hash; `installation` was its id."""

    entries: list[Entry]
    states: list[str]
    installation: str


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How the run treats its disk. `checkpoint_every` is in pages of the WAL (SQLite's default would be 1,000);
    `litestream`: only somebody else checkpoints. `synchronous` and `deaf` are the faults to be found."""

    checkpoint_every: int = 24
    litestream: bool = False
    synchronous: str = "FULL"
    deaf: int = 0


def content(connection: apsw.Connection) -> str:
    """A hash of every row of every table, and of the schema. Without the installation's id, which chance makes when a
    database is opened that has none: one whose birth was lost is born anew, with another."""
    digest = hashlib.sha256()
    schema = list(connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name"))
    digest.update(repr(schema).encode())
    for (table,) in list(connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")):
        if table == "installation":
            continue
        digest.update(table.encode())
        for row in connection.execute(f'SELECT * FROM "{table}"'):
            digest.update(repr(row).encode())
    return digest.hexdigest()


class Witness:
    """Hears of each transaction before anybody is answered, and looks at what the database holds then."""

    heeds = None

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self.states = [content(connection)]

    def post(self, _facts: Iterable[Fact]) -> None:
        self.states.append(content(self._connection))

    async def publish(self, events: Sequence[Event], turn: int | None = None) -> None:
        """Events are no promise to the disk."""


class Plan:
    """Messages that make sense: each `next` is what may have gathered for one transaction."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._held: list[Job] = []
        self._submitted = 0

    def next(self) -> list[Any]:
        if self._submitted == 0:
            self._submitted = 2
            return [Register(ADMIN, "w1", "pdf"), Register(ADMIN, "w2", "pdf"), submission(0), submission(1)]
        return [self._one() for _ in range(self._dice.choice((1, 1, 2, 5)))]

    def _one(self) -> Any:
        roll = self._dice.random()
        if roll < 0.35 and self._held:
            return self._end(self._held.pop(self._dice.randrange(len(self._held))))
        if roll < 0.55:
            return Claim(ADMIN, self._dice.choice(("w1", "w2")), ("pdf",), limit=2)
        job_id = self._dice.randint(1, self._submitted)
        if roll < 0.65:
            return self._dice.choice((Cancel(job_id, undo="u"), Retry(job_id), SetPriority(job_id, 1, undo="v")))
        if roll < 0.7:
            return CreateToken(f"t{roll}", hashlib.sha256(str(roll).encode()).hexdigest(), "bf_12345", DEFAULT_SCOPES)
        if roll < 0.8 and self._held:
            job = self._held[0]
            beat = JobBeat(job.id, job.lease, '{"stage":"' + "x" * self._dice.randint(1, 9000) + '"}')
            return Heartbeat(ADMIN, str(job.worker_id), (beat,))
        self._submitted += 1
        return submission(self._submitted, priority=self._dice.randint(1, 5), tags=("a", f"b{self._submitted}"))

    def _end(self, job: Job) -> Any:
        worker, lease = str(job.worker_id), job.lease
        return self._dice.choice(
            (
                Complete(ADMIN, worker, job.id, lease, result='{"pages":3}'),
                Complete(ADMIN, worker, job.id, lease, claim_next=True),
                Fail(ADMIN, worker, job.id, "cannot read page 7", lease, kind="ValueError", traceback="x" * 3000),
                Release(ADMIN, worker, job.id, lease),
            )
        )

    def learn(self, answers: Iterable[Any]) -> None:
        for answer in answers:
            granted = answer if isinstance(answer, Granted) else getattr(answer, "next", None)
            if granted is not None:
                self._held += granted.jobs


async def perform(folder: Path, *, commits: int, seed: int, manner: Manner | None = None, hasty: bool = False) -> Run:
    """From an empty folder through `commits` transactions, a stop in their middle, and a stop at the end.

    `hasty` breaks the rule: it tells of a transaction before its COMMIT.
    """
    manner = manner or Manner()
    plan = Plan(seed)
    told = 0
    with recording(f"recorded-{folder.name}", deaf=manner.deaf) as entries:

        def tell() -> None:
            nonlocal told
            told += 1
            entries.append(Acknowledged(told))

        states: list[str] = []
        installation = ""
        for share in (commits // 2, commits - commits // 2):
            with _opened(folder / NAME, manner) as (connection, checkpoint):
                witness = Witness(connection)
                installation = str(connection.execute(sql.INSTALLATION).get)
                writer = Writer(
                    Store(connection),
                    Rules(RetryPolicy(jitter=0)),
                    now=lambda: T0 + 1000 * told,
                    sink=witness,
                    hop=_telling(tell) if hasty else in_place,
                    dice=random.Random(seed),
                )
                writer.sequencer.listeners.append(witness)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(writer.run)
                    await trio.testing.wait_all_tasks_blocked()  # so that what is asked together shares a commit
                    for number in range(share):
                        plan.learn(await _ask_all(writer, plan.next(), number))
                        if not hasty:
                            tell()
                        if manner.litestream and number % 4 == 3:
                            checkpoint()
                    await writer.stop()
                # Opened again, it is what it was when it was closed.
                assert not states or states[-1] == witness.states[0]
                states += witness.states[bool(states) :]
        assert len(states) == commits + 1, "each list of messages is one transaction"
        return Run(list(entries), states, installation)


@contextmanager
def _opened(path: Path, manner: Manner) -> Any:
    connection = open_writer(path, checkpoints=not manner.litestream)
    if not manner.litestream:
        connection.execute(f"PRAGMA wal_autocheckpoint={manner.checkpoint_every}").fetchall()
    connection.execute(f"PRAGMA synchronous={manner.synchronous}")
    other = apsw.Connection(str(path)) if manner.litestream else None

    def checkpoint() -> None:
        assert other is not None
        other.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    try:
        yield connection, checkpoint
    finally:
        if other is not None:
            other.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            other.close()
        connection.close()


def _telling(tell: Callable[[], None]) -> Hop:
    async def hop(call: Callable[[], Any], /) -> Any:
        tell()
        return await in_place(call)

    return hop


async def _ask_all(writer: Writer, messages: Sequence[Any], number: int) -> list[Any]:
    """All at once, so that they share a transaction; the first with an idempotency key, and on record."""
    answers: list[Any] = []

    async def one(index: int, message: Any) -> None:
        key, audit = None, None
        if index == 0 and not isinstance(message, Claim):
            key = Repeatable("token:1", f"k{number}-{id(messages)}", b"f" * 32)
            audit = Audit("token:1", "a", "127.0.0.1", "test", str(number))
        answers.append(await ask(writer.mailbox, message, key, audit))

    async with trio.open_nursery() as nursery:
        for index, message in enumerate(messages):
            nursery.start_soon(one, index, message)
    return answers
