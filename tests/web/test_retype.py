"""Jobs that wait are given another type: one, many, as an operation, and back."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors.messages import Batch, Claim, Register, Retype
from tests.fixtures.engines import looked_into
from tests.fixtures.local import LocalServer
from tests.store.making import ADMIN, submission
from tests.web.calls import assert_problem, raw


async def retype(local: LocalServer, job_id: int, to: str = "ocr", **more: Any) -> Any:
    status, answer = await local.call("POST", f"/api/jobs/{job_id}/retype", {"to": to, **more})
    assert status == 200, answer
    return answer


async def many(local: LocalServer, path: str = "retype", **body: Any) -> Any:
    status, answer = await local.call("POST", f"/api/jobs/{path}", body)
    assert status in (200, 202), answer
    return answer


async def types(local: LocalServer, n: int) -> list[str]:
    return [(await local.job(number))["type"] for number in range(1, n + 1)]


def counts(local: LocalServer) -> dict[tuple[str, str], int]:
    with looked_into(local.parts.services.settings.database) as database:
        rows = database.probe.rows("job_counts", "status", "type", "n")
    return {(status, type_): n for status, type_, n in rows if n}


async def test_a_job_that_waits_is_given_out_as_the_other_type(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"1", priority=2, tags=["a"], metadata={"k": 1})
    await local.submit(b"2")
    await local.register()
    await local.register("w2", "ocr")
    before = await local.job(1)
    assert await retype(local, 1) == {"status": "updated"}
    after = await local.job(1)
    for changing in ("type", "updated_at", "waiting"):
        before.pop(changing), after.pop(changing)
    assert before == after
    assert counts(local) == {("pending", "pdf"): 1, ("pending", "ocr"): 1}
    assert (await local.claim(limit=5))["jobs"][0]["job"]["id"] == 2
    assert (await local.claim())["job"] is None
    assert (await local.claim("w2", job_type="ocr"))["job"]["id"] == 1
    _, page = await local.call("GET", "/api/jobs?type=ocr")
    assert ([job["id"] for job in page["jobs"]], page["total"]) == ([1], 1)


async def test_those_that_wait_for_the_type_are_woken(local: LocalServer, autojump_clock: Any) -> None:
    await local.register("w2", "ocr")
    await local.submit(b"1")
    found: list[Any] = []

    async def wait() -> None:
        found.append(await local.claim("w2", job_type="ocr", wait=50))
        found.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(5)
        await retype(local, 1)
    assert (found[0]["job"]["id"], found[1] - began < 10) == (1, True)


async def test_what_runs_has_ended_or_has_a_result_stays(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(4):
        await local.submit(b"%d" % number)
    await local.register()
    grant = await local.claim()
    assert_problem(await local.call("POST", "/api/jobs/1/retype", {"to": "ocr"}), 409, "job-not-waiting")
    await local.call("POST", "/api/jobs/2/cancel")
    problem = assert_problem(await local.call("POST", "/api/jobs/2/retype", {"to": "ocr"}), 409, "job-not-waiting")
    assert "Retry it first" in problem["error"]
    done = {"worker_id": "w1", "lease": grant["lease"], "result": {"pages": 1}}
    assert (await local.call("POST", "/api/jobs/1/complete", done))[0] == 200
    problem = assert_problem(await local.call("POST", "/api/jobs/1/retype", {"to": "ocr"}), 409, "job-not-waiting")
    assert "Submit its source as type 'ocr'" in problem["error"], "after a retry it would be refused for its result"
    await local.call("POST", "/api/jobs/1/retry")
    problem = assert_problem(await local.call("POST", "/api/jobs/1/retype", {"to": "ocr"}), 409, "job-not-waiting")
    assert "result" in problem["error"]
    assert_problem(await local.call("POST", "/api/jobs/99/retype", {"to": "ocr"}), 404, "no-such-job")
    assert_problem(await local.call("POST", "/api/jobs/3/retype", {"to": " ocr"}), 422, "invalid")
    assert_problem(await local.call("POST", "/api/jobs/3/retype", {}), 422, "invalid")
    assert await retype(local, 3, "pdf", undo=True) == {"status": "updated"}, "it is that already"
    assert await types(local, 4) == ["pdf"] * 4


async def test_a_source_that_has_a_job_of_the_type_is_refused_by_its_name(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.submit(b"1")
    await local.submit(b"1", type="ocr")
    await local.submit(b"1", type="ocr", options={"dpi": 300})
    problem = assert_problem(await local.call("POST", "/api/jobs/1/retype", {"to": "ocr"}), 409, "job-exists")
    assert "Job 2 (pending)" in problem["error"]
    assert await types(local, 3) == ["pdf", "ocr", "ocr"]
    await retype(local, 3, "pdf")  # other options: another job
    assert counts(local) == {("pending", "pdf"): 2, ("pending", "ocr"): 1}
    await local.call("DELETE", "/api/jobs/2")
    await retype(local, 1)


async def test_one_transaction_may_give_a_type_away_and_take_it(local: LocalServer, autojump_clock: Any) -> None:
    """The former identity is free for the next submission, and two jobs of one source do not become one."""
    await local.ask(submission("a"))
    done = await local.ask(
        Batch((Retype(1, "ocr"), submission("a"), Retype(2, "ocr"), Retype(1, "tiff"), Retype(2, "ocr")))
    )
    assert [getattr(item, "code", None) for item in done.items] == [None, None, "job-exists", None, None]
    assert await types(local, 2) == ["tiff", "ocr"]
    assert counts(local) == {("pending", "tiff"): 1, ("pending", "ocr"): 1}


async def test_waits_stay_and_workers_of_the_former_type_are_forgotten(
    local: LocalServer, autojump_clock: Any
) -> None:
    job_id = await local.submit()
    await local.register()
    await local.register("w2")
    await local.register("w3", "ocr")
    grant = await local.claim()
    await local.call("POST", f"/api/jobs/{job_id}/fail", {"worker_id": "w1", "lease": grant["lease"], "error": "x"})
    failed = await local.job(job_id)
    await retype(local, job_id)
    job = await local.job(job_id)
    assert (job["status"], job["not_before"], job["attempts"]) == ("failed", failed["not_before"], 1)
    await trio.sleep(60)
    assert (await local.job(job_id))["status"] == "pending"
    assert (await local.claim("w3", job_type="ocr"))["job"]["id"] == job_id


async def test_a_lost_worker_does_not_hand_in_late_what_was_another_type(
    local: LocalServer, autojump_clock: Any
) -> None:
    job_id = await local.submit()
    await local.register()
    grant = await local.claim()
    await trio.sleep(300)
    assert (await local.job(job_id))["status"] == "pending"
    await retype(local, job_id)
    done = {"worker_id": "w1", "lease": grant["lease"]}
    assert_problem(await local.call("POST", f"/api/jobs/{job_id}/complete", done), 409, "lease-lost")


async def test_pause_and_limits_are_those_of_the_new_type(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"1")
    await local.submit(b"2")
    await local.register("w2", "ocr")
    await local.call("POST", "/api/types/ocr/pause", {"reason": "no"})
    await retype(local, 1)
    assert (await local.claim("w2", job_type="ocr"))["job"] is None
    assert (await local.job(1))["waiting"]["code"] == "paused"
    await local.call("PATCH", "/api/types/ocr", {"paused": False, "max_running": 1})
    await retype(local, 2)
    assert len((await local.claim("w2", job_type="ocr", limit=5))["jobs"]) == 1


async def test_only_so_many_types(local: LocalServer, autojump_clock: Any) -> None:
    rules = local.parts.writer._rules
    local.parts.writer._rules = type(rules)(max_types=1)
    await local.submit(b"1")
    await local.submit(b"2")
    problem = assert_problem(await local.call("POST", "/api/jobs/1/retype", {"to": "ocr"}), 422, "invalid")
    assert problem["field"] == "to"


async def test_many_by_a_filter_and_back(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(3):
        await local.submit(b"%d" % number, tags=["scan"])
    await local.submit(b"1", type="ocr")  # job 2 has this source
    await local.register()
    await local.claim()  # job 1
    dry = await many(local, type="pdf", tag="scan", to="ocr", dry_run=True)
    assert dry == {"matched": 3, "changed": 2, "refused": 1, "dry_run": True}
    done = await many(local, type="pdf", tag="scan", to="ocr", undo=True)
    assert (done["changed"], done["refused"]) == (1, 2)
    assert await types(local, 4) == ["pdf", "pdf", "ocr", "ocr"]
    assert await many(local, "undo", undo=done["undo"]) == {"matched": 1, "changed": 1}
    assert await types(local, 4) == ["pdf", "pdf", "pdf", "ocr"]
    assert counts(local) == {("running", "pdf"): 1, ("pending", "pdf"): 2, ("pending", "ocr"): 1}


@pytest.mark.parametrize("meanwhile", ["started", "again", "submitted"])
async def test_an_undo_leaves_what_has_moved_on(local: LocalServer, autojump_clock: Any, meanwhile: str) -> None:
    await local.submit(b"1")
    token = (await retype(local, 1, undo=True))["undo"]
    match meanwhile:
        case "started":
            await local.register("w2", "ocr")
            grant = await local.claim("w2", job_type="ocr")
            body = {"worker_id": "w2", "lease": grant["lease"], "cause": "shutdown"}
            await local.call("POST", "/api/jobs/1/release", body)
        case "again":
            await retype(local, 1, "tiff")
        case "submitted":
            assert await local.submit(b"1") == 2
    assert await many(local, "undo", undo=token) == {"matched": 1, "changed": 0}
    assert (await local.job(1))["type"] == ("tiff" if meanwhile == "again" else "ocr")


async def test_as_an_operation_and_back(local: LocalServer, autojump_clock: Any) -> None:
    n = 250
    await local.ask(Batch(tuple(submission(number) for number in range(n))))
    begun = await many(local, type="pdf", to="ocr", background=True)
    await trio.sleep(10)
    _, stands = await local.call("GET", f"/api/operations/{begun['operation']}")
    assert (stands["verb"], stands["state"], stands["changed"]) == ("retype", "completed", n)
    assert counts(local) == {("pending", "ocr"): n}
    await local.ask(Register(ADMIN, "w1", "ocr"))
    first = (await local.ask(Claim(ADMIN, "w1", ("ocr",), 3))).jobs
    assert [job.id for job in first] == [1, 2, 3], "in the order that they had"
    _, back = await local.call("POST", f"/api/operations/{begun['operation']}/undo")
    await trio.sleep(10)
    _, stands = await local.call("GET", f"/api/operations/{back['operation']}")
    assert (stands["state"], stands["changed"]) == ("completed", n - 3)
    assert counts(local) == {("running", "ocr"): 3, ("pending", "pdf"): n - 3}


async def test_a_source_on_its_way_arrives_for_the_new_type(local: LocalServer, autojump_clock: Any) -> None:
    await local.ask(submission("late", ready=False))
    await retype(local, 1)
    assert (await local.job(1))["status"] == "uploading"
    assert counts(local) == {("uploading", "ocr"): 1}


async def test_the_page_says_why_some_were_left(local: LocalServer, autojump_clock: Any) -> None:
    """Not their state alone: one of a type has it already."""
    await local.submit(b"1")
    as_form = {"Content_Type": "application/x-www-form-urlencoded", "Sec_Fetch_Site": "same-origin"}
    answer = await raw(local, "POST", "/do/jobs/retype", b"ids=1&to=pdf&dry_run=true&return_to=/jobs", **as_form)
    assert "they do not wait, are so already, or there is a job" in await answer.get_data(as_text=True)
