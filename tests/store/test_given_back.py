"""What a machine in quarantine has cost is given back, once; and what two black holes do among ten sound workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.effects.transaction import Rules
from actors.messages import (
    Cancel,
    Claim,
    Complete,
    Due,
    ExpireLeases,
    Fail,
    QuarantineWorker,
    Release,
    Retry,
    Silent,
    WakeJobs,
)
from blobforge import charges, life
from blobforge.job import Attempt, Job, JobStatus, Outcome, ReleaseCause, RetryPolicy
from tests.fixtures.engines import ENGINES
from tests.store.making import ADMIN, submission
from tests.store.test_quarantine import BAD, FULL, Shop, measured

ON_EACH_ENGINE = pytest.mark.parametrize("engine", ["memory", "postgres"])


@pytest.fixture
def shop(tmp_path: Path, engine: str) -> Any:
    made = Shop(ENGINES[engine](tmp_path / "x.db"), rules=Rules(RetryPolicy(jitter=0, max_losses=2)))
    yield made
    assert made.database.broken() == []
    made.counts_are_right()
    made.close()


def job_of(shop: Shop, job_id: int) -> Job:
    with shop.store.transaction():
        found = shop.store.job(job_id)
    assert found is not None
    return found


def given_back(shop: Shop) -> set[tuple[int, int]]:
    found = shop.probe.rows("attempts", "job_id", "attempt", "given_back")
    return {(job_id, attempt) for job_id, attempt, at in found if at is not None}


def fail(shop: Shop, job: Job, **more: Any) -> Any:
    return shop.do(Fail(ADMIN, BAD, job.id, FULL, lease=job.lease, **more))


def wake(shop: Shop, job_id: int) -> None:
    until = job_of(shop, job_id).waits_until
    assert until is not None
    shop.now = max(shop.now, until)
    shop.do(WakeJobs((Due(job_id, until),)))


@ON_EACH_ENGINE
def test_tries_come_back_and_jobs_that_died_by_it_alone(shop: Shop) -> None:
    dead, waiting, cancelled, last = measured(shop).start(BAD, 4)
    fail(shop, dead, retryable=False)
    fail(shop, waiting)
    fail(shop, cancelled)
    shop.do(Cancel(cancelled.id))
    assert job_of(shop, dead.id).status is JobStatus.DEAD
    assert fail(shop, last, retryable=False).will_retry, "it came back at once"
    assert given_back(shop) == {(dead.id, 1), (waiting.id, 1), (last.id, 1)}
    back = job_of(shop, dead.id)
    assert (back.status, back.attempts, back.attempt, back.avoid) == (JobStatus.PENDING, 0, 1, (BAD,))
    assert (job_of(shop, waiting.id).status, job_of(shop, waiting.id).attempts) == (JobStatus.FAILED, 0)
    assert (job_of(shop, cancelled.id).status, job_of(shop, cancelled.id).attempts) == (JobStatus.CANCELLED, 1)
    assert {job.id for job in shop.do(Claim(ADMIN, "a", ("pdf",), 5)).jobs} == {dead.id, last.id}


@ON_EACH_ENGINE
def test_losses_come_back_and_a_late_completion_takes_nothing_twice(shop: Shop) -> None:
    def lose(job: Job) -> None:
        shop.do(ExpireLeases((Silent(job.id, job.attempt, job.heartbeat_at or 0),)))

    lost = []
    measured(shop)
    for urgent in (4, 3, 2, 1):  # else it were given what it has lost before
        _, granted = shop.do(submission(f"lost {urgent}", priority=urgent), Claim(ADMIN, BAD, ("pdf",)))
        lost += granted.jobs
        lose(lost[-1])
    assert shop.held() is not None
    assert given_back(shop) == {(job.id, 1) for job in lost}
    assert {job_of(shop, job.id).losses for job in lost} == {0}
    shop.do(Complete(ADMIN, BAD, lost[0].id, lease=lost[0].lease))
    late = job_of(shop, lost[0].id)
    assert (late.status, late.attempts, late.losses) == (JobStatus.COMPLETED, 1, 0)
    assert (lost[0].id, 1) not in given_back(shop)


@ON_EACH_ENGINE
def test_what_a_retry_has_given_anew_is_not_given_twice(shop: Shop) -> None:
    """A job that the bad machine failed, and a sound one since: only the sound one's try is charged."""
    first, *others = measured(shop).start(BAD, 4)
    fail(shop, first, retryable=False)
    shop.do(Retry(first.id, reset_attempts=True))
    (again,) = shop.do(Claim(ADMIN, "a", ("pdf",))).jobs
    assert again.id == first.id
    shop.do(Fail(ADMIN, "a", again.id, "ValueError: no such page", lease=again.lease))
    for job in others:
        fail(shop, job)
    assert shop.held() is not None
    assert (job_of(shop, first.id).attempts, (first.id, 1) in given_back(shop)) == (1, False)


