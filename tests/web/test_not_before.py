"""`not_before` of a submission: no worker is given the job before that time, and then it is ready by its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.messages import Batch, Cancel, Claim, HeedTimes, Register, SetPriority
from actors.scheduler import LOOK_AGAIN_SECONDS
from blobforge.config import Settings
from blobforge.machinery.hop import in_place
from blobforge.serve.server import running
from tests.fixtures.local import LocalServer, virtual_now
from tests.store.making import ADMIN, submission
from tests.web.calls import HEX, assert_problem


def at(local: LocalServer, seconds: float) -> str:
    return (datetime.fromtimestamp(local.parts.now() / 1000, UTC) + timedelta(seconds=seconds)).isoformat()


async def given(local: LocalServer, **more: Any) -> int | None:
    await local.call("POST", "/api/workers/register", {"id": "w1", "type": "pdf"})
    job = (await local.claim("w1", **more))["job"]
    return None if job is None else int(job["id"])


async def test_it_is_given_to_nobody_before_its_time_and_then_wakes_who_waits(
    local: LocalServer, autojump_clock: Any
) -> None:
    job_id = await local.submit(b"later", not_before=at(local, 100))
    job = await local.job(job_id)
    assert (job["status"], "not_before" in job) == ("pending", True)
    why = job["waiting"]
    assert (why["code"], why["until"]) == ("not-before", job["not_before"])
    assert why["change"] == [f"blobforge jobs cancel {job_id} && blobforge jobs retry {job_id}"]
    assert await given(local) is None
    _, scale = await local.call("GET", "/api/scale")
    assert scale["pending"] == 0, "no worker is needed for it yet"
    await trio.sleep(90)
    assert await given(local) is None
    assert await given(local, wait=30) == job_id, "whoever waits then is woken"
    assert "not_before" not in await local.job(job_id)


async def test_then_its_priority_and_age_count(local: LocalServer, autojump_clock: Any) -> None:
    urgent = await local.submit(b"urgent", not_before=at(local, 50), priority=1)
    early = await local.submit(b"early", not_before=at(local, 50))
    other = await local.submit(b"other")
    await trio.sleep(60)
    assert [await given(local) for _ in range(3)] == [urgent, early, other]


async def test_its_source_may_come_before_or_after(local: LocalServer, autojump_clock: Any) -> None:
    def body(seconds: float) -> dict[str, Any]:
        return {"type": "pdf", "source_hash": HEX, "not_before": at(local, seconds)}

    _, answer = await local.call("POST", "/api/jobs", body(100))
    job = await local.job(answer["job_id"])
    assert (job["status"], "not_before" in job) == ("uploading", True)
    _, again = await local.call("POST", "/api/jobs", body(500))
    assert again["existing"]
    assert (await local.job(again["job_id"]))["not_before"] == job["not_before"], "the first one's stays"


async def test_a_time_that_is_over_says_nothing(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit(b"past", not_before=at(local, -5))
    assert "not_before" not in await local.job(job_id)
    assert await given(local) == job_id


@pytest.mark.parametrize("wrong", ["2026-12-01T22:00:00", "tomorrow", 17, "2999-01-01T00:00:00Z"])
async def test_what_is_no_time_or_too_far_off_is_refused(local: LocalServer, autojump_clock: Any, wrong: Any) -> None:
    body = {"type": "pdf", "source_hash": HEX, "not_before": wrong}
    assert "not_before" in assert_problem(await local.call("POST", "/api/jobs", body), 422, "invalid")["detail"]
    assert (await local.call("POST", "/api/jobs/batch", {"jobs": [body]}))[0] == 422


async def test_cancelled_before_it_is_not_started_and_retried_it_waits_no_more(
    local: LocalServer, autojump_clock: Any
) -> None:
    job_id = await local.submit(b"later", not_before=at(local, 100))
    assert (await local.call("POST", f"/api/jobs/{job_id}/cancel"))[0] == 200
    await trio.sleep(150)
    assert await given(local) is None
    assert (await local.call("POST", f"/api/jobs/{job_id}/retry"))[0] == 200
    assert await given(local) == job_id


async def test_many_of_one_second_come_page_by_page_and_none_has_a_timer(
    local: LocalServer, autojump_clock: Any
) -> None:
    start = local.parts.now() + 50_000
    many = 1200
    await local.ask(Batch(tuple(submission(number, not_before=start) for number in range(many))))
    assert not local.parts.scheduler._timers
    await local.ask(Cancel(1))
    first = await local.ask(HeedTimes(500))
    assert (first.jobs, round(first.next_in or 0)) == (0, 50)
    await trio.sleep(60)
    assert (await local.ask(HeedTimes(500))).next_in is None
    await local.ask(Register(ADMIN, "w1", "pdf"))
    granted = [(await local.ask(Claim(ADMIN, "w1", ("pdf",), 500))).jobs for _ in range(3)]
    assert [job.id for page in granted for job in page] == list(range(2, many + 1))


async def test_a_start_makes_it_no_shorter_and_a_clock_that_is_set_is_seen_within_a_minute(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """What is left of a back-off is bounded by a start; a time that a submission said is not."""
    off = 0

    def now() -> int:
        return virtual_now() + off

    settings = Settings(data_dir=str(tmp_path))
    async with running(settings, hop=in_place, now=now) as parts:
        first = LocalServer(parts, tmp_path)
        job_id = await first.submit(b"later", not_before=at(first, 86_400))
        assert list(await parts.reads.run(lambda reader: reader.waiting_for_time())) == [], "it has no timer"
    async with running(settings, hop=in_place, now=now) as parts:
        local = LocalServer(parts, tmp_path)
        await trio.sleep(10_000)
        assert await given(local) is None
        off = 80_000_000
        began = trio.current_time()
        assert await given(local, wait=60) == job_id
        assert trio.current_time() - began <= LOOK_AGAIN_SECONDS


async def test_whoever_counts_what_waits_for_a_worker_leaves_it_out(local: LocalServer, autojump_clock: Any) -> None:
    """The oldest, the time in which a type is done, what nobody takes, who comes first."""
    job_id = await local.submit(b"later", priority=1, not_before=at(local, 1000))
    await trio.sleep(50)

    async def said() -> tuple[Any, ...]:
        _, stats = await local.call("GET", "/api/stats")
        _, attention = await local.call("GET", "/api/stats/attention")
        _, metrics = await local.call("GET", "/metrics")
        samples = dict(line.rsplit(" ", 1) for line in metrics.decode().splitlines() if not line.startswith("#"))
        age = stats["oldest_pending_seconds"]
        return (
            (stats["pending_jobs"], stats["deferred_jobs"], [*stats["eta_by_type"]], age and round(age)),
            [(each["type"], each["pending"]) for each in attention["queues"]],
            float(samples['blobforge_deferred_jobs{type="pdf"}']),
            float(samples['blobforge_oldest_pending_age_seconds{type="pdf"}']) // 10,
        )

    assert await said() == ((1, 1, [], None), [], 1, 0)
    assert (await local.call("GET", "/api/scale"))[1]["pending"] == 0
    ready = await local.submit(b"ready", priority=1, requires=["gpu"])
    await trio.sleep(20)
    assert await said() == ((2, 1, ["pdf"], 20), [("pdf", 1)], 1, 2)
    assert (await local.job(ready))["waiting"].get("ahead", 0) == 0
    await local.ask(SetPriority(job_id, 5))
    await local.ask(SetPriority(job_id, 1))
    await trio.sleep(1000)
    assert (await said())[0] == (2, 0, ["pdf"], 1070)


async def test_an_undo_of_a_cancellation_puts_its_time_back(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit(b"later", not_before=at(local, 100))
    start = (await local.job(job_id))["not_before"]
    _, bulk = await local.call("POST", "/api/jobs/cancel", {"ids": [job_id], "undo": True})
    assert "not_before" not in await local.job(job_id)
    assert (await local.call("POST", "/api/jobs/undo", {"undo": bulk["undo"]}))[0] == 200
    assert (await local.job(job_id))["not_before"] == start
    await trio.sleep(90)
    assert await given(local) is None
    assert await given(local, wait=30) == job_id
