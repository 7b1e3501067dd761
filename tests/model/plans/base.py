"""State owned here: the real store and the model, the time for both, and what was sent with an idempotency key.

A transaction is the writer's own, without its mailbox and its thread: one message mostly, with the savepoints, the
audit record and the record for its idempotency key that it has in production.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from actors import messages as m
from actors.writer import Writer
from blobforge.access import Caller, Scope
from blobforge.events import BatchEnded, Event
from tests.fixtures.engines import Database, in_memory
from tests.model.database import differences
from tests.model.plans.asked import Asked, Letter, plain
from tests.model.plans.choices import LIMITS, NOBODY, RULES, TOKENS, WORKERS
from tests.model.world import World
from tests.model.world.things import Who
from tests.store.making import T0, hash_of

MOST_CHECKED = 16  # steps between two looks at all invariants; rows and counters are looked at after each
KEYED_EVERY = 3  # steps: every third request carries an idempotency key
REMEMBERED = 3  # requests that may come again
# What a person or a client asks, and what leaves an audit record; the rest is the server's own.
REQUESTS = (
    m.Submit, m.Claim, m.Complete, m.Fail, m.Release, m.Register, m.Heartbeat, m.Unregister, m.Drain, m.CreateWorker,
    m.ReplaceSecret, m.EnableWorker, m.DisableWorker, m.Retry, m.Cancel, m.SetPriority, m.Retype,
    m.SetRequirements, m.ChangeTags, m.Undo,
    m.Batch, m.RecordBulk, m.EndSessions, m.ChangeType, m.QuarantineWorker, m.ReadmitWorker,
)  # fmt: skip
ON_RECORD = (
    m.Drain, m.RemoveWorker, m.CreateWorker, m.ReplaceSecret, m.EnableWorker, m.DisableWorker, m.Retry, m.Cancel,
    m.SetPriority, m.Retype, m.SetRequirements, m.ChangeTags, m.Undo, m.Batch, m.DeleteJob, m.CreateToken,
    m.DeleteToken, m.SignIn, m.EndSession, m.EndSessions, m.Note, m.ChangeType,
    m.QuarantineWorker, m.ReadmitWorker,
)  # fmt: skip
WHOSE = "token:1"
LONG_AGO = -1  # as of so many revocations was the caller let in: each request is judged when it is its turn


class Nobody:
    """Nobody listens to events."""

    async def publish(self, events: Sequence[Event], turn: int | None = None) -> None: ...


class Base(RuleBasedStateMachine):
    """`database_at` makes a new database of an engine; `folder` is for those that keep files."""

    database_at: ClassVar[Callable[[Path], Database]] = staticmethod(in_memory)
    folder: ClassVar[Path] = Path()
    store: Any = None
    opened_so_far: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).opened_so_far += 1
        self.database = self.database_at(self.folder / f"{self.opened_so_far}.db")
        self.start()
        self.world = World(LIMITS)
        self.now = self.latest = T0  # the time, and the latest that there has been: the clock may be set back
        self.steps = 0
        self.deleted = 0  # deletions of objects that have ended
        self.sent: list[Letter] = []  # with an idempotency key

    @property
    def epoch(self) -> int:
        """By which it is known what was seen before a deletion: where servers share a history, a place in that."""
        return int(self.store.turn) if self.store.server else self.deleted

    def start(self) -> None:
        """A server starts: all caches are empty."""
        if self.store is not None:
            self.store.close()
        self.store = self.database.engine.open_store()
        self.writer = Writer(self.store, RULES, now=lambda: self.now, sink=Nobody(), dice=random.Random(0))

    def teardown(self) -> None:
        assert (broken := self.database.broken()) == [], broken
        self.store.close()
        self.database.close()

    # ------------------------------------------------------------------ both at once

    def do(self, asked: Asked) -> Any:
        """One message in a transaction. Every third request has an idempotency key."""
        letter = Letter(asked, audit=self.audit(asked.message))
        if isinstance(asked.message, REQUESTS) and self.steps % KEYED_EVERY == 0:
            letter = letter._replace(repeat=m.Repeatable(WHOSE, f"key {self.steps}", b"this request"))
            self.sent = [*self.sent, letter][-REMEMBERED:]
        return self.send(letter)[0]

    def send(self, *letters: Letter) -> list[Any]:
        """Some messages in one transaction."""
        self.steps += 1
        self.latest = max(self.latest, self.now)
        self.world.begin()
        told = self.writer._store.turn  # there is one server
        done = self.writer._transact([letter.envelope() for letter in letters], self.now, told)  # the rest is trio
        ended: list[tuple[int, int]] = []
        for letter, answer in zip(letters, done.answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            assert plain(answer) == self.expected(letter, answer)
            self.world.join_stages(
                self.born(), dict(self.database.probe.rows("manifests", "source_hash", "manifest"))
            )
            ended += self.world.judge_batches(self.now)
            self.world.tell_webhooks(self.now)
        assert [(each.batch_id, each.ending) for each in done.events if isinstance(each, BatchEnded)] == ended
        return done.answers

    def expected(self, letter: Letter, answer: Any) -> Any:
        """What the model says, and keeps of it."""
        if letter.gone:
            return ("Granted", (), True, (), (), ())  # nothing is given to who is not there to take it
        if (caller := letter.caller) is not None and caller.secret_hash is not None:
            who = Who(caller.token_id, worker=caller.worker_id, secret=caller.secret_hash)
            if (refused := self.world.revoked(who)) is not None:
                return refused
        repeat, audit = letter.repeat, letter.audit
        if repeat is not None:
            before = self.world.remembered(repeat.subject, repeat.key, repeat.fingerprint, self.now)
            if before is not None:
                return before
        self.world.answered = plain(answer)
        said = letter.asked.expect(answer)
        if audit is not None and type(said) is tuple:  # a refusal leaves no record
            self.world.on_record(self.now, audit.actor, audit.action, audit.subject)
        if repeat is not None:
            self.world.remember(repeat.subject, repeat.key, repeat.fingerprint, said, self.now)
        return said

    def born(self) -> dict[tuple[int, int, int, str], int]:
        """What has come of which output, and what joins it, as it is on record."""
        found = self.database.probe.rows("kin", "parent", "attempt", "step", "name", "job_id", "lent")
        return {tuple(row[:4]): row[4] for row in found if row[2] >= 0 or not row[5]}  # type: ignore[misc]

    def audit(self, message: Any) -> m.Audit | None:
        if not isinstance(message, ON_RECORD):
            return None
        return m.Audit(WHOSE, "admin", "127.0.0.1", type(message).__name__, str(getattr(message, "job_id", "")))

    @invariant()
    def the_database_is_what_the_model_says(self) -> None:
        found = differences(self.database.probe, self.world)
        assert found == [], "\n".join(found)
        if self.steps % MOST_CHECKED == 0:
            assert (broken := self.database.broken()) == [], broken

    # ------------------------------------------------------------------ choices

    def job_id(self, choice: str, *apt: str) -> int:
        """The first, or last, one of the apt statuses; where there is none, the oldest of all. `#7` is 7."""
        if choice[0] == "#":
            return int(choice[1:])
        ids = sorted(self.world.jobs)
        if choice == "none" or not ids:
            return NOBODY
        if choice[0].isdigit():
            return ids[min(int(choice[0]), len(ids)) - 1]
        found = [job_id for job_id in ids if self.world.jobs[job_id].status in apt] or ids
        return found[-1 if choice == "last apt" else 0]

    def batch_id(self, choice: str | None) -> int:
        numbers = sorted(self.world.batches)
        return NOBODY if choice == "none" or not numbers else numbers[-1 if choice == "last" else 0]

    def has(self, *statuses: str) -> bool:
        return any(job.status in statuses for job in self.world.jobs.values())

    def unlucky(self, choice: str) -> str:
        running = [job.worker for job in self.world.jobs.values() if job.status == "running"]
        return choice if choice != "holder" else (running[0] if running and running[0] else "w3")

    def worker_of(self, job_id: int, choice: str) -> str:
        """The holder is who has the latest attempt, whether it still holds the job or not."""
        job = self.world.jobs.get(job_id)
        if choice != "holder":
            return choice
        return job.last.worker if job is not None and job.last is not None else "w1"

    def lease_of(self, job_id: int, choice: str) -> str | None:
        job = self.world.jobs.get(job_id)
        if choice == "none":
            return None
        if choice == "stale":
            stale = [lease for lease, (of, _) in self.world.given_leases.items() if of == job_id]
            return stale[0] if stale else "never"
        right = job.last.lease if job is not None and job.last is not None else None
        return right if choice == "right" and right is not None else "wrong"

    def caller(self, choice: str, worker_id: str) -> tuple[Caller, Who]:
        worker = self.world.workers.get(worker_id)
        if choice == "own":
            choice = "admin" if worker is None else "its secret"
            if worker is not None and worker.token is not None:
                choice = TOKENS[worker.token - 1]
        if choice in TOKENS:
            token, admin = TOKENS.index(choice) + 1, choice == "admin"
            scopes = frozenset({Scope.ADMIN if admin else Scope.WORK})
            return Caller(scopes, token_id=token, secret_hash=choice, as_of=LONG_AGO), Who(token, admin=admin)
        name = worker_id if choice == "its secret" else next(other for other in WORKERS if other != worker_id)
        known = self.world.workers.get(name)
        secret = known.secret if known is not None else None  # None: let in by nothing that could be revoked
        caller = Caller(frozenset({Scope.WORK}), worker_id=name, secret_hash=secret, as_of=LONG_AGO)
        return caller, Who(worker=name, secret=secret)

    def instance_of(self, worker: str, which: str | None) -> str | None:
        """The process that speaks as this worker: the current one, or another."""
        found = self.world.workers.get(worker)
        return (found.instance if found is not None else None) if which == "current" else which

    # ------------------------------------------------------------------ what others begin with

    def create_token(self, name: str, *, admin: bool) -> None:
        scopes = frozenset({Scope.ADMIN if admin else Scope.WORK})
        hash_ = hash_of(name)
        self.do(
            Asked(
                m.CreateToken(name, hash_, "bf_", scopes),
                lambda answer: self.world.create_token(answer.token_id, name, hash_, admin),
            )
        )
