"""The kept counters equal what counting would say, after any operations in any grouping."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import apsw
import pytest

from actors.effects.step import Rules
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
    WakeJobs,
)
from blobforge.job import ReleaseCause, RetryPolicy
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
        row = self.book.rows(
            "SELECT attempt, heartbeat_at, worker_id, lease, not_before FROM jobs WHERE id = ?", (job,)
        )
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
            lambda: ExpireUploads((job, job + 1), 5.0),
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


@pytest.mark.parametrize("seed", range(8))
def test_counts_equal_counting(tmp_path: Path, seed: int) -> None:
    book = Book(tmp_path / "x.db", rules=Rules(RetryPolicy(max_losses=2)), seed=seed)
    plan = Plan(book, seed)
    book.register(*WORKERS)
    broken = 0
    seen: set[str] = set()
    for _ in range(300):
        messages = [plan.message() for _ in range(plan.dice.randint(1, 4))]
        try:
            book.do(*messages)
        except apsw.ConstraintError:
            # The schema's own CHECK, met by a priority of 9: the transaction is gone, and its counts with it.
            broken += 1
        book.counts_are_right()
        _attempts_are_right(book)
        seen |= {row[0] for row in book.rows("SELECT DISTINCT status FROM jobs")}
    assert broken > 0
    assert len(seen) >= 6  # the plan went nearly everywhere
    assert book.rows("SELECT count(*) > 0 FROM failures") == [(1,)]
    assert book.rows("PRAGMA integrity_check") == [("ok",)]
    assert book.rows("PRAGMA foreign_key_check") == []
    book.close()


def _attempts_are_right(book: Book) -> None:
    """A job runs if, and only if, its latest attempt is open, under the same worker and lease."""
    open_attempts = book.rows("SELECT job_id, attempt, worker_id, lease FROM attempts WHERE outcome IS NULL")
    running = book.rows("SELECT id, attempt, worker_id, lease FROM jobs WHERE status = 'running'")
    assert sorted(open_attempts) == sorted(running)
    assert book.rows("SELECT id FROM jobs WHERE attempts < 0 OR losses < 0 OR attempt < attempts") == []
    latest = "SELECT 1 FROM jobs WHERE attempt <> (SELECT count(*) FROM attempts WHERE job_id = jobs.id)"
    assert book.rows(latest) == []
    assert book.rows("SELECT 1 FROM attempts WHERE ordinal <> attempt") == []


def test_rates_count_ends_by_the_minute(book: Book) -> None:
    book.register("w1")
    book.do(*(submission(number) for number in range(6)))
    for job in book.do(Claim(ADMIN, "w1", ("pdf",), 6)).jobs:
        book.do(Fail(ADMIN, "w1", job.id, "boom") if job.id == 6 else Complete(ADMIN, "w1", job.id))
    rates = "SELECT what, sum(n) FROM happenings WHERE step = 60 GROUP BY what ORDER BY what"
    assert book.rows(rates) == [("completed", 5), ("failed", 1), ("submitted", 6)]


def test_a_type_comes_and_goes_in_one_transaction(book: Book) -> None:
    assert isinstance(book.do(submission(1, type_="a"), DeleteJob(1))[1], object)
    assert not book.store.knows_type("a")
    book.do(DeleteJob(1), submission(2, type_="b"))
    assert book.store.knows_type("b")
    book.do(DeleteJob(2), submission(3, type_="b"), Purge(1.0))
    assert (book.store.knows_type("b"), book.store.count_types()) == (True, 1)
    book.counts_are_right()
