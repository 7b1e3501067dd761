"""What a worker has done, attempt by attempt: its failures, too."""

from __future__ import annotations

from typing import Any

import trio

from tests.fixtures.local import LocalServer


async def failed_and_completed(local: LocalServer) -> None:
    await local.register("broken")
    for number in range(5):
        await local.submit(b"%d" % number, max_attempts=1)
        grant = await local.claim("broken")
        body = {"worker_id": "broken", "lease": grant["lease"]}
        verb, said = ("complete", {}) if number == 2 else ("fail", {"error": f"no module {number}"})
        status, answer = await local.call("POST", f"/api/jobs/{grant['job']['id']}/{verb}", body | said)
        assert status == 200, answer
        await trio.sleep(1)


async def test_attempts_of_a_worker_are_listed_whatever_became_of_them(
    autojump_clock: Any, local: LocalServer
) -> None:
    await failed_and_completed(local)
    status, page = await local.call("GET", "/api/workers/broken/attempts?limit=2")
    assert status == 200
    listed = list(page["attempts"])
    while "next_cursor" in page:
        _, page = await local.call("GET", f"/api/workers/broken/attempts?limit=2&cursor={page['next_cursor']}")
        listed += page["attempts"]
    assert [each["outcome"] for each in listed] == ["failed", "failed", "completed", "failed", "failed"]
    assert [each["job_id"] for each in listed] == [5, 4, 3, 2, 1]
    assert listed[0]["error"] == "no module 4"


async def test_the_page_of_a_worker_shows_what_it_failed(autojump_clock: Any, local: LocalServer) -> None:
    await failed_and_completed(local)
    _, page = await local.call("GET", "/workers/broken")
    assert page.count(b"no module") == 4


async def test_a_bad_cursor_and_an_unknown_worker_are_told(autojump_clock: Any, local: LocalServer) -> None:
    status, problem = await local.call("GET", "/api/workers/nobody/attempts")
    assert (status, problem["title"]) == (404, "No such worker")
    await local.register()
    for cursor in ("x", "1-2", "1-2-3-4"):
        status, problem = await local.call("GET", f"/api/workers/w1/attempts?cursor={cursor}")
        assert (status, problem["field"]) == (422, "cursor")
    assert await local.call("GET", "/api/workers/w1/attempts") == (200, {"attempts": []})
