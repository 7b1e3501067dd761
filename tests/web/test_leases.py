"""A job that a worker holds: nobody else gets it or ends it, silence frees it, a late report changes nothing."""

from __future__ import annotations

from typing import Any

import trio

from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, finish, put_output, stream


async def run_one(local: LocalServer, worker_id: str = "w1", **fields: Any) -> Any:
    """A registered worker that holds one job; the grant."""
    await local.submit(**fields)
    await local.register(worker_id)
    return await local.claim(worker_id)


async def expire(local: LocalServer) -> None:
    """Be silent past the lease."""
    await trio.sleep(local.parts.services.settings.worker_timeout + 1)


async def status(local: LocalServer, job_id: int = 1) -> str:
    return str((await local.job(job_id))["status"])


async def test_many_claimers_get_each_job_once(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(20):
        await local.submit(b"%d" % number)
    grants: list[int] = []

    async def claim(worker_id: str) -> None:
        await local.register(worker_id)
        while (job := (await local.claim(worker_id))["job"]) is not None:
            grants.append(job["id"])

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(claim, f"w{number}")
    assert sorted(grants) == list(range(1, 21)), "each job once, and no error"


async def test_a_stale_worker_gets_409_and_makes_no_event(local: LocalServer, autojump_clock: Any) -> None:
    await run_one(local)
    await expire(local)
    await local.register("w2")
    await local.claim("w2")
    async with stream(local) as events:
        for verb, body in (("complete", {}), ("fail", {"error": "x"})):
            answer = await local.call("POST", f"/api/jobs/1/{verb}", {"worker_id": "w1"} | body)
            assert_problem(answer, 409, "lease-lost")
        assert await events.rest() == []
    assert await status(local) == "running"


async def test_a_late_completion_leaves_a_cancelled_job_cancelled(local: LocalServer, autojump_clock: Any) -> None:
    await run_one(local)
    await local.call("POST", "/api/jobs/1/cancel")
    assert_problem(await local.call("POST", "/api/jobs/1/complete", {"worker_id": "w1"}), 409, "lease-lost")
    assert await status(local) == "cancelled"


async def test_a_running_job_is_not_retried(local: LocalServer, autojump_clock: Any) -> None:
    await run_one(local)
    assert_problem(await local.call("POST", "/api/jobs/1/retry"), 409, "job-not-retryable")
    assert await status(local) == "running"


async def test_a_document_that_kills_every_worker_ends_dead(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    for number in range(local.parts.services.settings.max_losses):
        await local.register(f"w{number}")
        assert (await local.claim(f"w{number}"))["job"] is not None
        await expire(local)
    job = await local.job(1)
    assert job["status"] == "dead"
    assert "workers were lost" in job["last_error"], "with the reason"


async def test_a_draining_worker_that_dies_loses_its_job(local: LocalServer, autojump_clock: Any) -> None:
    await run_one(local)
    await local.call("POST", "/api/workers/w1/drain")
    await expire(local)
    assert await status(local) == "pending"


async def test_a_claim_whose_answer_was_lost_is_answered_again(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await local.register()
    first = await local.claim(claim_key="k")  # committed, and nobody has read the answer
    assert (await local.claim(claim_key="k"))["lease"] == first["lease"]


async def test_two_types_of_one_source_have_an_output_each(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"same source")
    await local.submit(b"same source", type="png")
    await local.register()
    first, second = (await local.claim(job_types=["pdf", "png"], limit=2))["jobs"]
    assert first["job"]["source_hash"] == second["job"]["source_hash"]
    assert first["output_key"] != second["output_key"]


async def test_a_stale_worker_overwrites_no_finished_result(local: LocalServer, autojump_clock: Any) -> None:
    stale = await run_one(local)
    await expire(local)
    await local.register("w2")
    done = await finish(local, "w2")
    await put_output(local, stale["output_key"], b"late and wrong")
    assert (await local.job(1))["output_key"] == done["output_key"] != stale["output_key"]
