"""`expires_at` of a submission: what no worker was given by then is dead, and says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import trio

from actors.messages import Batch, Claim, HeedTimes, Register
from tests.fixtures.local import LocalServer
from tests.store.making import ADMIN, submission
from tests.web.calls import HEX, assert_problem


def at(local: LocalServer, seconds: float) -> str:
    return (datetime.fromtimestamp(local.parts.now() / 1000, UTC) + timedelta(seconds=seconds)).isoformat()


async def test_what_no_worker_was_given_by_then_is_dead_and_says_so(local: LocalServer, autojump_clock: Any) -> None:
    ready = await local.submit(b"ready", expires_at=at(local, 100))
    _, answer = await local.call(
        "POST", "/api/jobs", {"type": "pdf", "source_hash": HEX, "expires_at": at(local, 100)}
    )
    later = await local.submit(b"later", not_before=at(local, 50), expires_at=at(local, 100))
    job = await local.job(ready)
    assert job["waiting"]["expires_at"] == job["expires_at"]
    _, told = await local.call("GET", f"/api/jobs/{ready}/events")
    assert "expires" in [each["what"] for each in told]
    await trio.sleep(99)
    assert (await local.job(ready))["status"] == "pending"
    await trio.sleep(2)
    for job_id in (ready, answer["job_id"], later):
        job = await local.job(job_id)
        assert job["status"] == "dead"
        assert job["last_error"].startswith("expired: ")
        assert "not_before" not in job
    late = await local.call("POST", f"/api/jobs/{answer['job_id']}/uploaded")
    assert "has expired" in assert_problem(late, 409, "job-not-uploading")["detail"]
    _, failures = await local.call("GET", "/api/failures")
    assert [(each["kind"], each["dead"]) for each in failures["failures"]] == [("Expired", 3)]
    await local.register()
    assert (await local.claim())["job"] is None


async def test_once_a_worker_was_given_it_it_goes_on(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit(b"in time", expires_at=at(local, 100))
    await local.register()
    assert (await local.claim())["job"]["id"] == job_id
    await local.call("POST", f"/api/jobs/{job_id}/fail", {"worker_id": "w1", "error": "x"})
    await trio.sleep(200)
    job = await local.job(job_id)
    assert (job["status"], "expires_at" in job) == ("pending", False)


async def test_submitted_again_it_comes_back_with_the_times_that_are_said_then(
    local: LocalServer, autojump_clock: Any
) -> None:
    job_id = await local.submit(b"x", expires_at=at(local, 10))
    kept = (await local.job(job_id))["expires_at"]
    assert await local.submit(b"x", expires_at=at(local, 500)) == job_id
    assert (await local.job(job_id))["expires_at"] == kept, "the first one's stays while it waits"
    await trio.sleep(20)
    digest = (await local.job(job_id))["source_hash"]
    body = {"type": "pdf", "source_hash": digest, "expires_at": at(local, -1)}
    assert "over" in assert_problem(await local.call("POST", "/api/jobs", body), 422, "invalid")["detail"]
    assert await local.submit(b"x", expires_at=at(local, 100)) == job_id
    assert (await local.job(job_id))["status"] == "pending"
    await trio.sleep(200)
    assert (await local.job(job_id))["status"] == "dead"
    assert (await local.call("POST", f"/api/jobs/{job_id}/retry"))[0] == 200
    await trio.sleep(200)
    job = await local.job(job_id)
    assert (job["status"], "expires_at" in job) == ("pending", False), "a retry has it wait for ever"


async def test_a_request_that_comes_again_gets_its_answer_though_the_time_is_over(
    local: LocalServer, autojump_clock: Any
) -> None:
    body = {"type": "pdf", "source_hash": HEX, "expires_at": at(local, 10)}
    headers = {"Authorization": f"Bearer {local.parts.admin_token}", "Idempotency-Key": "k"}
    first = await local.call("POST", "/api/jobs", body, headers=headers)
    await trio.sleep(20)
    assert await local.call("POST", "/api/jobs", body, headers=headers) == first


async def test_times_that_cannot_be_are_refused(local: LocalServer, autojump_clock: Any) -> None:
    for wrong in ({"expires_at": at(local, 5), "not_before": at(local, 5)}, {"expires_at": "2999-01-01T00:00:00Z"}):
        body = {"type": "pdf", "source_hash": HEX} | wrong
        assert "expires_at" in assert_problem(await local.call("POST", "/api/jobs", body), 422, "invalid")["detail"]


async def test_an_undo_of_a_cancellation_puts_it_back(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit(b"x", expires_at=at(local, 100))
    _, bulk = await local.call("POST", "/api/jobs/cancel", {"ids": [job_id], "undo": True})
    assert (await local.call("POST", "/api/jobs/undo", {"undo": bulk["undo"]}))[0] == 200
    await trio.sleep(101)
    assert (await local.job(job_id))["status"] == "dead"


async def test_many_at_one_moment_are_given_up_page_by_page(local: LocalServer, autojump_clock: Any) -> None:
    """Before those whose time to start has come: these are of use yet."""
    now = local.parts.now()
    await local.ask(Batch(tuple(submission(number, expires_at=now + 50_000) for number in range(700))))
    await local.ask(Batch(tuple(submission(-number, not_before=now + 50_000) for number in range(1, 4))))
    local.parts.scheduler._times_at = float("inf")  # it is asked by hand
    await trio.sleep(60)
    answers = [await local.ask(HeedTimes(500)) for _ in range(2)]
    assert [(each.expired, each.jobs, each.next_in) for each in answers] == [(500, 0, 0.0), (200, 3, None)]
    await local.ask(Register(ADMIN, "w1", "pdf"))
    assert len((await local.ask(Claim(ADMIN, "w1", ("pdf",), 500))).jobs) == 3
