"""A source that has vanished from the store is asked for again, whatever is known of its job."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
import trio

from blobforge.objects import ObjectStoreError
from tests.fixtures.local import LocalServer
from tests.web.calls import finish
from web.api.seen import AT_ONCE, LOOKS_WAIT

CONTENT = b"a document"
BODY = {"type": "pdf", "source_hash": sha256(CONTENT).hexdigest()}


@pytest.mark.parametrize("status", ["pending", "running", "failed", "dead", "cancelled", "completed"])
async def test_submitting_again_looks_and_asks_for_it(local: LocalServer, autojump_clock: Any, status: str) -> None:
    job_id = await local.submit(CONTENT)
    await local.register()
    if status == "completed":
        await finish(local)
    elif status == "cancelled":
        await local.call("POST", f"/api/jobs/{job_id}/cancel")
    elif status != "pending":
        await local.claim()
        body = {"worker_id": "w1", "error": "404 for the source", "retryable": status == "failed"}
        if status != "running":
            await local.call("POST", f"/api/jobs/{job_id}/fail", body)
    await local.parts.services.objects.delete(f"sources/{BODY['source_hash']}")
    answer = (await local.call("POST", "/api/jobs", BODY))[1]
    assert (answer["existing"], "upload_url" in answer) == (True, True)
    waits = status in ("pending", "dead")
    assert answer["status"] == ("uploading" if waits else status)
    url = answer["upload_url"].partition("/objects/")[2]
    headers = {"Content-Type": "application/octet-stream"}
    assert (await local.call("PUT", f"/objects/{url}", CONTENT, headers=headers))[0] == 200
    # A dead job whose source is sent again revives, with all its tries.
    assert (await local.job(job_id))["status"] == ("pending" if waits else status)
    if waits:
        assert (await local.claim())["job"]["attempts"] == 1


async def test_who_submits_what_is_there_is_not_asked_for_it(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(CONTENT)
    answer = (await local.call("POST", "/api/jobs", BODY))[1]
    assert answer == {"job_id": 1, "existing": True, "status": "pending"}


async def batch(local: LocalServer, *contents: bytes) -> list[Any]:
    jobs = [{"type": "pdf", "source_hash": sha256(content).hexdigest()} for content in contents]
    status, answer = await local.call("POST", "/api/jobs/batch", {"jobs": jobs})
    assert status == 200
    return list(answer["items"])


async def test_a_batch_looks_too(local: LocalServer, autojump_clock: Any) -> None:
    """As `ingest` submits: of two known documents, the one that vanished is asked for, and the new one."""
    for content in (CONTENT, b"still there"):
        await local.submit(content)
    await local.parts.services.objects.delete(f"sources/{BODY['source_hash']}")
    vanished, there, new = await batch(local, CONTENT, b"still there", b"new")
    assert (vanished["status"], "upload_url" in vanished) == ("uploading", True)
    assert there == {"job_id": 2, "existing": True, "status": "pending"}
    assert (new["existing"], "upload_url" in new) == (False, True)
    url = vanished["upload_url"].partition("/objects/")[2]
    headers = {"Content-Type": "application/octet-stream"}
    assert (await local.call("PUT", f"/objects/{url}", CONTENT, headers=headers))[0] == 200
    assert (await local.job(1))["status"] == "pending"


@pytest.mark.parametrize("hangs", [True, False])
async def test_a_batch_does_not_wait_for_a_store_that_is_away(
    local: LocalServer, autojump_clock: Any, hangs: bool
) -> None:
    contents = [str(number).encode() for number in range(60)]
    for content in contents:
        await local.submit(content)
    asked = 0

    async def head(_key: str) -> None:
        nonlocal asked
        asked += 1
        if hangs:
            await trio.sleep_forever()
        raise ObjectStoreError("away")

    local.parts.services.objects.head = head  # type: ignore[method-assign]
    began = trio.current_time()
    items = await batch(local, *contents)
    assert {item["status"] for item in items} == {"pending"}, "what is known decides"
    assert trio.current_time() - began <= LOOKS_WAIT + 0.1
    assert 0 < asked <= AT_ONCE
