"""Batches in the API: made, filled, followed and ended; cancelled, retried and deleted by operations."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from tests.fixtures.local import LocalServer
from tests.web.calls import HEX, assert_problem, raw
from tests.web.test_chains import claimed
from tests.web.test_outputs import brought, completed


async def made(local: LocalServer, name: str = "scans", **more: Any) -> int:
    status, answer = await local.call("POST", "/api/batches", {"name": name, **more})
    assert (status, answer["name"]) == (201, name)
    return int(answer["id"])


async def shown(local: LocalServer, batch: int) -> dict[str, Any]:
    status, answer = await local.call("GET", f"/api/batches/{batch}")
    assert status == 200, answer
    return dict(answer)


async def done(local: LocalServer, method: str, path: str, body: Any = None) -> dict[str, Any]:
    """The operation that it is done by, when it has ended."""
    status, answer = await local.call(method, path, body)
    assert status == 202, answer
    await trio.sleep(30)
    _, operation = await local.call("GET", f"/api/operations/{answer['operation']}")
    assert operation["state"] == "completed", operation
    return dict(operation)


async def test_from_its_making_to_its_manifest(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    batch = await made(local, metadata={"for": "acme"})
    for number in range(3):
        await local.submit(b"%d" % number, batch=batch, source_path=f"{number}.pdf")
    await local.submit(b"another's")
    found = await shown(local, batch)
    assert (found["state"], found["total"], found["percent"], found["metadata"]) == ("open", 3, 0.0, {"for": "acme"})
    assert (found["eta"]["low_seconds"], found["eta"]["words"]) == (None, "Unknown: pdf: jobs wait, and none runs.")
    job = await local.job(1)
    assert (job["batch"], "batches" in job, "batch" in await local.job(4)) == (batch, False, False)
    _, page = await local.call("GET", f"/api/jobs?batch={batch}&status=pending")
    assert ([each["id"] for each in page["jobs"]], page["total"]) == ([3, 2, 1], 3)
    claimed = (await local.claim())["job"]["id"]
    await local.call("POST", f"/api/jobs/{claimed}/complete", {"worker_id": "w1"})
    status, closed = await local.call("POST", f"/api/batches/{batch}/close")
    assert (status, closed["state"], closed["counts"]["completed"], closed["percent"]) == (200, "closed", 1, 33.3)
    answer = await raw(local, "GET", f"/api/batches/{batch}/manifest")
    lines = (await answer.get_data(as_text=False)).splitlines()
    assert [json.loads(line).get("job_id") for line in lines[1:-1]] == [1, 2, 3]
    assert json.loads(lines[0])["filter"] == {"batch": batch}
    assert assert_problem(await local.call("GET", "/api/batches/9/manifest"), 404, "no-such-batch")


async def test_the_answers_of_those_that_submit_for_a_second_one(local: LocalServer, autojump_clock: Any) -> None:
    first, second = await made(local, "a"), await made(local, "b")
    body = {"type": "pdf", "source_hash": HEX, "batch": first}
    _, answer = await local.call("POST", "/api/jobs", body)
    assert (answer["existing"], answer["batches"]) == (False, [first])
    _, answer = await local.call("POST", "/api/jobs/batch", {"jobs": [body | {"batch": second}, body | {"batch": 9}]})
    there, refused = answer["items"]
    assert (there["existing"], there["batches"]) == (True, [first, second])
    assert (refused["status_code"], refused["type"], refused["field"]) == (
        404, "urn:blobforge:problem:no-such-batch", "batch",
    )  # fmt: skip
    job = await local.job(1)
    assert (job["batch"], job["batches"]) == (first, [first, second])
    await local.call("POST", f"/api/batches/{second}/close")
    other = {"type": "png", "source_hash": HEX, "batch": second}
    assert "closed" in assert_problem(await local.call("POST", "/api/jobs", other), 409, "batch-closed")["detail"]


async def test_cancelled_retried_and_deleted_as_a_whole(local: LocalServer, autojump_clock: Any) -> None:
    first, second = await made(local, "a"), await made(local, "b")
    for number in range(3):
        await local.submit(b"%d" % number, batch=first)
    await local.submit(b"2", batch=second)
    refused = await local.call("DELETE", f"/api/batches/{first}?results=true")
    assert "jobs have not ended (3)" in assert_problem(refused, 409, "batch-running")["detail"]
    operation = await done(local, "POST", f"/api/batches/{first}/cancel", {"reason": "a wrong scanner"})
    assert (operation["verb"], operation["changed"]) == ("cancel", 3)
    found = await shown(local, first)
    assert (found["state"], found["counts"]["cancelled"], found["endings"]) == ("ended", 3, 1)
    assert "a wrong scanner" in (await local.job(1))["last_error"]
    operation = await done(local, "POST", f"/api/batches/{first}/retry")
    assert operation["matched"] == 0, "none of them has failed"
    operation = await done(local, "POST", f"/api/batches/{first}/retry", {"cancelled": True})
    assert operation["changed"] == 3
    found = await shown(local, first)
    assert (found["state"], found["unfinished"], "ended_at" in found) == ("closed", 3, False)
    await done(local, "POST", f"/api/batches/{first}/cancel")
    assert (await shown(local, first))["endings"] == 2
    operation = await done(local, "DELETE", f"/api/batches/{first}?results=true")
    assert (operation["verb"], operation["changed"], operation["undo"]["possible"]) == ("delete-batch", 3, False)
    assert_problem(await local.call("GET", f"/api/batches/{first}"), 404, "no-such-batch")
    assert_problem(await local.call("GET", "/api/jobs/1"), 404, "no-such-job")
    assert (await local.job(3))["batch"] == second, "which is another's, too"
    await done(local, "DELETE", f"/api/batches/{second}")
    assert "batch" not in await local.job(3)


async def test_a_retry_of_what_is_dead_or_cancelled_leaves_what_waits_out_its_back_off(
    local: LocalServer, autojump_clock: Any
) -> None:
    batch = await made(local, "a")
    assert (await local.call("PATCH", "/api/types/pdf", {"retry_backoff": 86_400}))[0] == 200
    await local.register()
    for number in range(3):
        await local.submit(b"%d" % number, batch=batch)
    grant = await local.claim()
    body = {"worker_id": "w1", "lease": grant["lease"], "error": "the service is down"}
    await local.call("POST", f"/api/jobs/{grant['job']['id']}/fail", body)
    await local.call("POST", "/api/jobs/3/cancel")
    operation = await done(local, "POST", f"/api/batches/{batch}/retry", {"cancelled": True})
    assert operation["changed"] == 1
    assert [(await local.job(job_id))["status"] for job_id in (1, 2, 3)] == ["failed", "pending", "pending"]


async def test_listed_newest_first(local: LocalServer, autojump_clock: Any) -> None:
    for name in "abc":
        await made(local, name)
    await local.call("POST", "/api/batches/2/close")
    again = await made(local, "b")
    _, page = await local.call("GET", "/api/batches?limit=2")
    assert ([each["id"] for each in page["batches"]], page["next_cursor"]) == ([again, 3], 3)
    _, page = await local.call("GET", "/api/batches?limit=2&cursor=3")
    assert ([each["id"] for each in page["batches"]], "next_cursor" in page) == ([2, 1], False)
    _, page = await local.call("GET", "/api/batches?name=b")
    assert [each["state"] for each in page["batches"]] == ["open", "ended"]
    _, page = await local.call("GET", "/api/batches?going=true")
    assert [each["id"] for each in page["batches"]] == [again, 3, 1]


@pytest.mark.parametrize("name", ["", "17", "a/b", " a", "a" * 201, "a\nb", 7])
async def test_what_is_no_name_is_refused(local: LocalServer, autojump_clock: Any, name: Any) -> None:
    found = await local.call("POST", "/api/batches", {"name": name})
    assert assert_problem(found, 422, "invalid")["field"] == "name"


async def test_the_name_of_an_open_one_is_taken(local: LocalServer, autojump_clock: Any) -> None:
    await made(local)
    found = assert_problem(await local.call("POST", "/api/batches", {"name": "scans"}), 409, "batch-exists")
    assert found["detail"] == "Batch 1 is open, and is called scans. Go on with it, or close it."
    assert (await local.call("POST", "/api/batches", {"name": "scans", "closed": True}))[0] == 201


async def test_a_page_that_turns_out_to_be_a_job_that_is_there_is_none_that_is_gone(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.register()
    batch = await made(local)
    await local.submit(b"blank", type="ocr")
    await local.submit(b"a document", batch=batch, then=[{"type": "ocr"}])
    await local.call("POST", f"/api/batches/{batch}/close")
    await brought(local, grant := await claimed(local), "blank", "text")
    assert (await completed(local, grant, "all"))[0] == 200
    await trio.sleep(5)
    found = await shown(local, batch)
    assert (found["total"], found["counts"]["completed"], found["counts"]["pending"]) == (3, 1, 2)
    assert found["counts"]["gone"] == 0
    assert (await local.call("DELETE", "/api/jobs/1"))[0] == 204
    assert (await shown(local, batch))["counts"]["gone"] == 1


async def test_a_form_closes_one_that_has_metadata(local: LocalServer, autojump_clock: Any) -> None:
    batch = await made(local, metadata={"for": ["acme"]})
    closed = await raw(local, "POST", f"/do/batches/{batch}/close", Content_Type="application/x-www-form-urlencoded")
    assert closed.status_code == 303
    assert (await shown(local, batch))["state"] == "ended"
