"""Why jobs were cancelled: for people, where the jobs are shown."""

from __future__ import annotations

from typing import Any

import trio

from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem


async def test_a_reason_is_shown_with_the_job_and_goes_with_the_cancellation(
    local: LocalServer, autojump_clock: Any
) -> None:
    runs, waits = [await local.submit(b"%d" % number) for number in range(2)]
    await local.register()
    await local.claim()
    for job_id in (runs, waits):
        body = {"undo": True, "reason": "scanned again"}
        _, answer = await local.call("POST", f"/api/jobs/{job_id}/cancel", body)
        job = await local.job(job_id)
        assert (job["status"], job["last_error"]) == ("cancelled", "cancelled: scanned again")
        _, events = await local.call("GET", f"/api/jobs/{job_id}/events")
        assert any(each["what"] == "cancelled" and "scanned again" in each["text"] for each in events)
        _, page = await local.call("GET", f"/jobs/{job_id}")
        assert b"scanned again" in page
    assert (await local.job(runs))["attempt_history"][0]["error"] == "the job was cancelled: scanned again"
    assert (await local.call("POST", "/api/jobs/undo", {"undo": answer["undo"]}))[0] == 200
    assert "last_error" not in await local.job(waits)
    _, answer = await local.call("POST", f"/api/jobs/{runs}/retry", {"undo": True})
    assert "last_error" not in await local.job(runs)
    assert (await local.call("POST", "/api/jobs/undo", {"undo": answer["undo"]}))[0] == 200
    assert (await local.job(runs))["last_error"] == "cancelled: scanned again"


async def test_many_at_once_and_as_an_operation(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(2):
        await local.submit(b"%d" % number)
    await local.call("POST", "/api/jobs/cancel", {"ids": [1], "reason": "one"})
    await local.call("POST", "/api/jobs/cancel", {"status": "pending", "reason": "two", "background": True})
    while (await local.job(2))["status"] != "cancelled":
        await trio.sleep(1)
    assert [(await local.job(number))["last_error"] for number in (1, 2)] == ["cancelled: one", "cancelled: two"]
    problem = await local.call("POST", "/api/jobs/1/cancel", {"reason": "x" * 1001})
    assert "reason" in assert_problem(problem, 422, "invalid")["detail"]
