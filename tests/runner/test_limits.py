"""Limits on time and on silence, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.client import Job as JobRecord
from blobforge.runner import Job, JobFailed, Limits
from blobforge.runner.limits import within


@pytest.fixture
def job(tmp_path: Path) -> Job:
    record = JobRecord(id=1, type="pdf", status="running", source_hash="0" * 64)
    return Job(record, tmp_path, tmp_path / "source", lambda _: None)


async def sleeps(seconds: float) -> None:
    await trio.sleep(seconds)


async def test_without_limits_a_day_is_fine(job: Job, autojump_clock: Any) -> None:
    await within(Limits(), job, lambda _: sleeps(86_400))
    assert trio.current_time() >= 86_400


async def test_a_timeout_is_the_end_however_busy_it_looks(job: Job, autojump_clock: Any) -> None:
    async def busy(job: Job) -> None:
        job.output_tail = lambda: "the last words"
        while True:
            job.progress(1, 2)
            await trio.sleep(1)

    begun = trio.current_time()
    with pytest.raises(JobFailed, match="not done after 100 seconds") as failure:
        await within(Limits(timeout=100, stall=10), job, busy)
    assert trio.current_time() - begun == pytest.approx(100)
    assert (failure.value.kind, failure.value.log_tail) == ("Timeout", "the last words")


async def test_silence_is_counted_from_the_last_sign_of_life(job: Job, autojump_clock: Any) -> None:
    async def falls_silent(job: Job) -> None:
        for done in range(30):
            await trio.sleep(9)
            job.progress(done)
        await trio.sleep_forever()

    begun = trio.current_time()
    with pytest.raises(JobFailed, match="no progress for 10 seconds") as failure:
        await within(Limits(stall=10), job, falls_silent)
    assert failure.value.kind == "Stalled"
    assert 280 <= trio.current_time() - begun <= 282


async def test_errors_pass_as_they_are(job: Job, autojump_clock: Any) -> None:
    async def broken(_: Job) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await within(Limits(timeout=1), job, broken)


async def test_what_ends_well_while_it_is_being_stopped_has_ended_well(job: Job, autojump_clock: Any) -> None:
    async def finishes(_: Job) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(2)
            ended.append(trio.current_time())

    ended: list[float] = []
    await within(Limits(timeout=1), job, finishes)
    assert ended == [trio.current_time()]


async def test_being_cancelled_from_outside_is_no_breach(job: Job, autojump_clock: Any) -> None:
    with trio.move_on_after(5) as scope:
        await within(Limits(timeout=10), job, lambda _: sleeps(float("inf")))
    assert scope.cancelled_caught


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_a_limit_must_be_one(seconds: float) -> None:
    with pytest.raises(ValueError, match="is none"):
        Limits(stall=seconds)
