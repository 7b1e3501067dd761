"""The worker endpoints: register, heartbeat, leave, and what an administrator does to a worker."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.lowlevel

from tests.fixtures.house import House
from tests.web.calls import JSON, assert_problem, raw, token, worker, worker_headers


async def the_worker(house: House, worker_id: str = "w1") -> Any:
    status, shown = await house.call("GET", f"/api/workers/{worker_id}")
    assert status == 200, shown
    return shown


async def beat(house: House, body: Any = None, worker_id: str = "w1") -> Any:
    status, answer = await house.call("POST", f"/api/workers/{worker_id}/heartbeat", body)
    assert status == 200, answer
    return answer


async def test_register(house: House, autojump_clock: Any) -> None:
    body = {"id": "w1", "type": "pdf", "metadata": {"gpu": [1]}, "labels": ["ocr", "big"], "version": "1.2"}
    status, answer = await house.call("POST", "/api/workers/register", body)
    assert (status, answer["status"]) == (200, "registered")
    assert answer["worker_timeout"] == 180
    assert 0 < answer["heartbeat_interval"] < answer["worker_timeout"]
    shown = await the_worker(house)
    assert (shown["status"], shown["enabled"], shown["type"]) == ("online", True, "pdf")
    assert (shown["metadata"], shown["labels"], shown["version"]) == ({"gpu": [1]}, ["ocr", "big"], "1.2")
    assert await house.call("GET", "/api/workers") == (200, [shown])


@pytest.mark.parametrize("id_", ["", " ", " a", "a ", "a/b", "a\u3000b", "a\tb", "a\nb", "x" * 201, "a\u0000"])
async def test_ids_that_are_none(house: House, autojump_clock: Any, id_: str) -> None:
    answer = await house.call("POST", "/api/workers/register", {"id": id_, "type": "pdf"})
    assert_problem(answer, 422, "invalid", field="id")


async def test_registering_is_a_sign_of_life(house: House, autojump_clock: Any) -> None:
    await house.register()
    await trio.sleep(170)
    await house.register()
    await trio.sleep(170)
    assert (await the_worker(house))["status"] == "online"
    await trio.sleep(20)
    assert (await the_worker(house))["status"] == "offline"
    assert (await beat(house))["status"] == "ok"
    assert (await the_worker(house))["status"] == "online"


@pytest.mark.parametrize("body", [b"", b"  ", b"{}", b'{"job_id":null}', b'{"jobs":[]}'])
async def test_a_plain_heartbeat(house: House, autojump_clock: Any, body: bytes) -> None:
    await house.register()
    answer = await raw(house, "POST", "/api/workers/w1/heartbeat", body, Content_Type=JSON if body.strip() else "")
    assert answer.status_code == 200
    assert await answer.get_json() == {"status": "ok", "drain": False, "abandon": [], "lease_expires_at": None}


async def test_a_heartbeat_renews_the_jobs_that_it_names_and_no_other(house: House, autojump_clock: Any) -> None:
    await house.submit(b"1")
    await house.submit(b"2")
    await house.submit(b"3")
    await house.register()
    one, two, _three = (await house.claim(limit=3))["jobs"]
    for _ in range(3):
        await trio.sleep(100)
        answer = await beat(
            house,
            {
                "job_id": one["job"]["id"],
                "jobs": [{"job_id": two["job"]["id"], "lease": two["lease"], "progress": {"stage": "ocr"}}],
            },
        )
        assert answer["abandon"] == []
        assert answer["lease_expires_at"] > one["lease_expires_at"]
    statuses = [(await house.job(job_id))["status"] for job_id in (1, 2, 3)]
    assert statuses == ["running", "running", "pending"], "the worker is alive, but is silent about job 3"
    assert (await house.job(2))["progress"] == {"stage": "ocr"}


async def test_abandon_names_what_this_worker_does_not_hold(house: House, autojump_clock: Any) -> None:
    await house.submit()
    await house.register()
    await house.register("w2")
    await house.claim("w2")
    jobs = [{"job_id": 1}, {"job_id": 77}]
    answer = await beat(house, {"jobs": jobs})
    assert (answer["abandon"], answer["lease_expires_at"]) == ([1, 77], None)
    wrong = await beat(house, {"jobs": [{"job_id": 1, "lease": "stale"}]}, "w2")
    assert wrong["abandon"] == [1]


async def test_late_names_what_may_still_be_completed(house: House, autojump_clock: Any) -> None:
    """From the end of the lease until somebody starts the job anew."""
    await house.submit()
    await house.register()
    grant = await house.claim()
    named = {"jobs": [{"job_id": 1, "lease": grant["lease"]}]}
    await trio.sleep(house.parts.services.settings.worker_timeout + 1)
    answer = await beat(house, named)
    assert (answer["abandon"], answer["late"]) == ([1], [1])
    assert "late" not in await beat(house, {"jobs": [{"job_id": 1, "lease": "another"}]})
    await house.register("w2")
    assert "late" not in await beat(house, {"jobs": [{"job_id": 1, "lease": grant["lease"]}]}, "w2")
    await house.claim("w2")
    answer = await beat(house, named)
    assert answer["abandon"] == [1]
    assert "late" not in answer


async def test_progress_is_kept_as_it_came(house: House, autojump_clock: Any) -> None:
    await house.submit()
    await house.register()
    await house.claim()
    progress = {
        "stage": "ocr",
        "percent": 12.5,
        "done": 1,
        "total": 8,
        "message": "Seite 1 – ü",
        "own": {"deep": [None]},
    }
    await beat(house, {"job_id": 1, "progress": progress})
    assert (await house.job(1))["progress"] == progress
    await beat(house, {"job_id": 1})
    assert (await house.job(1))["progress"] == progress, "a heartbeat without progress says nothing of it"
    assert (await the_worker(house))["current_job_id"] == 1


async def test_unknown_workers(house: House, autojump_clock: Any) -> None:
    for verb in ("heartbeat", "unregister", "drain"):
        assert_problem(await house.call("POST", f"/api/workers/x/{verb}"), 404, "no-such-worker")
    for verb in ("regenerate", "enable", "disable"):
        assert_problem(await house.call("POST", f"/api/admin/workers/x/{verb}"), 404, "no-such-worker")
    assert_problem(await house.call("DELETE", "/api/workers/x"), 404, "no-such-worker")
    assert_problem(await house.call("GET", "/api/workers/x"), 404, "no-such-worker")


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("POST", "/api/workers/w1/unregister", "unregistered"),
        ("DELETE", "/api/workers/w1", "removed"),
        ("POST", "/api/admin/workers/w1/disable", "disabled"),
    ],
)
async def test_who_goes_gives_its_jobs_back_at_once_and_at_no_cost(
    house: House, autojump_clock: Any, method: str, path: str, said: str
) -> None:
    await house.submit()
    await house.register()
    await house.register("w2")
    await house.claim()
    assert await house.call(method, path) == (200, {"status": said})
    job = await house.job(1)
    assert (job["status"], job["attempts"]) == ("pending", 0)
    assert (await house.claim("w2"))["job"]["id"] == 1


async def test_drain(house: House, autojump_clock: Any) -> None:
    await house.submit()
    await house.register()
    grant = await house.claim()
    assert await house.call("POST", "/api/workers/w1/drain") == (200, {"status": "draining"})
    assert (await the_worker(house))["status"] == "draining"
    answer = await beat(house, {"job_id": 1, "lease": grant["lease"]})
    assert (answer["drain"], answer["abandon"]) == (True, []), "what it runs, it may end"
    assert (await house.call("POST", "/api/jobs/1/complete", {"worker_id": "w1"}))[0] == 200
    assert await house.call("POST", "/api/admin/workers/w1/enable") == (200, {"status": "enabled"})
    assert (await the_worker(house))["status"] == "online"


async def test_a_worker_credential_is_shown_once(house: House, autojump_clock: Any) -> None:
    status, made = await house.call("POST", "/api/admin/workers", {"id": "w1", "name": "Box", "type": "pdf"})
    assert status == 201
    assert made.keys() == {"id", "name", "type", "secret"}
    assert (made["id"], made["name"], made["type"], made["secret"][:4]) == ("w1", "Box", "pdf", "bfw_")
    again = await house.call("POST", "/api/admin/workers", {"id": "w1", "type": "pdf"})
    assert_problem(again, 409, "worker-exists")
    shown = await the_worker(house)
    assert (shown["name"], shown["status"]) == ("Box", "offline")
    assert not [name for name in shown if "secret" in name or "hash" in name]
    assert made["secret"] not in str(await house.call("GET", "/api/workers"))


async def test_regenerate_and_disable_count_from_now_on(house: House, autojump_clock: Any) -> None:
    old = await worker(house, "w1")
    status, made = await house.call("POST", "/api/admin/workers/w1/regenerate")
    assert status == 200
    assert made.keys() == {"id", "name", "type", "secret"}
    path = "/api/workers/w1/heartbeat"
    assert_problem(await house.call("POST", path, headers=old), 401, "unauthenticated")
    new = worker_headers("w1", made["secret"])
    assert (await house.call("POST", path, headers=new))[0] == 200
    await house.call("POST", "/api/admin/workers/w1/disable")
    assert_problem(await house.call("POST", path, headers=new), 403, "worker-disabled")
    assert (await the_worker(house))["enabled"] is False
    for call in (house.register("w1", headers=new), house.register("w1")):
        with pytest.raises(AssertionError, match="worker-disabled"):
            await call
    await house.call("POST", "/api/admin/workers/w1/enable")
    assert (await house.call("POST", path, headers=new))[0] == 200


async def test_a_token_cannot_take_over_a_worker_with_a_credential(house: House, autojump_clock: Any) -> None:
    await worker(house, "w1")
    answer = await house.call("POST", "/api/workers/w1/heartbeat", token=await token(house, "work"))
    assert_problem(answer, 403, "not-yours")
    answer = await house.call(
        "POST", "/api/workers/register", {"id": "w1", "type": "pdf"}, token=await token(house, "work")
    )
    assert_problem(answer, 403, "not-yours")


async def test_a_claim_is_a_sign_of_life_and_takes_a_registration(house: House, autojump_clock: Any) -> None:
    """A worker that was silent got jobs and stayed offline; one that had unregistered did, too."""
    await house.register()
    await trio.sleep(200)
    assert (await house.call("GET", "/api/workers/w1"))[1]["status"] == "offline"
    assert await house.claim() == {"job": None}
    assert (await house.call("GET", "/api/workers/w1"))[1]["status"] == "online"
    await house.call("POST", "/api/workers/w1/unregister")
    body = {"worker_id": "w1", "job_type": "pdf"}
    assert (await house.call("POST", "/api/jobs/claim", body))[0] == 404
    assert (await house.call("POST", "/api/workers/w1/heartbeat"))[0] == 404
    await house.register()
    assert await house.claim() == {"job": None}


async def test_silence_counts_from_the_last_registration(house: House, autojump_clock: Any) -> None:
    for _ in range(3):
        await house.register()
        await trio.sleep(house.parts.services.settings.worker_timeout - 10)
    _, shown = await house.call("GET", "/api/workers/w1")
    assert shown["status"] == "online"
    await trio.sleep(20)  # and it is the last registration from which its silence counts
    _, shown = await house.call("GET", "/api/workers/w1")
    assert shown["status"] == "offline"


async def test_a_draining_worker_gets_no_job(house: House, autojump_clock: Any) -> None:
    await house.submit()
    await house.register()
    await house.call("POST", "/api/workers/w1/drain")
    assert await house.claim() == {"job": None}


async def test_a_disabled_worker_gets_no_job_and_only_administrators_enable_it(
    house: House, autojump_clock: Any
) -> None:
    mine = await worker(house, "w1")
    await house.submit()
    await house.call("POST", "/api/admin/workers/w1/disable")
    refused = await house.call("POST", "/api/jobs/claim", {"job_type": "pdf"}, headers=mine)
    assert_problem(refused, 403, "worker-disabled")
    user = await token(house, "read", "submit", "work")
    assert_problem(await house.call("POST", "/api/admin/workers/w1/enable", token=user), 403, "scope-missing")
