"""A result of many files is whole or not there: its worker killed between any two, made again, failed."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.fixtures.local import LocalServer
from tests.web.test_files import put
from tests.web.test_manifest import fetched as manifest_of
from tests.web.test_outputs import fetched, listed

NAMES = [f"page/{n:02}.md" for n in range(50)]


async def claimed(local: LocalServer, worker: str) -> dict[str, Any]:
    await local.register(worker)
    grant: dict[str, Any] = await local.claim(worker)
    assert grant["job"] is not None
    return grant


async def bring(local: LocalServer, grant: dict[str, Any], worker: str, names: list[str], content: str) -> None:
    """Tell of all fifty, and upload these."""
    body = {"job_id": grant["job"]["id"], "lease": grant["lease"], "worker_id": worker, "names": NAMES}
    status, answer = await local.call("POST", "/api/files/upload-url", body)
    assert status == 200, answer
    for each in answer["urls"]:
        if each["name"] in names:
            assert await put(local, each["url"], f"{content} {each['name']}".encode()) == 200


async def complete(local: LocalServer, grant: dict[str, Any], worker: str) -> tuple[int, Any]:
    body = {"worker_id": worker, "lease": grant["lease"], "outputs": "all"}
    return await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body)


async def is_of(local: LocalServer, job_id: int, content: str) -> None:
    assert [each["name"] for each in await listed(local, job_id)] == NAMES
    for name in (NAMES[0], NAMES[24], NAMES[-1]):
        assert await fetched(local, job_id, name) == f"{content} {name}".encode()
    _, [job] = await manifest_of(local)
    assert [(each.name, each.size) for each in job.outputs] == [(name, len(f"{content} {name}")) for name in NAMES]


@pytest.mark.parametrize("brought", [0, 1, 25, 49, 50])
async def test_a_worker_that_is_killed_between_its_files_leaves_nothing_of_them(
    brought: int, local: LocalServer, autojump_clock: Any
) -> None:
    job_id = await local.submit()
    first = await claimed(local, "w1")
    await bring(local, first, "w1", NAMES[:brought], "killed")
    if brought < len(NAMES):  # a completion that says too much is refused, whatever became of the worker
        assert (await complete(local, first, "w1"))[0] == 409
    assert await listed(local, job_id) == []
    await trio.sleep(2 * local.parts.services.settings.worker_timeout)  # silent for good
    await trio.sleep(2 * local.parts.services.settings.retry_backoff)
    second = await claimed(local, "w2")
    assert second["job"]["id"] == job_id
    await bring(local, second, "w2", NAMES[:30], "second")
    assert await listed(local, job_id) == [], "nothing of either before it is accepted"
    await bring(local, second, "w2", NAMES[30:], "second")
    assert (await complete(local, first, "w1"))[0] == 409
    assert (await complete(local, second, "w2"))[0] == 200
    await is_of(local, job_id, "second")


async def test_a_rerun_that_fails_leaves_the_former_result_served(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit()
    first = await claimed(local, "w1")
    await bring(local, first, "w1", NAMES, "first")
    assert (await complete(local, first, "w1"))[0] == 200
    assert (await local.call("POST", f"/api/jobs/{job_id}/retry", {}))[0] == 200
    again = await claimed(local, "w1")
    await bring(local, again, "w1", NAMES[:10], "again")
    await is_of(local, job_id, "first")
    body = {"worker_id": "w1", "lease": again["lease"], "error": "broken", "retryable": False}
    assert (await local.call("POST", f"/api/jobs/{job_id}/fail", body))[0] == 200
    assert (await local.job(job_id))["status"] == "dead"
    await is_of(local, job_id, "first")
