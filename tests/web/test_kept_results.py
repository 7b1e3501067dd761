"""A result stays until another one takes its place: whatever becomes of the attempts in between."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from blobforge.objects import ObjectStoreError
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, put_output


async def completed(local: LocalServer, content: bytes = b"first", **fields: Any) -> int:
    """A job with an output."""
    job_id = await local.submit(content, **fields)
    await local.register()
    await convert(local, content)
    return job_id


async def convert(local: LocalServer, content: bytes) -> None:
    grant = await local.claim()
    await put_output(local, grant["output_key"], content)
    body = {
        "worker_id": "w1",
        "lease": grant["lease"],
        "output_key": grant["output_key"],
        "result": {"of": str(content)},
    }
    status, answer = await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body)
    assert (status, answer["status"]) == (200, "completed")


async def download(local: LocalServer, job_id: int) -> Any:
    status, answer = await local.call("GET", f"/api/files/{job_id}/output/url")
    assert status == 200, answer
    split = urlsplit(answer["url"])
    status, content = await local.call("GET", f"{split.path}?{split.query}", headers={})
    assert status == 200, content
    return content


async def shown(local: LocalServer, job_id: int) -> tuple[Any, ...]:
    job = await local.job(job_id)
    return job["status"], job.get("result_attempt"), job.get("result")


KEPT = (1, {"of": "b'first'"})


async def test_a_retry_keeps_the_result_until_another_completion(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await completed(local)
    assert await shown(local, job_id) == ("completed", *KEPT)
    await local.call("POST", f"/api/jobs/{job_id}/retry", {})
    assert await shown(local, job_id) == ("pending", *KEPT)
    assert await download(local, job_id) == b"first"
    page = (await local.call("GET", f"/jobs/{job_id}"))[1].decode()
    assert "of attempt 1, kept until another one completes" in page
    grant = await local.claim()
    assert await shown(local, job_id) == ("running", *KEPT)
    await put_output(local, grant["output_key"], b"half of the second")
    assert await download(local, job_id) == b"first"
    body = {"worker_id": "w1", "output_key": grant["output_key"]}
    assert (await local.call("POST", f"/api/jobs/{job_id}/complete", body))[0] == 200
    assert await shown(local, job_id) == ("completed", 2, None)
    assert await download(local, job_id) == b"half of the second"


@pytest.mark.parametrize("end", ["failed", "dead", "cancelled", "lost"])
async def test_a_retry_that_comes_to_nothing_keeps_it_for_good(
    local: LocalServer, autojump_clock: Any, end: str
) -> None:
    job_id = await completed(local)
    await local.call("POST", f"/api/jobs/{job_id}/retry", {"reset_attempts": True})
    await local.claim()
    match end:
        case "failed" | "dead":
            body = {"worker_id": "w1", "error": "no", "retryable": end == "failed"}
            await local.call("POST", f"/api/jobs/{job_id}/fail", body)
        case "cancelled":
            await local.call("POST", f"/api/jobs/{job_id}/cancel")
        case "lost":
            await trio.sleep(400)
    assert await shown(local, job_id) == ("pending" if end == "lost" else end, *KEPT)
    assert await download(local, job_id) == b"first"


async def test_an_unseen_completion_that_is_revoked_gives_the_former_result_back(
    local: LocalServer, autojump_clock: Any
) -> None:
    """The store does not answer when the second attempt completes, and then has nothing of it."""
    job_id = await completed(local)
    await local.call("POST", f"/api/jobs/{job_id}/retry", {})
    grant = await local.claim()
    store: Any = local.parts.services.objects
    found, store.find = store.find, unreachable
    body = {"worker_id": "w1", "output_key": grant["output_key"]}
    assert (await local.call("POST", f"/api/jobs/{job_id}/complete", body))[0] == 200
    store.find = found
    assert (await shown(local, job_id))[:2] == ("completed", 2)
    await trio.sleep(30)
    assert await shown(local, job_id) == ("pending", *KEPT)
    assert await download(local, job_id) == b"first"


async def unreachable(key: str) -> None:
    raise ObjectStoreError("hung")


async def test_a_bulk_retry_leaves_completed_jobs_out_unless_the_status_is_named(
    local: LocalServer, autojump_clock: Any
) -> None:
    done = [await completed(local, b"%d" % number, tags=["x"]) for number in range(3)]
    bad = await local.submit(b"bad", tags=["x"])
    await local.claim()
    await local.call("POST", f"/api/jobs/{bad}/fail", {"worker_id": "w1", "error": "no", "retryable": False})
    status, answer = await local.call("POST", "/api/jobs/retry", {"tag": "x"})
    assert (status, answer["matched"], answer["changed"]) == (200, 4, 1)
    assert [(await local.job(each))["status"] for each in (*done, bad)] == ["completed"] * 3 + ["pending"]
    answer = (await local.call("POST", "/api/jobs/retry", {"tag": "x", "status": "completed"}))[1]
    assert (answer["matched"], answer["changed"]) == (3, 3)


@pytest.mark.parametrize("status", ["completed", "dead", "cancelled", "failed"])
async def test_a_retry_can_be_undone(local: LocalServer, autojump_clock: Any, status: str) -> None:
    job_id = await completed(local) if status == "completed" else await local.submit()
    if status != "completed":
        await local.register()
        await local.claim()
    if status in ("dead", "failed"):
        body = {"worker_id": "w1", "error": "no", "retryable": status == "failed"}
        await local.call("POST", f"/api/jobs/{job_id}/fail", body)
    if status == "cancelled":
        await local.call("POST", f"/api/jobs/{job_id}/cancel")
    before = await local.job(job_id)
    assert before["status"] == status
    body = {"undo": True, "reset_attempts": True, "priority": 1}
    answer = (await local.call("POST", f"/api/jobs/{job_id}/retry", body))[1]
    assert (await local.job(job_id))["priority"] == 1
    undone = await local.call("POST", "/api/jobs/undo", {"undo": answer["undo"]})
    assert undone == (200, {"matched": 1, "changed": 1})
    after = await local.job(job_id)
    for job in (before, after):
        del job["updated_at"]
    assert after == before
    again = await local.call("POST", "/api/jobs/undo", {"undo": answer["undo"]})
    assert_problem(again, 404, "no-such-undo")
    if status == "failed":
        await trio.sleep(60)
        assert (await local.job(job_id))["status"] == "pending", "its back-off goes on"


async def test_what_has_moved_on_since_a_retry_stays(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await completed(local)
    answer = (await local.call("POST", "/api/jobs/retry", {"ids": [job_id], "undo": True}))[1]
    await trio.sleep(1)
    await local.claim()
    assert (await local.call("POST", "/api/jobs/undo", {"undo": answer["undo"]}))[1] == {"matched": 1, "changed": 0}
    assert (await local.job(job_id))["status"] == "running"


async def test_a_result_without_an_output_is_kept_too_and_a_bare_completion_keeps_nothing(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.register()
    for number, result in enumerate(({"pages": 1}, None), start=1):
        job_id = await local.submit(b"%d" % number)
        await local.claim()
        body = {"worker_id": "w1"} | ({"result": result} if result else {})
        await local.call("POST", f"/api/jobs/{job_id}/complete", body)
        await local.call("POST", f"/api/jobs/{job_id}/retry", {})
        assert await shown(local, job_id) == ("pending", 1 if result else None, result)
