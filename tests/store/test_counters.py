"""The kept counters equal what counting would say, after any operations in any grouping."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from actors.effects.transaction import Rules
from actors.messages import (
    Batch,
    Cancel,
    Claim,
    Complete,
    CreateWorker,
    DeleteJob,
    DisableWorker,
    Drain,
    Due,
    EnableWorker,
    ExpireLeases,
    ExpireUploads,
    ExpireWorkers,
    Fail,
    Heartbeat,
    JobBeat,
    ObjectSeen,
    OutputChecked,
    Purge,
    Register,
    Release,
    RemoveWorker,
    Retry,
    Seen,
    SetPriority,
    Silent,
    SilentWorker,
    SourceArrived,
    SourceRejected,
    Unregister,
    Unsent,
    WakeJobs,
)
from blobforge.job import ReleaseCause, RetryPolicy
from tests.fixtures.engines import ENGINES
from tests.store.making import ADMIN, Book, hash_of, submission

WORKERS = ("w1", "w2", "w3")
TYPES = ("a", "b")
SOURCES = 12
JOBS = 20  # ids that are tried, some of which are not there


class Plan:
    """Random messages over few names, so that they meet; about half are refused."""

    def __init__(self, book: Book, seed: int) -> None:
        self.book = book
        self.dice = random.Random(seed)

    def message(self, *, nested: bool = False) -> Any:
        dice = self.dice
        worker, job, name = dice.choice(WORKERS), dice.randint(1, JOBS), dice.randrange(SOURCES)
        row = self.book.probe.rows("jobs", "attempt", "heartbeat_at", "worker_id", "lease", "not_before", id=job)
        attempt, beat, holder, lease, until = row[0] if row else (0, None, None, None, None)
        worker = holder if holder and dice.random() < 0.8 else worker
        token = dice.choice([lease, None, "not this one"])
        key = self.book.key(job, max(attempt, 1))
        items = [
            lambda: submission(
                name, type_=dice.choice(TYPES), ready=dice.random() < 0.7, priority=dice.randint(1, 5)
            ),
            lambda: Complete(
                ADMIN,
                worker,
                job,
                token,
                *dice.choice([(None,), (self.book.key(job, max(attempt, 1)), ObjectSeen())]),
            ),
            lambda: Fail(ADMIN, worker, job, "boom", token, retryable=dice.random() < 0.8),
            lambda: Retry(job, dice.random() < 0.5, dice.choice([None, 1, 5])),
            lambda: Cancel(job),
            lambda: SetPriority(job, dice.choice([1, 2, 3, 4, 5, 9])),  # 9: the schema says no, a bug by intent
        ]
        if nested:
            return dice.choice(items)()
        others = [
            lambda: Claim(ADMIN, worker, dice.choice([("a",), ("b",), ("a", "b")]), dice.randint(1, 4)),
            lambda: Claim(ADMIN, worker, ("b", "a"), claim_key=str(dice.randrange(4))),
            lambda: Batch(tuple(self.message(nested=True) for _ in range(4))),
            lambda: Release(ADMIN, worker, job, token, "no space", dice.choice(list(ReleaseCause))),
            lambda: ExpireLeases((Silent(job, attempt, beat or 0), Silent(job, attempt, 5))),
            lambda: OutputChecked(job, attempt, key, ObjectSeen(dice.choice(list(Seen)))),
            lambda: WakeJobs((Due(job, until or 0), Due(job + 1, 1))),
            lambda: SourceArrived(hash_of(name), 1, verified=True),
            lambda: SourceRejected(hash_of(name), "wrong"),
            lambda: ExpireUploads((Unsent(job), Unsent(job + 1)), 5.0),
            lambda: Register(ADMIN, worker, "a"),
            lambda: Heartbeat(ADMIN, worker, (JobBeat(job, token, '{"stage":"x"}'),)),
            lambda: Unregister(ADMIN, worker),
            lambda: Drain(worker),
            lambda: EnableWorker(worker),
            lambda: DisableWorker(worker),
            lambda: RemoveWorker(worker),
            lambda: CreateWorker(worker, "a", "0" * 64),
            lambda: ExpireWorkers((SilentWorker(worker, self.book.now - 1000),)),
        ]
        # Work is more frequent than what takes all the work away.
        return dice.choice(items * 2 + others[:2] * 4 + others[10:12] * 3 + others)()


# On PostgreSQL a plan takes seconds: each of its steps counts all rows from outside.
PLANS = [(engine, seed) for engine in ENGINES for seed in range(2 if engine == "postgres" else 8)]


@pytest.mark.parametrize(("engine", "seed"), PLANS)
def test_counts_equal_counting(engine: str, seed: int, tmp_path: Path) -> None:
    database = ENGINES[engine](tmp_path / "blobforge.db")
    book = Book(database, rules=Rules(RetryPolicy(max_losses=2)), seed=seed)
    plan = Plan(book, seed)
    book.register(*WORKERS)
    broken = 0
    seen: set[str] = set()
    for _ in range(300):
        messages = [plan.message() for _ in range(plan.dice.randint(1, 4))]
        try:
            book.do(*messages)
        except database.rule_broken:
            # The schema's own rule, met by a priority of 9: the transaction is gone, and its counts with it.
            broken += 1
        book.counts_are_right()
        _attempts_are_right(book)
        seen |= set(book.probe.column("jobs", "status"))
    assert broken > 0
    assert len(seen) >= 6  # the plan went nearly everywhere
    assert book.probe.count("failures") > 0
    assert database.broken() == []
    book.close()


def _attempts_are_right(book: Book) -> None:
    """A job runs if, and only if, its latest attempt is open, under the same worker and lease."""
    probe = book.probe
    open_attempts = probe.rows("attempts", "job_id", "attempt", "worker_id", "lease", outcome=None)
    assert open_attempts == probe.rows("jobs", "id", "attempt", "worker_id", "lease", status="running")
    made = Counter(probe.column("attempts", "job_id"))
    for id_, attempts, losses, latest in probe.rows("jobs", "id", "attempts", "losses", "attempt"):
        assert 0 <= attempts <= latest == made[id_]
        assert losses >= 0
    assert all(ordinal == attempt for ordinal, attempt in probe.rows("attempts", "ordinal", "attempt"))


def test_rates_count_ends_by_the_minute(book: Book) -> None:
    book.register("w1")
    book.do(*(submission(number) for number in range(6)))
    for job in book.do(Claim(ADMIN, "w1", ("pdf",), 6)).jobs:
        book.do(Fail(ADMIN, "w1", job.id, "boom") if job.id == 6 else Complete(ADMIN, "w1", job.id))
    happened: Counter[str] = Counter()
    for what, n in book.probe.rows("happenings", "what", "n", step=60):
        happened[what] += n
    assert happened == {"completed": 5, "failed": 1, "submitted": 6}


def test_a_type_comes_and_goes_in_one_transaction(book: Book) -> None:
    assert isinstance(book.do(submission(1, type_="a"), DeleteJob(1))[1], object)
    assert not book.store.knows_type("a")
    book.do(DeleteJob(1), submission(2, type_="b"))
    assert book.store.knows_type("b")
    book.do(DeleteJob(2), submission(3, type_="b"), Purge(1.0))
    assert (book.store.knows_type("b"), book.store.count_types()) == (True, 1)
    book.counts_are_right()
