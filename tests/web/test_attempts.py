"""A job with many attempts: its answer and its page are bounded, and the rest is there page by page."""

from __future__ import annotations

from typing import Any

from tests.fixtures.house import House
from tests.web.calls import raw

FAILED = 60
LONG = "x" * 65_000


async def failed_often(house: House) -> None:
    await house.submit(max_attempts=1000)
    await house.register()
    for number in range(FAILED):
        grant = await house.claim()
        body = {"worker_id": "w1", "lease": grant["lease"], "error": f"{number} " + "e" * 8_000, "traceback": LONG}
        status, _ = await house.call("POST", "/api/jobs/1/fail", body | {"log_tail": LONG})
        assert status == 200
        await house.call("POST", "/api/jobs/1/retry")


async def test_one_job_is_bounded_and_its_attempts_are_paged(house: House, autojump_clock: Any) -> None:
    await failed_often(house)
    job = await house.job(1)
    assert job["attempts_total"] == FAILED
    numbers = [each["attempt"] for each in job["attempt_history"]]
    assert numbers == sorted(numbers)
    assert numbers[-1] == FAILED
    assert len(numbers) <= 50
    assert job["attempt_history"][-1]["traceback"] == LONG, "the latest one is whole"
    for path in ("/api/jobs/1", "/jobs/1"):
        answer = await raw(house, "GET", path)
        assert len(await answer.get_data(as_text=False)) < 600_000, path
    seen: list[int] = []
    cursor = None
    while True:
        query = f"?cursor={cursor}" if cursor is not None else ""
        status, page = await house.call("GET", f"/api/jobs/1/attempts{query}")
        assert status == 200
        assert page["total"] == FAILED
        assert all(each["traceback"] == LONG for each in page["attempts"])
        seen += [each["attempt"] for each in page["attempts"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == list(range(FAILED, 0, -1))
    page = await raw(house, "GET", f"/jobs/1?before={numbers[0]}")
    assert f"Attempt {numbers[0] - 1}<" in await page.get_data(as_text=True)


async def test_attempts_of_no_job(house: House, autojump_clock: Any) -> None:
    assert (await house.call("GET", "/api/jobs/7/attempts"))[0] == 404
    await house.submit()
    assert (await house.call("GET", "/api/jobs/1/attempts"))[1] == {"attempts": [], "total": 0, "next_cursor": None}
