"""What touches very many jobs by itself does so a page at a turn of the writer: here a page is two jobs."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors import works
from actors.effects import returns, submission
from actors.messages import SourceRejected
from blobforge.operation import MOST_OPEN, TAKE_BACK
from tests.fixtures.local import LocalServer
from tests.store.making import hash_of
from tests.web.calls import assert_problem, token

JOBS = 5


@pytest.fixture(autouse=True)
def _two_at_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (works, returns, submission):
        monkeypatch.setattr(module, "A_TURN", 2)


async def claimed(local: LocalServer, worker: str, number: int, **how: Any) -> list[int]:
    for each in range(number):
        await local.submit(f"{worker} {each}".encode())
    await local.register(worker, **how)
    answer = await local.claim(worker, limit=number)
    return [each["job"]["id"] for each in answer["jobs"]]


async def statuses(local: LocalServer, jobs: list[int]) -> set[str]:
    return {(await local.job(job_id))["status"] for job_id in jobs}


LEAVE = [
    ("POST", "/api/workers/w1/unregister", 200),
    ("DELETE", "/api/workers/w1", 200),
    ("POST", "/api/admin/workers/w1/disable", 200),
    ("POST", "/api/admin/workers/w1/regenerate", 200),
]


@pytest.mark.parametrize(("method", "path", "status"), LEAVE)
async def test_what_a_worker_runs_that_leaves_goes_back(
    local: LocalServer, autojump_clock: Any, method: str, path: str, status: int
) -> None:
    jobs = await claimed(local, "w1", JOBS)
    assert (await local.call(method, path))[0] == status
    assert await statuses(local, jobs) == {"running"}, "nothing of it in the turn in which it leaves"
    (begun,) = (await local.call("GET", "/api/operations"))[1]["operations"]
    refused = await local.call("POST", f"/api/operations/{begun['id']}/cancel")
    assert "cannot be cancelled" in assert_problem(refused, 409, "operation-running")["detail"]
    await trio.sleep(5)
    assert await statuses(local, jobs) == {"pending"}
    (shown,) = (await local.call("GET", "/api/operations"))[1]["operations"]
    assert (shown["verb"], shown["state"], shown["by"], shown["changed"]) == (TAKE_BACK, "completed", "the server", 5)
    assert not shown["undo"]["possible"]
    job = await local.job(jobs[0])
    assert (job["attempts"], job["attempt_history"][0]["outcome"]) == (0, "released")


async def test_of_few_jobs_no_operation_is_made(local: LocalServer, autojump_clock: Any) -> None:
    jobs = await claimed(local, "w1", 2)
    await local.call("POST", "/api/workers/w1/unregister")
    assert await statuses(local, jobs) == {"pending"}
    assert (await local.call("GET", "/api/operations"))[1]["operations"] == []


async def test_the_workers_of_a_token_that_is_revoked(local: LocalServer, autojump_clock: Any) -> None:
    secret = await token(local, "work", "submit", "read")
    jobs = [job for worker in "abc" for job in await claimed(local, worker, 1, token=secret)]
    (revoked,) = [
        each for each in (await local.call("GET", "/api/admin/tokens"))[1] if secret.startswith(each["prefix"])
    ]
    assert (await local.call("DELETE", f"/api/admin/tokens/{revoked['id']}"))[0] == 200
    await trio.sleep(5)
    assert await statuses(local, jobs) == {"pending"}


async def test_what_it_is_given_when_it_is_back_it_keeps(local: LocalServer, autojump_clock: Any) -> None:
    local.parts.operator.running |= {-1}
    jobs = await claimed(local, "w1", JOBS)
    await local.call("POST", "/api/workers/w1/unregister")
    await local.submit(b"one more")
    await trio.sleep(0.001)  # the operation has not begun to select
    await local.register()
    again = (await local.claim())["job"]["id"]
    await trio.sleep(5)
    assert again not in jobs
    assert await statuses(local, [again]) == {"running"}
    assert await statuses(local, jobs) == {"pending"}


async def test_however_many_operations_there_are(local: LocalServer, autojump_clock: Any) -> None:
    local.parts.operator.running |= {-1, -2, -3, -4}  # those of people wait
    for _ in range(MOST_OPEN):
        status, _ = await local.call("POST", "/api/jobs/cancel", {"type": "none", "background": True})
        assert status == 202
    jobs = await claimed(local, "w1", JOBS)
    await local.call("POST", "/api/workers/w1/unregister")
    await trio.sleep(5)
    assert await statuses(local, jobs) == {"pending"}


async def test_all_jobs_of_one_source(local: LocalServer, autojump_clock: Any) -> None:
    """One for each of its pages, by their options."""
    digest = hash_of("a document")
    body = [{"type": "pdf", "source_hash": digest, "options": {"page": page}} for page in range(JOBS)]
    items = (await local.call("POST", "/api/jobs/batch", {"jobs": body}))[1]["items"]
    jobs = [each["job_id"] for each in items]
    told = await local.ask(SourceRejected(digest, "wrong bytes"))
    assert (told.jobs, told.following) == (2, jobs[1])
    await local.source(b"a document")
    await trio.sleep(1.5)  # one look
    assert await statuses(local, jobs) == {"pending"}
