"""The job endpoints, sentence by sentence of the contract."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.fixtures.local import LocalServer, open_local
from tests.web.calls import HEX, assert_problem, finish, raw


async def ids(local: LocalServer, query: str = "") -> list[int]:
    status, page = await local.call("GET", f"/api/jobs{query}")
    assert status == 200, page
    return [job["id"] for job in page["jobs"]]


# ------------------------------------------------------------------ submission


async def test_a_new_job_waits_for_its_source(local: LocalServer, autojump_clock: Any) -> None:
    status, made = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX})
    assert status == 201
    assert made.keys() == {"job_id", "existing", "status", "upload_url", "upload_headers"}
    assert (made["existing"], made["status"]) == (False, "uploading")
    assert made["upload_headers"] == {"Content-Type": "application/octet-stream"}
    assert made["upload_url"].startswith("http://")
    await local.register()
    assert await local.claim() == {"job": None}, "handed to nobody"


async def test_a_second_job_of_the_same_type_and_source_is_the_first(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit(b"one")
    digest = (await local.job(job_id))["source_hash"]
    body = {"type": "pdf", "source_hash": digest, "priority": 1}
    assert await local.call("POST", "/api/jobs", body) == (
        200,
        {"job_id": job_id, "existing": True, "status": "pending"},
    )
    assert (await local.job(job_id))["priority"] == 3
    status, other = await local.call("POST", "/api/jobs", {"type": "png", "source_hash": digest})
    assert (status, other["existing"], other["status"]) == (201, False, "pending"), "another type is another job"


async def test_racing_submissions_make_one_job(local: LocalServer, autojump_clock: Any) -> None:
    answers: list[tuple[int, Any]] = []

    async def one() -> None:
        answers.append(await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX}))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)
    assert sorted(status for status, _ in answers) == [200] * 19 + [201]
    assert len({answer["job_id"] for _, answer in answers}) == 1
    assert all("upload_url" in answer for _, answer in answers), "each of them may send the file"


async def test_uploaded_makes_it_pending_once_it_is_there(local: LocalServer, autojump_clock: Any) -> None:
    digest = await local.source(b"content")
    _, made = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX})
    path = f"/api/jobs/{made['job_id']}/uploaded"
    assert_problem(await local.call("POST", path), 409, "source-missing")
    assert (await local.job(made["job_id"]))["status"] == "uploading"
    _, ready = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": digest})
    assert await local.call("POST", f"/api/jobs/{ready['job_id']}/uploaded") == (200, {"status": "pending"})
    assert_problem(await local.call("POST", "/api/jobs/99/uploaded"), 404, "no-such-job")


async def test_the_server_finds_a_source_by_itself(local: LocalServer, autojump_clock: Any) -> None:
    content = b"comes later"
    _, made = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": sha256(content).hexdigest()})
    assert made["status"] == "uploading"
    await local.source(content)  # past our own PUT route, as on S3: nobody tells the server
    await trio.sleep(5)
    assert (await local.job(made["job_id"]))["status"] == "pending"


async def test_a_put_to_the_upload_url_makes_it_pending_at_once(local: LocalServer, autojump_clock: Any) -> None:
    content = b"comes now"
    _, made = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": sha256(content).hexdigest()})
    path = made["upload_url"].split("/", 3)[3]
    answer = await raw(local, "PUT", f"/{path}", content, Content_Type="application/octet-stream", Authorization="")
    assert answer.status_code == 200
    assert (await local.job(made["job_id"]))["status"] == "pending"
    assert (await local.job(made["job_id"]))["source_size"] == len(content)


async def test_a_source_that_never_comes_ends_the_job_with_a_reason(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", upload_timeout=600) as local:
        _, made = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX})
        await trio.sleep(660)
        job = await local.job(made["job_id"])
        assert job["status"] == "dead"
        assert "not uploaded" in job["last_error"]
        assert_problem(await local.call("POST", f"/api/jobs/{made['job_id']}/uploaded"), 409, "job-not-uploading")
        status, again = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX})
        assert (status, again["existing"], again["status"]) == (200, True, "uploading"), "submitting again revives it"
        assert "upload_url" in again


async def test_a_batch_is_answered_item_by_item(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"here")
    here = (await local.job(1))["source_hash"]
    new = f"{1:064x}"
    jobs = [{"type": "pdf", "source_hash": digest} for digest in (here, new, new)]
    status, answer = await local.call("POST", "/api/jobs/batch", {"jobs": jobs})
    assert status == 200
    assert [(item["job_id"], item["existing"], item["status"]) for item in answer["items"]] == [
        (1, True, "pending"),
        (2, False, "uploading"),
        (2, True, "uploading"),
    ]
    assert ["upload_url" in item for item in answer["items"]] == [False, True, True]


@pytest.mark.parametrize(("count", "status"), [(0, 422), (1000, 200), (1001, 422)])
async def test_a_batch_has_up_to_a_thousand(local: LocalServer, autojump_clock: Any, count: int, status: int) -> None:
    jobs = [{"type": "pdf", "source_hash": f"{number:064x}"} for number in range(count)]
    got, answer = await local.call("POST", "/api/jobs/batch", {"jobs": jobs})
    assert got == status
    if status == 200:
        assert len({item["job_id"] for item in answer["items"]}) == count


# ------------------------------------------------------------------ looking


async def test_a_list_is_ordered_by_priority_then_newest(local: LocalServer, autojump_clock: Any) -> None:
    for number, priority in enumerate([3, 1, 3, 5, 1]):
        await local.submit(b"%d" % number, priority=priority)
    assert await ids(local) == [5, 2, 3, 1, 4]
    assert await ids(local, "?limit=2&offset=1") == [2, 3]


async def test_a_cursor_visits_every_job_once(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(23):
        await local.submit(b"%d" % number, priority=1 + number % 5)
    whole = await ids(local, "?limit=100")
    seen: list[int] = []
    cursor = ""
    while True:
        _, page = await local.call("GET", f"/api/jobs?limit=5&cursor={cursor}")
        assert page["total"] == 23
        seen += [job["id"] for job in page["jobs"]]
        cursor = page.get("next_cursor", "")
        if not cursor:
            break
    assert seen == whole


async def test_filters(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"1", tags=["a", "b"], source_path="/in/Report one.pdf")
    await local.submit(b"2", tags=["b"], type="png")
    await local.submit(b"3", source_path="/in/other.pdf")
    await local.register()
    assert (await local.claim())["job"]["id"] == 1
    assert await ids(local, "?status=running") == [1]
    assert await ids(local, "?type=png") == [2]
    assert await ids(local, "?tag=b") == [2, 1]
    assert await ids(local, "?worker=w1") == [1]
    assert await ids(local, "?q=report") == [1]
    assert await ids(local, "?tag=b&type=pdf&status=running&worker=w1&q=Report") == [1]
    assert await ids(local, "?tag=&type=&status=") == [3, 2, 1], "an empty filter is none"
    assert await ids(local, "?tag=nobody") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("offset=10001", "offset"), ("offset=20000", "offset"),
        ("cursor=%00", None), ("cursor=bm9uc2Vuc2U", "cursor"), ("cursor=" + "A" * 300, "cursor"),
        ("cursor=WzksOTldCg", "cursor"), ("q=" + "x" * 501, "q"),
    ],
)  # fmt: skip
async def test_bad_queries(local: LocalServer, autojump_clock: Any, query: str, field: str | None) -> None:
    assert_problem(await local.call("GET", f"/api/jobs?{query}"), 422, "invalid", field=field)


@pytest.mark.parametrize(
    ("query", "limit"),
    [("limit=0", 1), ("limit=-7", 1), ("limit=101", 100), ("limit=1000", 100), ("limit=abc", 50), ("limit=1e3", 50),
     ("limit=" + "9" * 400, 50), ("limit= 7", 7)],
)  # fmt: skip
async def test_limits_as_existing_clients_send_them(
    local: LocalServer, autojump_clock: Any, query: str, limit: int
) -> None:
    status, answer = await local.call("GET", f"/api/jobs?{query}")
    assert (status, answer["limit"]) == (200, limit)


@pytest.mark.parametrize("query", ["offset=-1", "offset=abc", "offset=99999999999999999999"])
async def test_an_offset_that_is_none_is_the_first_page(local: LocalServer, autojump_clock: Any, query: str) -> None:
    """So it was with the original; what is too far is refused all the same (`test_bad_queries`)."""
    job_id = await local.submit()
    status, answer = await local.call("GET", f"/api/jobs?{query}")
    assert (status, answer["offset"], [job["id"] for job in answer["jobs"]]) == (200, 0, [job_id])


async def test_an_unknown_status_finds_nothing(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    status, answer = await local.call("GET", "/api/jobs?status=sleeping")
    assert (status, answer["jobs"], answer["total"], answer["total_exact"]) == (200, [], 0, True)


async def test_details_are_absent_where_null_and_tell_every_attempt(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit(source_path="/in/a.pdf", metadata={"k": [1, None]}, tags=["t"])
    fresh = await local.job(job_id)
    assert fresh["attempt_history"] == []
    assert None not in fresh.values()
    assert not {"worker_id", "started_at", "completed_at", "last_error", "result", "progress"} & fresh.keys()
    await local.register()
    grant = await local.claim()
    trace = {"kind": "ValueError", "traceback": "Traceback ...", "log_tail": "last words"}
    status, _ = await local.call(
        "POST", f"/api/jobs/{job_id}/fail", {"worker_id": "w1", "error": "boom", "lease": grant["lease"]} | trace
    )
    assert status == 200
    failed = await local.job(job_id)
    assert (failed["status"], failed["last_error"]) == ("failed", "boom")
    assert failed["not_before"] > failed["updated_at"]
    await trio.sleep(60)
    await finish(local, result={"pages": 2})
    done = await local.job(job_id)
    assert (done["status"], done["result"], done["output_key"]) == (
        "completed",
        {"pages": 2},
        local.key(job_id, 2),
    )
    first, second = done["attempt_history"]
    assert {name: first[name] for name in ("attempt", "worker_id", "outcome", "error", *trace)} == {
        "attempt": 1, "worker_id": "w1", "outcome": "failed", "error": "boom"} | trace  # fmt: skip
    assert first["started_at"] <= first["ended_at"] <= second["started_at"] <= second["ended_at"]
    assert (second["attempt"], second["outcome"]) == (2, "completed")
    assert_problem(await local.call("GET", "/api/jobs/99"), 404, "no-such-job")


# ------------------------------------------------------------------ retry, cancel, priority


async def in_status(local: LocalServer, status: str) -> int:
    """A job that is in this status."""
    if status == "uploading":
        return int((await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX}))[1]["job_id"])
    job_id = await local.submit(max_attempts=1 if status == "dead" else 3)
    await local.register()
    if status == "cancelled":
        await local.call("POST", f"/api/jobs/{job_id}/cancel")
    elif status == "completed":
        await finish(local)
    elif status != "pending":
        await local.claim()
        if status in ("failed", "dead"):
            await local.call("POST", f"/api/jobs/{job_id}/fail", {"worker_id": "w1", "error": "no"})
    assert (await local.job(job_id))["status"] == status
    return job_id


STATUSES = ("uploading", "pending", "running", "completed", "failed", "dead", "cancelled")


@pytest.mark.parametrize("status", STATUSES)
async def test_retry(local: LocalServer, autojump_clock: Any, status: str) -> None:
    job_id = await in_status(local, status)
    answer = await local.call("POST", f"/api/jobs/{job_id}/retry", {"reset_attempts": True, "priority": 2})
    if status not in ("failed", "dead", "cancelled", "completed"):
        assert_problem(answer, 409, "job-not-retryable")
        assert (await local.job(job_id))["status"] == status
        return
    assert answer == (200, {"status": "retrying"})
    job = await local.job(job_id)
    assert (job["status"], job["attempts"], job["priority"]) == ("pending", 0, 2)
    assert not {"worker_id", "completed_at"} & job.keys()
    assert job.get("result_attempt") == (1 if status == "completed" else None)
    assert (await local.claim())["job"]["id"] == job_id


async def test_retry_without_a_body_keeps_the_attempts(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await in_status(local, "dead")
    assert await local.call("POST", f"/api/jobs/{job_id}/retry") == (200, {"status": "retrying"})
    assert (await local.job(job_id))["attempts"] == 1


@pytest.mark.parametrize("status", STATUSES)
async def test_cancel(local: LocalServer, autojump_clock: Any, status: str) -> None:
    job_id = await in_status(local, status)
    answer = await local.call("POST", f"/api/jobs/{job_id}/cancel")
    if status in ("completed", "dead", "cancelled"):
        assert_problem(answer, 409, "job-ended")
        assert (await local.job(job_id))["status"] == status
        return
    assert answer == (200, {"status": "cancelled"})
    assert (await local.job(job_id))["status"] == "cancelled"


async def test_cancelling_a_running_job_voids_its_lease(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit()
    await local.register()
    grant = await local.claim()
    await local.call("POST", f"/api/jobs/{job_id}/cancel")
    _, beat = await local.call("POST", "/api/workers/w1/heartbeat", {"job_id": job_id})
    assert beat["abandon"] == [job_id], "the worker learns it from the next heartbeat"
    late = {"worker_id": "w1", "output_key": grant["output_key"]}
    assert_problem(await local.call("POST", f"/api/jobs/{job_id}/complete", late), 409, "lease-lost")
    assert (await local.job(job_id))["status"] == "cancelled"


@pytest.mark.parametrize("method", ["PATCH", "POST"])
async def test_priority(local: LocalServer, autojump_clock: Any, method: str) -> None:
    first, second = await local.submit(b"1"), await local.submit(b"2")
    path = f"/api/jobs/{second}/priority"
    assert await local.call(method, path, {"priority": 1}) == (200, {"status": "updated"})
    await local.register()
    assert (await local.claim())["job"]["id"] == second
    assert (await local.claim())["job"]["id"] == first
    for wrong in (0, 6, "1", 1.5, None):
        assert_problem(await local.call(method, path, {"priority": wrong}), 422, "invalid", field="priority")
    assert_problem(await local.call(method, path, {}), 422, "invalid")
    assert_problem(await local.call(method, "/api/jobs/99/priority", {"priority": 1}), 404, "no-such-job")


async def test_racing_submissions_are_one_job(local: LocalServer, autojump_clock: Any) -> None:
    answers: list[tuple[int, Any]] = []

    async def submit() -> None:
        answers.append(await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX}))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(submit)
    assert {code for code, _ in answers} == {200, 201}
    assert len({answer["job_id"] for _, answer in answers}) == 1
