"""A source that has vanished from the store is asked for again, whatever is known of its job."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from tests.fixtures.house import House
from tests.web.calls import finish

CONTENT = b"a document"
BODY = {"type": "pdf", "source_hash": sha256(CONTENT).hexdigest()}


@pytest.mark.parametrize("status", ["pending", "running", "failed", "dead", "cancelled", "completed"])
async def test_submitting_again_looks_and_asks_for_it(house: House, autojump_clock: Any, status: str) -> None:
    job_id = await house.submit(CONTENT)
    await house.register()
    if status == "completed":
        await finish(house)
    elif status == "cancelled":
        await house.call("POST", f"/api/jobs/{job_id}/cancel")
    elif status != "pending":
        await house.claim()
        body = {"worker_id": "w1", "error": "404 for the source", "retryable": status == "failed"}
        if status != "running":
            await house.call("POST", f"/api/jobs/{job_id}/fail", body)
    await house.parts.services.objects.delete(f"sources/{BODY['source_hash']}")
    answer = (await house.call("POST", "/api/jobs", BODY))[1]
    assert (answer["existing"], "upload_url" in answer) == (True, True)
    waits = status in ("pending", "dead")
    assert answer["status"] == ("uploading" if waits else status)
    url = answer["upload_url"].partition("/objects/")[2]
    headers = {"Content-Type": "application/octet-stream"}
    assert (await house.call("PUT", f"/objects/{url}", CONTENT, headers=headers))[0] == 200
    # A dead job whose source is sent again revives, with all its tries.
    assert (await house.job(job_id))["status"] == ("pending" if waits else status)
    if waits:
        assert (await house.claim())["job"]["attempts"] == 1


async def test_who_submits_what_is_there_is_not_asked_for_it(house: House, autojump_clock: Any) -> None:
    await house.submit(CONTENT)
    answer = (await house.call("POST", "/api/jobs", BODY))[1]
    assert answer == {"job_id": 1, "existing": True, "status": "pending"}