@ON_EACH_ENGINE
def test_a_job_that_died_by_a_sound_machine_stays_dead(shop: Shop) -> None:
    dead, *others = measured(shop).start(BAD, 4)
    fail(shop, dead)
    wake(shop, dead.id)
    (again,) = shop.do(Claim(ADMIN, "a", ("pdf",))).jobs
    shop.do(Fail(ADMIN, "a", again.id, "ValueError: no such page", lease=again.lease, retryable=False))
    for job in others:
        fail(shop, job)
    found = job_of(shop, dead.id)
    assert (found.status, found.attempts, (dead.id, 1) in given_back(shop)) == (JobStatus.DEAD, 1, True)


@ON_EACH_ENGINE
def test_what_fails_on_a_worker_in_quarantine_costs_nothing(shop: Shop) -> None:
    """A trial, or what it ran when it was put there, also if it may have no other try."""
    (job,) = shop.start(BAD)
    fail(shop, job, retryable=False)
    shop.do(Retry(job.id))
    (mine,) = shop.do(Claim(ADMIN, BAD, ("pdf",))).jobs or [None]
    if mine is None:  # it is kept for the others for a while
        (mine,) = shop.do(Claim(ADMIN, "a", ("pdf",))).jobs
    beside = shop.start(BAD)[0]
    shop.do(QuarantineWorker(BAD, "admin"))
    assert fail(shop, beside, retryable=False).will_retry
    found = job_of(shop, beside.id)
    assert (found.status, found.attempts, given_back(shop)) == (JobStatus.FAILED, 0, {(beside.id, 1)})


def test_one_that_had_no_try_left_waits_for_the_one_that_was_given_by_hand() -> None:
    running = Job(
        1, "pdf", JobStatus.RUNNING, 3, "h", 1, 1, 3, attempts=4, losses=3, attempt=4, worker_id="x", lease="l"
    )
    policy = RetryPolicy(jitter=0, max_losses=3)
    failed = life.fail(
        running, worker_id="x", lease="l", error="e", retryable=False, policy=policy, dice=0.5, now=9, free=True
    )
    lost = life.lose(running, policy=policy, now=9, free=True)
    assert isinstance(failed, Job)
    assert isinstance(lost, Job)
    assert (failed.status, failed.attempts, failed.not_before is not None) == (JobStatus.PENDING, 3, True)
    assert not failed.waits_to_start, "no submission said so"
    assert (lost.status, lost.attempts, lost.losses) == (JobStatus.PENDING, 3, 3)


def test_nor_does_what_it_gives_back_for_trouble() -> None:
    """However often it was given back before."""
    shop = Shop(ENGINES["memory"](Path()), rules=Rules(RetryPolicy(jitter=0, max_releases=0, max_losses=1)))
    (mine,) = shop.start(BAD)
    shop.do(QuarantineWorker(BAD, "admin"))
    shop.do(Release(ADMIN, BAD, mine.id, lease=mine.lease, cause=ReleaseCause.TROUBLE))
    found = job_of(shop, mine.id)
    assert (found.status, found.losses, found.waits_to_start) == (JobStatus.PENDING, 0, False)
    shop.close()


@pytest.mark.parametrize(
    ("outcomes", "tries", "losses", "charged"),
    [
        ("ff", 2, 0, {1, 2}),
        ("ff", 1, 0, {2}),  # the first one was before a retry that gave all tries anew
        ("lf", 1, 1, {1, 2}),
        ("lf", 1, 0, {2}),
        ("lr", 0, 1, set()),  # the loss may be that of the release
        ("fgf", 1, 0, {3}),
        ("fg", 1, 0, {1}),  # the second one was given back
        ("fc", 2, 0, {1, 2}),
    ],
)
def test_which_attempts_are_charged_still(outcomes: str, tries: int, losses: int, charged: set[int]) -> None:
    of = {"f": Outcome.FAILED, "g": Outcome.FAILED, "l": Outcome.LOST, "r": Outcome.RELEASED, "c": Outcome.COMPLETED}
    attempts = [
        Attempt(
            1, n, "x", "l", 1, 2, of[each], "trouble" if each == "r" else None, given_back=3 * (each == "g") or None
        )
        for n, each in enumerate(outcomes, 1)
    ]  # fmt: skip
    job = Job(1, "pdf", JobStatus.FAILED, 3, "h", 1, 1, 3, attempts=tries, losses=losses, attempt=len(outcomes))
    assert charges.charged(job, attempts) == charged
