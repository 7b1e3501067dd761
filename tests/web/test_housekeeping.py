"""Deleting jobs, one and many, and the search for orphans, over HTTP."""

from __future__ import annotations

from typing import Any

import trio

from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, finish, token
from tests.web.test_events import stream


def files(local: LocalServer) -> list[str]:
    """The objects in the embedded store, without copies of accepted ones and the mark of the installation."""
    folder = local.folder / "objects"
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.startswith(".")
        and path.relative_to(folder).parts[0] not in ("accepted", "installations")
    )


async def test_a_job_goes_with_its_objects(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await local.submit(b"one", tags=["a"])
    await local.submit(b"two")
    await finish(local)
    assert await local.call("DELETE", "/api/jobs/1") == (204, b"")
    assert_problem(await local.call("GET", "/api/jobs/1"), 404, "no-such-job")
    assert_problem(await local.call("DELETE", "/api/jobs/1"), 404, "no-such-job")
    assert (await local.call("GET", "/api/jobs?tag=a"))[1]["jobs"] == []
    assert (await local.call("GET", "/api/stats"))[1]["total_jobs"] == 1
    await trio.sleep(1)
    (left,) = files(local)
    assert left.startswith("sources/"), "the other job's"


async def test_or_without_them(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await local.submit()
    await finish(local)
    assert (await local.call("DELETE", "/api/jobs/1?objects=false"))[0] == 204
    assert_problem(await local.call("DELETE", "/api/jobs/1?objects=perhaps"), 422, "invalid", field="objects")
    await trio.sleep(100)
    assert len(files(local)) == 2


async def test_a_running_job_stays(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await local.submit()
    await local.claim()
    problem = assert_problem(await local.call("DELETE", "/api/jobs/1"), 409, "job-running")
    assert "Cancel it first" in problem["detail"]
    assert (await local.job(1))["status"] == "running"


async def test_the_same_file_submitted_again_is_converted_again(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    for number in (1, 2, 3):
        assert await local.submit(b"the same") == number
        await finish(local)
        assert (await local.call("DELETE", f"/api/jobs/{number}"))[0] == 204
        await trio.sleep(1)
        assert files(local) == []


async def test_submitted_in_the_moment_of_its_removal(local: LocalServer, autojump_clock: Any) -> None:
    """The commit that begins the deletion is there, and its outcome is not: 503, and it works a moment later."""
    from actors.messages import DeletionsTried, TakeDoomed

    await local.register()
    await local.submit(b"x")
    digest = (await local.job(1))["source_hash"]
    await local.ask(_delete(1))
    taken = await local.ask(TakeDoomed(10))
    assert f"sources/{digest}" in taken.keys
    answer = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": digest})
    assert_problem(answer, 503, "being-removed")
    batch = await local.call("POST", "/api/jobs/batch", {"jobs": [{"type": "pdf", "source_hash": digest}]})
    assert batch[1]["items"][0]["status_code"] == 503
    await local.ask(DeletionsTried((), taken.keys, (), 0))
    assert (await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": digest}))[0] == 201


def _delete(job_id: int) -> Any:
    from actors.messages import DeleteJob

    return DeleteJob(job_id)


async def test_many_by_filter(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    for number in range(4):
        await local.submit(b"%d" % number, tags=["old"] if number else [])
    await local.claim()
    body = {"tag": "old", "dry_run": True}
    assert (await local.call("POST", "/api/jobs/delete", body))[1] == _bulk(3, 3, dry=True)
    assert (await local.call("GET", "/api/stats"))[1]["total_jobs"] == 4
    assert (await local.call("POST", "/api/jobs/delete", {"ids": [1, 2, 99]}))[1] == _bulk(3, 1)
    assert (await local.call("POST", "/api/jobs/delete", {"tag": "old"}))[1] == _bulk(2, 2)
    assert [job["id"] for job in (await local.call("GET", "/api/jobs"))[1]["jobs"]] == [1]
    await trio.sleep(1)
    assert len(files(local)) == 1
    assert_problem(await local.call("POST", "/api/jobs/delete", {}), 422, "invalid", field="ids")


def _bulk(matched: int, changed: int, *, dry: bool = False) -> dict[str, Any]:
    return {"matched": matched, "changed": changed, "refused": matched - changed, "dry_run": dry}


async def test_submitters_take_back_their_own_while_its_source_is_awaited(
    local: LocalServer, autojump_clock: Any
) -> None:
    mine, other = await token(local, "submit"), await token(local, "submit")
    digest = await local.source(b"here")
    for source, status in (("ab" * 32, "uploading"), ("cd" * 32, "uploading"), (digest, "pending")):
        _, made = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": source}, token=mine)
        assert made["status"] == status
    _, made = await local.call(
        "POST", "/api/jobs/batch", {"jobs": [{"type": "pdf", "source_hash": "ef" * 32}]}, token=mine
    )
    assert made["items"][0]["job_id"] == 4
    # A second submission of the same source does not make it the second one's.
    await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": "ab" * 32}, token=other)
    assert_problem(await local.call("DELETE", "/api/jobs/1", token=other), 403, "not-yours")
    assert_problem(await local.call("DELETE", "/api/jobs/3", token=mine), 409, "job-not-uploading")
    for job_id in (1, 4):
        assert (await local.call("DELETE", f"/api/jobs/{job_id}", token=mine))[0] == 204
    assert (await local.call("DELETE", "/api/jobs/2"))[0] == 204, "an administrator deletes any"
    assert_problem(await local.call("DELETE", "/api/jobs/1", token=mine), 404, "no-such-job")


async def test_submitters_delete_nothing_else(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    submitter = await token(local, "submit")
    assert_problem(await local.call("DELETE", "/api/jobs/1", token=submitter), 403, "not-yours")
    for method, path, body in (
        ("POST", "/api/jobs/delete", {"ids": [1]}),
        ("POST", "/api/admin/orphans", {}),
    ):
        assert_problem(await local.call(method, path, body, token=submitter), 403, "scope-missing")
    assert (await local.job(1))["status"] == "pending"


async def test_live_clients_are_told(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    async with stream(local, "?types=job_removed") as events:
        await local.call("DELETE", "/api/jobs/1")
        (frame,) = await events.rest()
        assert (frame.event, frame.data) == ("job_removed", {"job_id": 1, "type": "pdf"})


async def test_a_job_that_waits_for_its_source_is_forgotten_everywhere(
    local: LocalServer, autojump_clock: Any
) -> None:
    status, made = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": "ab" * 32})
    assert (status, made["status"]) == (201, "uploading")
    assert local.parts.intake.awaited == 1
    assert (await local.call("DELETE", "/api/jobs/1"))[0] == 204
    await trio.sleep(100)
    assert local.parts.intake.awaited == 0


async def test_no_search_was_made(local: LocalServer, autojump_clock: Any) -> None:
    status, search = await local.call("GET", "/api/admin/orphans")
    assert (status, search["state"], search["orphans"]) == (200, "never", 0)
