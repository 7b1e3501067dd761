"""A machine that fails everything stops taking jobs, and finds its way back by trials."""

from __future__ import annotations

from collections import Counter

import pytest

from blobforge.runner import Job, JobFailed, RunEnd, Worker
from blobforge.runner.streak import LONGEST_PAUSE, PAUSE, Streak
from tests.runner.coordinator import Coordinator
from tests.runner.scripted import Scripted


async def test_pauses_grow_and_a_success_ends_them(autojump_clock: object) -> None:
    streak = Streak(2)
    streak.failed("one")
    assert streak.in_the_way(trial_runs=False) is None
    pauses = []
    for _ in range(9):
        streak.failed("no such library")
        assert streak.on
        text, pause = streak.in_the_way(trial_runs=False) or ("", 0.0)
        assert "no such library" in text
        pauses.append(round(pause))
    assert pauses[:3] == [PAUSE, 2 * PAUSE, 4 * PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    streak.succeeded()
    assert not streak.on
    assert streak.in_the_way(trial_runs=True) is None


def test_without_a_limit_nothing_stops_it() -> None:
    streak = Streak(None)
    for _ in range(100):
        streak.failed("no")
    assert not streak.on


@pytest.mark.parametrize("mends", [True, False])
async def test_a_worker_that_fails_everything_takes_one_now_and_then(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, mends: bool
) -> None:
    monkeypatch.setattr("blobforge.runner.streak.PAUSE", 0.05)
    coordinator = Coordinator(scripted)
    coordinator.waiting = 4
    worker = Worker(
        coordinator.url,
        token="bf_t",
        worker_id="w",
        max_jobs=4,
        max_failures=2,
        min_free=0,
        poll_wait=0,
        concurrency=2,
    )
    done: list[int] = []

    @worker.handler("pdf", isolation="thread")
    def convert(job: Job) -> None:
        done.append(job.id)
        if len(done) < 4 or not mends:
            raise JobFailed("no such library")
        job.output.write_text("converted")

    tally = await worker.run_async()
    assert tally == Counter({RunEnd.FAILED: 3, RunEnd.COMPLETED: 1} if mends else {RunEnd.FAILED: 4})
    assert worker.failing is not mends
    limits = [sent["limit"] for sent in coordinator.posted("/api/jobs/claim")]
    assert limits[0] == 2
    assert set(limits[1:]) == {1}
