"""The worker endpoints: register, heartbeat, leave, and what an administrator does to a worker."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.lowlevel

from tests.fixtures.local import LocalServer
from tests.web.calls import JSON, assert_problem, raw, token, worker, worker_headers


async def the_worker(local: LocalServer, worker_id: str = "w1") -> Any:
    status, shown = await local.call("GET", f"/api/workers/{worker_id}")
    assert status == 200, shown
    return shown


async def beat(local: LocalServer, body: Any = None, worker_id: str = "w1") -> Any:
    status, answer = await local.call("POST", f"/api/workers/{worker_id}/heartbeat", body)
    assert status == 200, answer
    return answer


async def test_register(local: LocalServer, autojump_clock: Any) -> None:
    body = {"id": "w1", "type": "pdf", "metadata": {"gpu": [1]}, "labels": ["ocr", "big"], "version": "1.2"}
    status, answer = await local.call("POST", "/api/workers/register", body)
    assert (status, answer["status"]) == (200, "registered")
    assert answer["worker_timeout"] == 180
    assert 0 < answer["heartbeat_interval"] < answer["worker_timeout"]
    shown = await the_worker(local)
    assert (shown["status"], shown["enabled"], shown["type"]) == ("online", True, "pdf")
    assert (shown["metadata"], shown["labels"], shown["version"]) == ({"gpu": [1]}, ["ocr", "big"], "1.2")
    assert await local.call("GET", "/api/workers") == (200, [shown])


@pytest.mark.parametrize("id_", ["", " ", " a", "a ", "a/b", "a\u3000b", "a\tb", "a\nb", "x" * 201, "a\u0000"])
async def test_ids_that_are_none(local: LocalServer, autojump_clock: Any, id_: str) -> None:
    answer = await local.call("POST", "/api/workers/register", {"id": id_, "type": "pdf"})
    assert_problem(answer, 422, "invalid", field="id")


async def test_registering_is_a_sign_of_life(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await trio.sleep(170)
    await local.register()
    await trio.sleep(170)
    assert (await the_worker(local))["status"] == "online"
    await trio.sleep(20)
    assert (await the_worker(local))["status"] == "offline"
    assert (await beat(local))["status"] == "ok"
    assert (await the_worker(local))["status"] == "online"


@pytest.mark.parametrize("body", [b"", b"  ", b"{}", b'{"job_id":null}', b'{"jobs":[]}'])
async def test_a_plain_heartbeat(local: LocalServer, autojump_clock: Any, body: bytes) -> None:
    await local.register()
    answer = await raw(local, "POST", "/api/workers/w1/heartbeat", body, Content_Type=JSON if body.strip() else "")
    assert answer.status_code == 200
    assert await answer.get_json() == {"status": "ok", "drain": False, "abandon": [], "lease_expires_at": None}


async def test_a_heartbeat_renews_the_jobs_that_it_names_and_no_other(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.submit(b"1")
    await local.submit(b"2")
    await local.submit(b"3")
    await local.register()
    one, two, _three = (await local.claim(limit=3))["jobs"]
    for _ in range(3):
        await trio.sleep(100)
        answer = await beat(
            local,
            {
                "job_id": one["job"]["id"],
                "jobs": [{"job_id": two["job"]["id"], "lease": two["lease"], "progress": {"stage": "ocr"}}],
            },
        )
        assert answer["abandon"] == []
        assert answer["lease_expires_at"] > one["lease_expires_at"]
    statuses = [(await local.job(job_id))["status"] for job_id in (1, 2, 3)]
    assert statuses == ["running", "running", "pending"], "the worker is alive, but is silent about job 3"
    assert (await local.job(2))["progress"] == {"stage": "ocr"}


async def test_abandon_names_what_this_worker_does_not_hold(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await local.register()
    await local.register("w2")
    await local.claim("w2")
    jobs = [{"job_id": 1}, {"job_id": 77}]
    answer = await beat(local, {"jobs": jobs})
    assert (answer["abandon"], answer["lease_expires_at"]) == ([1, 77], None)
    wrong = await beat(local, {"jobs": [{"job_id": 1, "lease": "stale"}]}, "w2")
    assert wrong["abandon"] == [1]


async def test_late_names_what_may_still_be_completed(local: LocalServer, autojump_clock: Any) -> None:
    """From the end of the lease until somebody starts the job anew."""
    await local.submit()
    await local.register()
    grant = await local.claim()
    named = {"jobs": [{"job_id": 1, "lease": grant["lease"]}]}
    await trio.sleep(local.parts.services.settings.worker_timeout + 1)
    answer = await beat(local, named)
    assert (answer["abandon"], answer["late"]) == ([1], [1])
    assert "late" not in await beat(local, {"jobs": [{"job_id": 1, "lease": "another"}]})
    await local.register("w2")
    assert "late" not in await beat(local, {"jobs": [{"job_id": 1, "lease": grant["lease"]}]}, "w2")
    await local.claim("w2")
    answer = await beat(local, named)
    assert answer["abandon"] == [1]
    assert "late" not in answer


async def test_progress_is_kept_as_it_came(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await local.register()
    await local.claim()
    progress = {
        "stage": "ocr",
        "percent": 12.5,
        "done": 1,
        "total": 8,
        "message": "Seite 1 – ü",
        "own": {"deep": [None]},
    }
    await beat(local, {"job_id": 1, "progress": progress})
    assert (await local.job(1))["progress"] == progress
    await beat(local, {"job_id": 1})
    assert (await local.job(1))["progress"] == progress, "a heartbeat without progress says nothing of it"
    assert (await the_worker(local))["current_job_id"] == 1


async def test_unknown_workers(local: LocalServer, autojump_clock: Any) -> None:
    for verb in ("heartbeat", "unregister", "drain"):
        assert_problem(await local.call("POST", f"/api/workers/x/{verb}"), 404, "no-such-worker")
    for verb in ("regenerate", "enable", "disable"):
        assert_problem(await local.call("POST", f"/api/admin/workers/x/{verb}"), 404, "no-such-worker")
    assert_problem(await local.call("DELETE", "/api/workers/x"), 404, "no-such-worker")
    assert_problem(await local.call("GET", "/api/workers/x"), 404, "no-such-worker")


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/api/workers/w1/unregister", "unregistered"),
        ("DELETE", "/api/workers/w1", "removed"),
        ("POST", "/api/admin/workers/w1/disable", "disabled"),
    ],
)
async def test_who_goes_gives_its_jobs_back_at_once_and_at_no_cost(
    local: LocalServer, autojump_clock: Any, method: str, path: str, said: str
) -> None:
    await local.submit()
    await local.register()
    await local.register("w2")
    await local.claim()
    assert await local.call(method, path) == (200, {"status": said})
    job = await local.job(1)
    assert (job["status"], job["attempts"]) == ("pending", 0)
    assert (await local.claim("w2"))["job"]["id"] == 1


async def test_drain(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await local.register()
    grant = await local.claim()
    assert await local.call("POST", "/api/workers/w1/drain") == (200, {"status": "draining"})
    assert (await the_worker(local))["status"] == "draining"
    answer = await beat(local, {"job_id": 1, "lease": grant["lease"]})
    assert (answer["drain"], answer["abandon"]) == (True, []), "what it runs, it may end"
    assert (await local.call("POST", "/api/jobs/1/complete", {"worker_id": "w1"}))[0] == 200
    assert await local.call("POST", "/api/admin/workers/w1/enable") == (200, {"status": "enabled"})
    assert (await the_worker(local))["status"] == "online"


async def test_a_worker_credential_is_shown_once(local: LocalServer, autojump_clock: Any) -> None:
    status, made = await local.call("POST", "/api/admin/workers", {"id": "w1", "name": "Box", "type": "pdf"})
    assert status == 201
    assert made.keys() == {"id", "name", "type", "secret"}
    assert (made["id"], made["name"], made["type"], made["secret"][:4]) == ("w1", "Box", "pdf", "bfw_")
    again = await local.call("POST", "/api/admin/workers", {"id": "w1", "type": "pdf"})
    assert_problem(again, 409, "worker-exists")
    shown = await the_worker(local)
    assert (shown["name"], shown["status"]) == ("Box", "offline")
    assert not [name for name in shown if "secret" in name or "hash" in name]
    assert made["secret"] not in str(await local.call("GET", "/api/workers"))


async def test_regenerate_and_disable_count_from_now_on(local: LocalServer, autojump_clock: Any) -> None:
    old = await worker(local, "w1")
    status, made = await local.call("POST", "/api/admin/workers/w1/regenerate")
    assert status == 200
    assert made.keys() == {"id", "name", "type", "secret"}
    path = "/api/workers/w1/heartbeat"
    assert_problem(await local.call("POST", path, headers=old), 401, "unauthenticated")
    new = worker_headers("w1", made["secret"])
    assert (await local.call("POST", path, headers=new))[0] == 200
    await local.call("POST", "/api/admin/workers/w1/disable")
    assert_problem(await local.call("POST", path, headers=new), 403, "worker-disabled")
    assert (await the_worker(local))["enabled"] is False
    for call in (local.register("w1", headers=new), local.register("w1")):
        with pytest.raises(AssertionError, match="worker-disabled"):
            await call
    await local.call("POST", "/api/admin/workers/w1/enable")
    assert (await local.call("POST", path, headers=new))[0] == 200


async def test_a_token_cannot_take_over_a_worker_with_a_credential(local: LocalServer, autojump_clock: Any) -> None:
    await worker(local, "w1")
    answer = await local.call("POST", "/api/workers/w1/heartbeat", token=await token(local, "work"))
    assert_problem(answer, 403, "not-yours")
    answer = await local.call(
        "POST", "/api/workers/register", {"id": "w1", "type": "pdf"}, token=await token(local, "work")
    )
    assert_problem(answer, 403, "not-yours")


async def test_a_claim_is_a_sign_of_life_and_takes_a_registration(local: LocalServer, autojump_clock: Any) -> None:
    """A worker that was silent got jobs and stayed offline; one that had unregistered did, too."""
    await local.register()
    await trio.sleep(200)
    assert (await local.call("GET", "/api/workers/w1"))[1]["status"] == "offline"
    assert await local.claim() == {"job": None}
    assert (await local.call("GET", "/api/workers/w1"))[1]["status"] == "online"
    await local.call("POST", "/api/workers/w1/unregister")
    body = {"worker_id": "w1", "job_type": "pdf"}
    assert (await local.call("POST", "/api/jobs/claim", body))[0] == 404
    assert (await local.call("POST", "/api/workers/w1/heartbeat"))[0] == 404
    await local.register()
    assert await local.claim() == {"job": None}


async def test_silence_counts_from_the_last_registration(local: LocalServer, autojump_clock: Any) -> None:
    for _ in range(3):
        await local.register()
        await trio.sleep(local.parts.services.settings.worker_timeout - 10)
    _, shown = await local.call("GET", "/api/workers/w1")
    assert shown["status"] == "online"
    await trio.sleep(20)  # and it is the last registration from which its silence counts
    _, shown = await local.call("GET", "/api/workers/w1")
    assert shown["status"] == "offline"


async def test_a_draining_worker_gets_no_job(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await local.register()
    await local.call("POST", "/api/workers/w1/drain")
    assert await local.claim() == {"job": None}


async def test_a_disabled_worker_gets_no_job_and_only_administrators_enable_it(
    local: LocalServer, autojump_clock: Any
) -> None:
    mine = await worker(local, "w1")
    await local.submit()
    await local.call("POST", "/api/admin/workers/w1/disable")
    refused = await local.call("POST", "/api/jobs/claim", {"job_type": "pdf"}, headers=mine)
    assert_problem(refused, 403, "worker-disabled")
    user = await token(local, "read", "submit", "work")
    assert_problem(await local.call("POST", "/api/admin/workers/w1/enable", token=user), 403, "scope-missing")
