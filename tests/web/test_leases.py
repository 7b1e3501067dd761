"""A job that a worker holds: nobody else gets it or ends it, silence frees it, a late report changes nothing."""

from __future__ import annotations

from typing import Any

import trio

from tests.fixtures.house import House
from tests.web.calls import assert_problem, finish, put_output, stream


async def run_one(house: House, worker_id: str = "w1", **fields: Any) -> Any:
    """A registered worker that holds one job; the grant."""
    await house.submit(**fields)
    await house.register(worker_id)
    return await house.claim(worker_id)


async def expire(house: House) -> None:
    """Be silent past the lease."""
    await trio.sleep(house.parts.services.settings.worker_timeout + 1)


async def status(house: House, job_id: int = 1) -> str:
    return str((await house.job(job_id))["status"])


async def test_many_claimers_get_each_job_once(house: House, autojump_clock: Any) -> None:
    for number in range(20):
        await house.submit(b"%d" % number)
    grants: list[int] = []

    async def claim(worker_id: str) -> None:
        await house.register(worker_id)
        while (job := (await house.claim(worker_id))["job"]) is not None:
            grants.append(job["id"])

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(claim, f"w{number}")
    assert sorted(grants) == list(range(1, 21)), "each job once, and no error"


async def test_a_stale_worker_gets_409_and_makes_no_event(house: House, autojump_clock: Any) -> None:
    await run_one(house)
    await expire(house)
    await house.register("w2")
    await house.claim("w2")
    async with stream(house) as events:
        for verb, body in (("complete", {}), ("fail", {"error": "x"})):
            answer = await house.call("POST", f"/api/jobs/1/{verb}", {"worker_id": "w1"} | body)
            assert_problem(answer, 409, "lease-lost")
        assert await events.rest() == []
    assert await status(house) == "running"


async def test_a_late_completion_leaves_a_cancelled_job_cancelled(house: House, autojump_clock: Any) -> None:
    await run_one(house)
    await house.call("POST", "/api/jobs/1/cancel")
    assert_problem(await house.call("POST", "/api/jobs/1/complete", {"worker_id": "w1"}), 409, "lease-lost")
    assert await status(house) == "cancelled"


async def test_a_running_job_is_not_retried(house: House, autojump_clock: Any) -> None:
    await run_one(house)
    assert_problem(await house.call("POST", "/api/jobs/1/retry"), 409, "job-not-retryable")
    assert await status(house) == "running"


async def test_a_document_that_kills_every_worker_ends_dead(house: House, autojump_clock: Any) -> None:
    await house.submit()
    for number in range(house.parts.services.settings.max_losses):
        await house.register(f"w{number}")
        assert (await house.claim(f"w{number}"))["job"] is not None
        await expire(house)
    job = await house.job(1)
    assert job["status"] == "dead"
    assert "workers were lost" in job["last_error"], "with the reason"


async def test_a_draining_worker_that_dies_loses_its_job(house: House, autojump_clock: Any) -> None:
    await run_one(house)
    await house.call("POST", "/api/workers/w1/drain")
    await expire(house)
    assert await status(house) == "pending"


async def test_a_claim_whose_answer_was_lost_is_answered_again(house: House, autojump_clock: Any) -> None:
    await house.submit()
    await house.register()
    first = await house.claim(claim_key="k")  # committed, and nobody has read the answer
    assert (await house.claim(claim_key="k"))["lease"] == first["lease"]


async def test_two_types_of_one_source_have_an_output_each(house: House, autojump_clock: Any) -> None:
    await house.submit(b"same source")
    await house.submit(b"same source", type="png")
    await house.register()
    first, second = (await house.claim(job_types=["pdf", "png"], limit=2))["jobs"]
    assert first["job"]["source_hash"] == second["job"]["source_hash"]
    assert first["output_key"] != second["output_key"]


async def test_a_stale_worker_overwrites_no_finished_result(house: House, autojump_clock: Any) -> None:
    stale = await run_one(house)
    await expire(house)
    await house.register("w2")
    done = await finish(house, "w2")
    await put_output(house, stale["output_key"], b"late and wrong")
    assert (await house.job(1))["output_key"] == done["output_key"] != stale["output_key"]
