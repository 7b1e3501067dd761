"""Quarantine as the effects decide it, over the attempts that a database has (`actors/effects/quarantine.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from actors.effects.transaction import Rules
from actors.messages import (
    Claim,
    Complete,
    Due,
    ExpireLeases,
    Fail,
    ObjectSeen,
    Prune,
    QuarantineWorker,
    ReadmitWorker,
    Register,
    Release,
    Seen,
    Silent,
    Unregister,
    WakeJobs,
)
from blobforge.job import Job, JobStatus, ReleaseCause, RetryPolicy
from blobforge.quarantine import FIRST_PAUSE_MS, Quarantine
from blobforge.worker import Worker
from tests.fixtures.engines import ENGINES
from tests.store.making import ADMIN, Book, submission

pytestmark = pytest.mark.parametrize("engine", ["memory", "postgres"])
GOOD, BAD = ("a", "b", "c"), "x"
FULL = "OSError: no space left on device"


class Shop(Book):
    """A book with workers, and jobs that never end."""

    def __init__(self, place: Any, **more: Any) -> None:
        super().__init__(place, **more)
        self.numbers = iter(range(1, 100_000))
        self.register(*GOOD, BAD)

    def start(self, worker_id: str, n: int = 1) -> list[Job]:
        """Jobs that the worker is given, of so many that are submitted for it."""
        self.do(*(submission(next(self.numbers)) for _ in range(n)))
        return list(self.do(Claim(ADMIN, worker_id, ("pdf",), n)).jobs)

    def complete(self, worker_id: str, n: int = 1) -> None:
        for job in self.start(worker_id, n):
            self.end(worker_id, job)

    def end(self, worker_id: str, job: Job) -> None:
        key, seen = self.key(job.id, job.attempt), ObjectSeen(Seen.VERIFIED, size=1)
        self.do(Complete(ADMIN, worker_id, job.id, lease=job.lease, output_key=key, output=seen))

    def fail(self, worker_id: str, n: int = 1, error: str = FULL) -> list[Job]:
        jobs = self.start(worker_id, n)
        for job in jobs:
            self.do(Fail(ADMIN, worker_id, job.id, error, lease=job.lease))
        return jobs

    def worker(self, worker_id: str) -> Worker:
        with self.store.transaction():
            found = self.store.worker(worker_id)
        assert found is not None
        return found

    def held(self, worker_id: str = BAD) -> Quarantine | None:
        return self.worker(worker_id).quarantine


@pytest.fixture
def shop(tmp_path: Path, engine: str) -> Any:
    made = Shop(ENGINES[engine](tmp_path / "x.db"))
    yield made
    assert made.database.broken() == []
    made.counts_are_right()
    made.close()


def measured(shop: Shop) -> Shop:
    """The others have done enough to be compared with."""
    for worker_id in GOOD:
        shop.complete(worker_id, 8)
    return shop


def test_a_worker_that_fails_everything_is_quarantined_and_named_with_its_evidence(shop: Shop) -> None:
    measured(shop).fail(BAD, 3)
    assert shop.held() is None
    shop.fail(BAD)
    held = shop.held()
    assert held is not None
    assert held.evidence == (
        "4 of its last 4 failed, with OSError in OSError: no space left on device; the others' share is 0 %"
    )
    assert (held.type, held.by, held.trial_at) == ("pdf", None, shop.now + FIRST_PAUSE_MS)
    assert all(shop.held(each) is None for each in GOOD)
    assert (BAD, "worker.quarantined", held.evidence) in set(shop.probe.rows("audit", "subject", "action", "detail"))


def test_it_gets_one_job_at_a_time_after_pauses_and_returns_when_two_succeed(shop: Shop) -> None:
    measured(shop).fail(BAD, 4)
    assert shop.start(BAD) == []
    claim = Claim(ADMIN, BAD, ("pdf",), 5)
    assert shop.do(claim).again == FIRST_PAUSE_MS / 1000 - 3
    shop.now += FIRST_PAUSE_MS
    (job,) = shop.do(claim).jobs
    answer = shop.do(claim)
    assert (answer.jobs, answer.idle, answer.again) == ((), True, None), "one at a time"
    shop.do(Fail(ADMIN, BAD, job.id, FULL, lease=job.lease))
    held = shop.held()
    assert held is not None
    assert (held.failed, held.trial_at) == (1, shop.now + 2 * FIRST_PAUSE_MS)
    shop.now += 2 * FIRST_PAUSE_MS
    for passed in (1, 2):
        (job,) = shop.start(BAD)
        shop.end(BAD, job)
        assert (shop.held() is None) == (passed == 2)
    assert len(shop.start(BAD, 5)) == 5
    assert shop.worker(BAD).readmitted_at == shop.now - 2000
    shop.fail(BAD, 3)
    assert shop.held() is None, "what it failed before does not count any more"


def test_a_trial_that_is_given_back_for_trouble_has_failed(shop: Shop) -> None:
    measured(shop).fail(BAD, 4)
    for cause, failed in ((ReleaseCause.SHUTDOWN, 0), (ReleaseCause.TROUBLE, 1)):
        shop.now += FIRST_PAUSE_MS
        (job,) = shop.start(BAD)
        shop.do(Release(ADMIN, BAD, job.id, job.lease, "no disk", cause))
        held = shop.held()
        assert held is not None
        assert held.failed == failed


def test_so_has_one_in_which_its_process_ended(shop: Shop) -> None:
    """A machine that falls over at each job, and is started again, gets no trial after the other."""
    measured(shop).fail(BAD, 4)
    shop.do(Register(ADMIN, BAD, "pdf", instance="1"))
    shop.now += FIRST_PAUSE_MS
    shop.do(submission(next(shop.numbers)))
    claim = Claim(ADMIN, BAD, ("pdf",), instance="2")
    (job,) = shop.do(replace(claim, instance="1")).jobs
    shop.do(Register(ADMIN, BAD, "pdf", instance="2", replaces="1"))
    held = shop.held()
    assert held is not None
    assert (held.failed, shop.do(claim).jobs) == (1, ())
    with shop.store.transaction():
        back = shop.store.job(job.id)
    assert back is not None
    assert (back.status, back.attempts, back.losses, back.releases) == (JobStatus.PENDING, 0, 0, 1)


def test_what_ran_beside_when_the_quarantine_began_is_no_trial(shop: Shop) -> None:
    *failing, beside, beside_too = measured(shop).start(BAD, 6)
    for job in failing:
        shop.do(Fail(ADMIN, BAD, job.id, FULL, lease=job.lease))
    held = shop.held()
    shop.do(Fail(ADMIN, BAD, beside.id, FULL, lease=beside.lease))
    shop.end(BAD, beside_too)
    assert held is not None
    assert shop.held() == held


def test_documents_that_succeed_elsewhere_have_it_judged_when_they_do(shop: Shop) -> None:
    """The others fail half of what they have: only what they complete of its documents tells it from them."""
    for worker_id in GOOD:
        for _ in range(5):
            shop.fail(worker_id, 1, "ValueError: no such page")
            shop.complete(worker_id, 1)
    jobs = shop.fail(BAD, 6)
    assert shop.held() is None
    shop.now += 60_000
    for job in jobs[:4]:
        assert shop.held() is None
        with shop.store.transaction():
            ready = shop.store.job(job.id)
        assert ready is not None
        shop.do(WakeJobs((Due(job.id, ready.waits_until or 0),)))
        (given,) = shop.do(Claim(ADMIN, "a", ("pdf",))).jobs
        assert given.id == job.id
        shop.end("a", given)
    held = shop.held()
    assert held is not None
    assert "; the same documents succeeded on a; " in held.evidence


def test_jobs_that_are_lost_in_one_silence_are_one_failure(shop: Shop) -> None:
    def lose(n: int) -> None:
        jobs = measured(shop).start(BAD, n)
        beats = tuple(Silent(job.id, job.attempt, job.heartbeat_at or 0) for job in jobs)
        shop.do(ExpireLeases(beats))

    lose(8)
    assert shop.held() is None, "a power cut"
    for _ in range(3):
        assert shop.held() is None
        lose(2)
    held = shop.held()
    assert held is not None
    assert held.evidence.startswith("4 of its last 4 failed, with WorkerSilent in silent while it worked")


def test_two_sound_workers_that_are_online_always_stay(shop: Shop) -> None:
    measured(shop).do(QuarantineWorker("a", "admin"), QuarantineWorker("b", "admin"))
    shop.fail(BAD, 10)
    assert shop.held() is None, "c would be left alone"
    shop.do(ReadmitWorker("a", "admin"))
    shop.complete("a", 4)  # one in quarantine is no measure
    shop.fail(BAD)
    assert shop.held() is not None


def test_who_is_away_does_not_make_two_that_stay(shop: Shop) -> None:
    """One that is offline is compared with, where it has failed the same document, and does no work."""
    for worker_id in ("a", "b"):
        shop.complete(worker_id, 12)
    (shared,) = shop.fail("b")
    shop.complete("b")
    shop.do(Unregister(ADMIN, "b"), Unregister(ADMIN, "c"))
    shop.now += 3_600_000
    with shop.store.transaction():
        waits = shop.store.job(shared.id)
    assert waits is not None
    shop.do(WakeJobs((Due(shared.id, waits.waits_until or 0),)))
    (again,) = shop.do(Claim(ADMIN, BAD, ("pdf",))).jobs
    assert again.id == shared.id
    shop.do(Fail(ADMIN, BAD, again.id, FULL, lease=again.lease))
    shop.fail(BAD, 5)
    assert shop.held() is None, "a would be left alone"
    shop.register("c")
    shop.fail(BAD)
    assert shop.held() is not None


def test_by_hand_overrules(shop: Shop) -> None:
    shop.do(QuarantineWorker("a", "token:1", "its disk"))
    held = shop.held("a")
    assert held is not None
    assert (held.by, held.evidence, held.trial_at) == ("token:1", "its disk", None)
    shop.now += 100 * FIRST_PAUSE_MS
    answer = shop.do(submission("one"), Claim(ADMIN, "a", ("pdf",)))[1]
    assert (answer.jobs, answer.again) == ((), None), "no trials"
    shop.do(Register(ADMIN, "a", "pdf"))
    assert shop.held("a") is not None, "a new process is the same machine"
    shop.do(ReadmitWorker("a", "token:1"))
    assert len(shop.do(Claim(ADMIN, "a", ("pdf",))).jobs) == 1
    measured(shop).fail(BAD, 3)
    shop.do(ReadmitWorker(BAD, "token:1"))
    shop.fail(BAD, 3)
    assert shop.held() is None, "also of one that was in none, what it had failed does not count any more"


def test_who_is_silent_for_long_is_forgotten_but_not_a_quarantine_by_hand(shop: Shop) -> None:
    for worker_id, by in (("b", None), (BAD, "ann")):
        worker = shop.store.worker(worker_id)
        assert worker is not None
        with shop.store.transaction():
            shop.store.save_worker(worker, replace(worker, quarantine=Quarantine(shop.now, 'said "by": "x"', by=by)))
    shop.do(*(Unregister(ADMIN, worker_id) for worker_id in ("a", "b", BAD)))
    shop.do(Prune((), limit=10, workers_before=shop.now + 1))
    assert [each for each in (*GOOD, BAD) if shop.store.worker(each)] == ["c", BAD]


def test_it_can_be_turned_off(tmp_path: Path, engine: str) -> None:
    off = Rules(RetryPolicy(jitter=0), quarantine=False)
    shop = measured(Shop(ENGINES[engine](tmp_path / "off.db"), rules=off))
    shop.fail(BAD, 10)
    assert shop.held() is None
    shop.close()


def test_a_job_is_not_kept_for_a_worker_in_quarantine(shop: Shop) -> None:
    """It goes back to the one that has failed it, if no sound one is there."""
    shop.do(*(QuarantineWorker(each, "admin") for each in ("b", "c", BAD)))
    (job,) = shop.fail("a")
    shop.now += 60_000
    with shop.store.transaction():
        now = shop.store.job(job.id)
    assert now is not None
    shop.do(WakeJobs((Due(job.id, now.waits_until or 0),)))
    with shop.store.transaction():
        now = shop.store.job(job.id)
    assert now is not None
    assert (now.status, now.avoid) == (JobStatus.PENDING, ())
