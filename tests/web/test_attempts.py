"""A job with many attempts: its answer and its page are bounded, and the rest is there page by page."""

from __future__ import annotations

from typing import Any

import trio

from tests.fixtures.engines import looked_into
from tests.fixtures.local import LocalServer
from tests.web.calls import raw

FAILED = 60
LONG = "x" * 65_000


async def failed_often(local: LocalServer) -> None:
    await local.submit(max_attempts=1000)
    await local.register()
    for number in range(FAILED):
        grant = await local.claim()
        body = {"worker_id": "w1", "lease": grant["lease"], "error": f"{number} " + "e" * 8_000, "traceback": LONG}
        status, _ = await local.call("POST", "/api/jobs/1/fail", body | {"log_tail": LONG})
        assert status == 200
        await local.call("POST", "/api/jobs/1/retry")


async def test_one_job_is_bounded_and_its_attempts_are_paged(local: LocalServer, autojump_clock: Any) -> None:
    await failed_often(local)
    job = await local.job(1)
    assert job["attempts_total"] == FAILED
    numbers = [each["attempt"] for each in job["attempt_history"]]
    assert numbers == sorted(numbers)
    assert numbers[-1] == FAILED
    assert len(numbers) <= 50
    assert job["attempt_history"][-1]["traceback"] == LONG, "the latest one is whole"
    for path in ("/api/jobs/1", "/jobs/1"):
        answer = await raw(local, "GET", path)
        assert len(await answer.get_data(as_text=False)) < 600_000, path
    seen: list[int] = []
    cursor = None
    while True:
        query = f"?cursor={cursor}" if cursor is not None else ""
        status, page = await local.call("GET", f"/api/jobs/1/attempts{query}")
        assert status == 200
        assert page["total"] == FAILED
        assert all(each["traceback"] == LONG for each in page["attempts"])
        seen += [each["attempt"] for each in page["attempts"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == list(range(FAILED, 0, -1))
    page = await raw(local, "GET", f"/jobs/1?before={numbers[0]}")
    assert f"Attempt {numbers[0] - 1}<" in await page.get_data(as_text=True)


async def test_attempts_of_no_job(local: LocalServer, autojump_clock: Any) -> None:
    assert (await local.call("GET", "/api/jobs/7/attempts"))[0] == 404
    await local.submit()
    assert (await local.call("GET", "/api/jobs/1/attempts"))[1] == {"attempts": [], "total": 0, "next_cursor": None}


RELEASED = 4_000


async def test_a_job_that_was_given_back_four_thousand_times_is_as_small_as_any(
    local: LocalServer, autojump_clock: Any
) -> None:
    """And as cheap: not one statement goes through its records."""
    await local.submit()
    await local.register()
    grant = await local.claim()
    body = {"worker_id": "w1", "lease": grant["lease"], "reason": "shutdown"}
    assert (await local.call("POST", "/api/jobs/1/release", body))[0] == 200
    with looked_into(local.parts.services.settings.database) as database:
        alike = ("job_id", "worker_id", "started_at", "ended_at", "outcome")
        ((lease, *first),) = database.probe.rows("attempts", "lease", *alike)
        more = ((number, f"{lease}{number}", "shutdown", *first) for number in range(2, RELEASED + 1))
        database.probe.add_all("attempts", ("attempt", "lease", "error", *alike), more)
        database.probe.change("jobs", {"attempt": RELEASED})
    job = await local.job(1)
    assert (job["attempts_total"], len(job["attempt_history"])) == (RELEASED, 50)
    for path in ("/api/jobs/1", "/jobs/1", "/api/jobs/1/attempts", "/api/jobs/1/events"):
        answer = await raw(local, "GET", path)
        assert answer.status_code == 200, path
        assert len(await answer.get_data(as_text=False)) < 100_000, path
    await trio.sleep(60)  # a job that was given back waits a while
    assert (await local.claim())["job"] is not None
    assert (await local.job(1))["attempts_total"] == RELEASED + 1
