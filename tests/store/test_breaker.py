"""A type that everybody fails the same way is paused by itself, and comes back (`actors/effects/breaker.py`); and a
document that fails the same way on two sound workers (`actors/effects/ownfault.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from actors.effects.transaction import Rules
from actors.messages import (
    Cancel,
    ChangeType,
    Claim,
    Complete,
    Due,
    Fail,
    ObjectSeen,
    QuarantineWorker,
    Register,
    Seen,
    Unregister,
    WakeJobs,
)
from blobforge import breaker
from blobforge.breaker import FIRST_PAUSE_MS, HOUR_MS, OTHERS_FIRST_MS, SERVER, RowOfFailures
from blobforge.job import Job, JobStatus, RetryPolicy
from blobforge.jobtype import TypeChanges, TypeSettings
from blobforge.quarantine import FIRST_PAUSE_MS as TRIAL_PAUSE_MS
from blobforge.quarantine import Quarantine
from tests.fixtures.engines import ENGINES
from tests.store.making import ADMIN, submission
from tests.store.test_quarantine import BAD, FULL, GOOD, Shop

pytestmark = pytest.mark.parametrize("engine", ["memory", "postgres"])
MOST = 6
EVERYBODY = (*GOOD, BAD)
OTHER = "ValueError: no such page"


class Broken(Shop):
    """A shop in which a type can break."""

    def settings(self) -> TypeSettings:
        with self.store.transaction():
            return self.store.type_settings("pdf")

    def row(self) -> RowOfFailures | None:
        with self.store.transaction():
            return self.store.in_a_row("pdf").row

    def job(self, job_id: int) -> Job:
        with self.store.transaction():
            found = self.store.job(job_id)
        assert found is not None
        return found

    def fail_in_turn(self, n: int, error: str = FULL, workers: tuple[str, ...] = EVERYBODY) -> list[Job]:
        return [job for at in range(n) for job in self.fail(workers[at % len(workers)], 1, error)]

    def tries(self, jobs: list[Job]) -> list[int]:
        return [self.job(job.id).attempts for job in jobs]

    def set(self, by: str = "token:1", **changes: Any) -> None:
        self.do(ChangeType("pdf", by, TypeChanges(**changes)))

    def audited(self) -> list[tuple[Any, ...]]:
        rows = self.probe.rows("audit", "actor", "action", "subject", order="id")
        return [row for row in rows if row[1].startswith("type.") and row[0] == SERVER]


def opened(engine: str, folder: Path, *, breaker: int = MOST, **rules: Any) -> Broken:
    return Broken(ENGINES[engine](folder / "x.db"), rules=Rules(RetryPolicy(jitter=0), breaker=breaker, **rules))


@pytest.fixture
def shop(tmp_path: Path, engine: str) -> Any:
    made = opened(engine, tmp_path)
    yield made
    assert made.database.broken() == []
    made.counts_are_right()
    made.close()


def test_a_type_that_everybody_fails_is_paused_and_all_of_it_given_back(shop: Broken) -> None:
    jobs = shop.fail_in_turn(MOST - 1)
    assert not shop.settings().paused
    jobs += shop.fail(EVERYBODY[(MOST - 1) % 4])
    settings = shop.settings()
    assert settings.paused_by == SERVER
    assert settings.reason == (
        "6 attempts in a row failed with OSError in OSError: no space left on device, of 6 documents on a, b, c and 1"
        " more, and none was completed in between"
    )
    assert shop.tries(jobs) == [0] * MOST
    assert shop.start("a") == []
    assert shop.audited() == [(SERVER, "type.pause", "pdf")]


def test_what_dies_of_it_comes_back_and_what_still_runs_costs_nothing(shop: Broken) -> None:
    still = shop.start("a")
    jobs = [job for worker in ("b", "c", BAD, "b", "c", BAD) for job in shop.start(worker)]
    for job in jobs:
        shop.do(Fail(ADMIN, str(job.worker_id), job.id, FULL, lease=job.lease, retryable=False))
    assert [shop.job(job.id).status for job in jobs] == [JobStatus.PENDING] * MOST
    (late,) = still
    shop.do(Fail(ADMIN, "a", late.id, OTHER, lease=late.lease, retryable=False))
    assert (shop.job(late.id).status, shop.job(late.id).attempts) == (JobStatus.FAILED, 0)
    given_back = shop.probe.rows("attempts", "given_back", "outcome")
    assert all(at is not None for at, _ in given_back)
    assert len(given_back) == MOST + 1


def test_one_job_is_let_through_after_growing_pauses_and_one_that_succeeds_ends_it(shop: Broken) -> None:
    shop.fail_in_turn(MOST)
    claim = Claim(ADMIN, "a", ("pdf",), 5)
    answer = shop.do(claim)
    assert answer.jobs == ()
    assert [(room.room, room.again) for room in answer.rooms] == [(0, FIRST_PAUSE_MS / 1000 - 1)]
    shop.now += FIRST_PAUSE_MS
    shop.do(*(WakeJobs((Due(job, self_until(shop, job)),)) for job in range(1, MOST + 1)))
    for pauses in (2, 4):
        (job,) = shop.do(claim).jobs
        assert shop.do(Claim(ADMIN, "b", ("pdf",), 5)).jobs == (), "one at a time"
        shop.now += 2 * FIRST_PAUSE_MS
        assert shop.do(Claim(ADMIN, "b", ("pdf",), 5)).jobs == (), "as long as it runs"
        shop.do(Fail(ADMIN, "a", job.id, FULL, lease=job.lease))
        assert shop.job(job.id).attempts == 0, "it tests the type"
        answer = shop.do(Claim(ADMIN, "b", ("pdf",), 5))
        assert [room.again for room in answer.rooms] == [pauses * FIRST_PAUSE_MS / 1000 - 1]
        shop.now += pauses * FIRST_PAUSE_MS
    (job,) = shop.do(claim).jobs
    shop.end("a", job)
    assert (shop.settings().paused, shop.row()) == (False, None)
    assert len(shop.start("a", 5)) == 5
    assert shop.audited() == [(SERVER, "type.pause", "pdf"), (SERVER, "type.resume", "pdf")]


def self_until(shop: Broken, job_id: int) -> int:
    return shop.job(job_id).waits_until or 0


@pytest.mark.parametrize("between", ["success", "cause"])
def test_a_row_ends_with_a_success_and_with_another_cause(shop: Broken, between: str) -> None:
    for _ in range(3):
        shop.fail_in_turn(MOST - 1)
        if between == "success":
            shop.complete("a")
        else:
            shop.fail("a", 1, OTHER)
    assert not shop.settings().paused
    # The failures of one transaction count with what is completed in it.
    running = [job for worker in EVERYBODY * 2 for job in shop.start(worker)]
    failures: list[Any] = [Fail(ADMIN, str(job.worker_id), job.id, FULL, lease=job.lease) for job in running[1:]]
    first = running[0]
    ended = Complete(ADMIN, "a", first.id, lease=first.lease, output_key=shop.key(first.id, first.attempt),
                     output=ObjectSeen(Seen.VERIFIED, size=1))  # fmt: skip
    shop.do(*failures[:4], ended, *failures[4:])
    assert not shop.settings().paused


def test_some_machines_or_some_documents_that_fail_are_not_the_type(shop: Broken) -> None:
    shop.fail_in_turn(4 * MOST, workers=("a",))
    shop.fail_in_turn(4 * MOST, workers=("a", "b"))
    assert not shop.settings().paused, "half of them"
    shop.complete("c")
    for _ in range(2):
        jobs = [job for worker in ("a", "b", "c") for job in shop.start(worker)]
        for again in range(3):
            for job in jobs:
                shop.do(Fail(ADMIN, str(job.worker_id), job.id, FULL, lease=job.lease))
            if again < 2:
                jobs = [again_for(shop, job) for job in jobs]
        shop.complete("c")
    assert not shop.settings().paused, "three documents, three tries each"


def again_for(shop: Broken, job: Job) -> Job:
    """The job with another worker."""
    shop.now += 3_600_000
    shop.do(WakeJobs((Due(job.id, self_until(shop, job.id)),)))
    workers = [each for each in EVERYBODY if each != job.worker_id]
    for worker in workers:
        if found := shop.do(Claim(ADMIN, worker, ("pdf",))).jobs:
            return found[0]
    raise AssertionError("it is kept from all")


def test_a_row_of_an_hour_that_is_still_to_come_is_of_no_interest(shop: Broken) -> None:
    """The page of a type asks the same as the next failure does."""
    shop.fail_in_turn(1)
    row = shop.row()
    assert row is not None
    assert breaker.goes_on(row, row.completed, now=shop.now)
    assert not breaker.goes_on(row, row.completed, now=shop.now - HOUR_MS)


def test_by_hand_overrules(shop: Broken) -> None:
    shop.fail_in_turn(MOST)
    shop.set(paused=True, reason="we look at it")
    assert (shop.settings().paused_by, shop.row()) == ("token:1", None)
    shop.now += 100 * FIRST_PAUSE_MS
    assert shop.start("a") == [], "nothing is let through"
    shop.set(paused=False)
    shop.fail_in_turn(MOST)
    assert shop.settings().paused_by == SERVER
    shop.set(paused=False)
    shop.fail_in_turn(3 * MOST)
    assert not shop.settings().paused, "somebody has seen this cause"
    shop.fail_in_turn(MOST, OTHER)
    assert shop.settings().paused_by == SERVER, "and not that one"
    shop.set(paused=False)
    shop.complete("a")
    shop.fail_in_turn(MOST, OTHER)
    assert shop.settings().paused_by == SERVER


def test_it_is_set_by_type_and_can_be_turned_off(shop: Broken) -> None:
    shop.set(breaker=0)
    shop.fail_in_turn(3 * MOST)
    assert (shop.settings().paused, shop.row()) == (False, None)
    shop.set(breaker=4)
    shop.fail_in_turn(4)
    assert shop.settings().paused_by == SERVER


def test_machines_that_were_quarantined_by_the_storm_are_readmitted_and_stay(shop: Broken) -> None:
    shop.register("d", "e")
    for worker in ("a", "c", "d", "e"):
        shop.complete(worker, 8)
    shop.do(QuarantineWorker("b", "token:1"))
    shop.fail(BAD, 4)
    assert shop.held() is not None
    still = shop.start("c", 6)
    jobs = shop.fail_in_turn(MOST, workers=("a", "c", "d", "e"))
    assert shop.settings().paused_by == SERVER
    assert shop.held() is None
    assert shop.held("b") is not None, "by hand"
    for job in still:
        shop.do(Fail(ADMIN, "c", job.id, FULL, lease=job.lease))
    jobs += still
    assert shop.held("c") is None
    shop.now += FIRST_PAUSE_MS
    for job in jobs:
        shop.do(WakeJobs((Due(job.id, self_until(shop, job.id)),)))
    for _ in range(6):  # the documents of the storm are completed on one of them
        for given in shop.do(Claim(ADMIN, "a", ("pdf",), 5)).jobs:
            shop.end("a", given)
    assert all(shop.held(each) is None for each in ("a", "c", "d", "e", BAD))


def test_what_is_let_through_goes_to_no_machine_in_quarantine_while_there_are_others(shop: Broken) -> None:
    """It failed it, and the type stayed paused for twice as long."""
    for worker in GOOD:
        shop.complete(worker, 8)
    shop.fail(BAD, 4)
    assert shop.held() is not None
    shop.fail_in_turn(MOST, workers=GOOD)
    assert shop.settings().paused_by == SERVER
    hold(shop, BAD)
    shop.now += max(FIRST_PAUSE_MS, TRIAL_PAUSE_MS)
    shop.do(*(submission(f"let through {n}") for n in range(2)))
    answer = shop.do(Claim(ADMIN, BAD, ("pdf",), 5))
    assert (answer.jobs, answer.idle) == ((), True)
    for worker in GOOD:
        shop.do(Unregister(ADMIN, worker))
    assert len(shop.do(Claim(ADMIN, BAD, ("pdf",), 5)).jobs) == 1, "there is no other"


def test_a_machine_in_quarantine_has_what_no_other_takes_for_long(shop: Broken) -> None:
    """The others do not have what the jobs require. The type was paused for ever, and the machine never tried."""
    shop.do(Register(ADMIN, BAD, "pdf", labels='["gpu"]'))
    for worker in GOOD:
        shop.complete(worker, 8)
    shop.fail(BAD, 4)
    shop.fail_in_turn(MOST, workers=GOOD)
    hold(shop, BAD)
    shop.do(*(Cancel(number) for number in range(1, next(shop.numbers))))
    shop.do(*(submission(f"requires {n}", requires='["gpu"]') for n in range(2)))
    claim, passed = Claim(ADMIN, BAD, ("pdf",)), 0
    while not (jobs := shop.do(claim).jobs):
        assert shop.do(replace(claim, worker_id="a")).jobs == ()
        shop.now += FIRST_PAUSE_MS
        passed += FIRST_PAUSE_MS
        assert passed <= OTHERS_FIRST_MS + FIRST_PAUSE_MS
    shop.end(BAD, jobs[0])
    assert not shop.settings().paused


def hold(shop: Broken, worker_id: str) -> None:
    """The machine is in quarantine by what it fails, and may have a trial."""
    worker = shop.worker(worker_id)
    with shop.store.transaction():
        held = Quarantine(shop.now, "it fails", type="pdf", trial_at=shop.now)
        shop.store.save_worker(worker, replace(worker, quarantine=held))


def test_quarantine_can_be_turned_off_for_a_type(shop: Broken) -> None:
    for worker in GOOD:
        shop.complete(worker, 8)
    shop.set(quarantine=False, breaker=0)
    shop.fail(BAD, 10)
    assert shop.held() is None
    shop.set(quarantine=None)
    shop.fail(BAD)
    assert shop.held() is not None


def test_a_document_that_fails_alike_on_two_sound_workers_is_dead_where_its_type_says_so(shop: Broken) -> None:
    shop.set(own_fault=True, breaker=0)
    for case, (error, dead) in enumerate(((FULL, True), (OTHER, False))):
        shop.complete("a", 2)
        shop.complete("b", 2)
        (job,) = shop.fail("a")
        shop.complete("a")
        again = on(shop, job, "b")
        shop.do(Fail(ADMIN, "b", again.id, error, lease=again.lease))
        now = shop.job(job.id)
        assert (now.status is JobStatus.DEAD) == dead, case
        assert now.attempts == 2, "both stay charged"
        why = f"its own fault (a failed it the same way, and both complete others): {FULL}"
        assert (now.last_error == why) == dead
    shop.set(own_fault=None)
    (job,) = shop.fail("a")
    shop.complete("a")
    again = on(shop, job, "b")
    shop.do(Fail(ADMIN, "b", again.id, FULL, lease=again.lease))
    assert shop.job(job.id).status is JobStatus.FAILED


@pytest.mark.parametrize("which", ["the first", "the second"])
def test_a_machine_that_completes_nothing_says_nothing_of_a_document(shop: Broken, which: str) -> None:
    shop.set(own_fault=True, breaker=0)
    shop.complete("a", 2)
    (job,) = shop.fail("a")
    if which == "the second":
        shop.complete("a")
    else:
        shop.complete("b")
    again = on(shop, job, "b")
    shop.do(Fail(ADMIN, "b", again.id, FULL, lease=again.lease))
    assert shop.job(job.id).status is JobStatus.FAILED


def on(shop: Broken, job: Job, worker: str) -> Job:
    """The job again, with this worker."""
    shop.now += 3_600_000
    shop.do(WakeJobs((Due(job.id, self_until(shop, job.id)),)))
    found = shop.do(Claim(ADMIN, worker, ("pdf",), 50)).jobs
    return next(each for each in found if each.id == job.id)
