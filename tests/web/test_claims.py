"""Claims, and what workers report about the jobs that they hold."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest
import trio

from tests.fixtures.local import LocalServer, open_local
from tests.web.calls import HEX, assert_problem, finish, put_output, token, worker

NOTHING = {"job": None}


async def report(local: LocalServer, verb: str, grant: Any, **fields: Any) -> tuple[int, Any]:
    """`complete`, `fail` or `release` of this grant, as its worker."""
    body = {"worker_id": grant["job"]["worker_id"]} | fields
    return await local.call("POST", f"/api/jobs/{grant['job']['id']}/{verb}", body)


async def one_running(local: LocalServer, **fields: Any) -> Any:
    """A registered worker that holds one job; the grant."""
    await local.submit(**fields)
    await local.register()
    return await local.claim()


# ------------------------------------------------------------------ claiming


async def test_a_claim_gives_one_job_with_its_urls(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"content")
    await local.register()
    grant = await local.claim()
    assert grant.keys() == {"job", "source_url", "upload_url", "output_key", "lease", "lease_expires_at"}
    assert grant["output_key"] == local.key(1)
    assert grant["lease_expires_at"] > grant["job"]["started_at"]
    assert await local.claim() == NOTHING


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "job_type"), ({"job_type": "pdf", "job_types": ["pdf"]}, "job_type"), ({"job_types": []}, "job_types"),
        ({"job_type": "pdf", "wait": 61}, "wait"), ({"job_type": "pdf", "wait": -1}, "wait"),
        ({"job_type": "pdf", "limit": 0}, "limit"), ({"job_type": "pdf", "limit": 501}, "limit"),
        ({"job_type": "pdf", "claim_key": ""}, "claim_key"),
    ],
)  # fmt: skip
async def test_claims_out_of_bounds(local: LocalServer, autojump_clock: Any, body: Any, field: str) -> None:
    await local.register()
    answer = await local.call("POST", "/api/jobs/claim", {"worker_id": "w1"} | body)
    assert_problem(answer, 422, "invalid", field=field)


async def test_a_claim_needs_a_worker(local: LocalServer, autojump_clock: Any) -> None:
    answer = await local.call("POST", "/api/jobs/claim", {"job_type": "pdf"})
    assert_problem(answer, 422, "invalid", field="worker_id")
    answer = await local.call("POST", "/api/jobs/claim", {"worker_id": "nobody", "job_type": "pdf"})
    assert_problem(answer, 404, "no-such-worker")


async def test_several_types_and_a_limit(local: LocalServer, autojump_clock: Any) -> None:
    for number, type_ in enumerate(["pdf", "png", "tiff", "pdf"]):
        await local.submit(b"%d" % number, type=type_)
    await local.register()
    answer = await local.claim(job_types=["pdf", "png"], limit=500)
    assert answer.keys() == {"jobs"}
    assert [grant["job"]["id"] for grant in answer["jobs"]] == [1, 2, 4]
    assert len({grant["lease"] for grant in answer["jobs"]}) == 3
    assert await local.claim(limit=1) == {"jobs": []}


async def test_a_claim_waits_until_a_job_is_there(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    began = trio.current_time()
    grants: list[Any] = []

    async def wait() -> None:
        grants.append(await local.claim(wait=60))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(20)
        await local.submit()
    assert grants[0]["job"]["id"] == 1
    assert trio.current_time() - began < 21
    began = trio.current_time()
    assert await local.claim(wait=30) == NOTHING
    assert 30 <= trio.current_time() - began < 31


async def test_too_many_long_polls_are_slowed_down(tmp_path: Any, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", max_long_polls=1) as local, trio.open_nursery() as nursery:
        await local.register()
        nursery.start_soon(lambda: local.claim(wait=10))
        await trio.sleep(1)
        body = {"worker_id": "w1", "job_type": "pdf"}
        refused = await local.call("POST", "/api/jobs/claim", body | {"wait": 5})
        assert_problem(refused, 429, "slow-down")
        assert await local.call("POST", "/api/jobs/claim", body) == (200, NOTHING), "a plain claim holds nothing open"


async def test_a_claim_key_makes_a_claim_repeatable(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"1")
    await local.submit(b"2")
    await local.register()
    first = await local.claim(claim_key="k")
    again = await local.claim(claim_key="k")
    assert (again["job"]["id"], again["lease"]) == (first["job"]["id"], first["lease"])
    assert (await local.claim(claim_key="other"))["job"]["id"] != first["job"]["id"]


async def test_a_repeated_claim_gives_no_more_than_it_asks_for(local: LocalServer, autojump_clock: Any) -> None:
    """Else one small claim would stand for 500 jobs in a transaction that counts on its limit."""
    for number in range(3):
        await local.submit(b"%d" % number)
    await local.register()
    first = [each["job"]["id"] for each in (await local.claim(claim_key="k", limit=3))["jobs"]]
    assert [each["job"]["id"] for each in (await local.claim(claim_key="k", limit=2))["jobs"]] == first[:2]
    assert [each["job"]["id"] for each in (await local.claim(claim_key="k", limit=9))["jobs"]] == first


async def test_draining_workers_get_nothing(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await local.register()
    assert await local.call("POST", "/api/workers/w1/drain") == (200, {"status": "draining"})
    assert await local.claim() == NOTHING
    assert await local.claim(wait=10) == NOTHING
    _, beat = await local.call("POST", "/api/workers/w1/heartbeat")
    assert beat["drain"] is True


# ------------------------------------------------------------------ completing


async def test_complete(local: LocalServer, autojump_clock: Any) -> None:
    grant = await one_running(local)
    await put_output(local, grant["output_key"])
    done = {"output_key": grant["output_key"], "result": {"pages": 1}, "lease": grant["lease"]}
    assert await report(local, "complete", grant, **done) == (200, {"status": "completed"})
    # The repetition of an accepted completion, for whom the answer was lost; only the lease proves who asks.
    assert await report(local, "complete", grant, **done) == (200, {"status": "completed"})
    assert_problem(await report(local, "complete", grant, output_key=grant["output_key"]), 409, "lease-lost")


async def test_complete_without_an_output(local: LocalServer, autojump_clock: Any) -> None:
    grant = await one_running(local)
    assert await report(local, "complete", grant, result={"text": "all of it"}) == (200, {"status": "completed"})
    assert "output_key" not in await local.job(1)


@pytest.mark.parametrize(
    "key",
    [
        "outputs/1/1/output", "outputs/1/2/output", "outputs/2/1/output", f"sources/{HEX}", "litestream/generations",
        "outputs/1/1/../../2/1/output", "/outputs/1/1/output", "outputs/1/1/output/", "x", "outputs/1/1/other",
    ],
)  # fmt: skip
async def test_an_output_that_is_foreign_or_absent(local: LocalServer, autojump_clock: Any, key: str) -> None:
    await local.submit(b"two")  # job 2 of another worker, with an output of its own
    grant = await one_running(local, content=b"one")
    await local.register("w2")
    other = await local.claim("w2")
    await put_output(local, other["output_key"])
    assert_problem(await report(local, "complete", grant, output_key=key), 409, "output-missing")
    assert (await local.job(grant["job"]["id"]))["status"] == "running", "it stays running"


async def test_a_checksum_must_match(local: LocalServer, autojump_clock: Any) -> None:
    grant = await one_running(local)
    await put_output(local, grant["output_key"], b"converted")
    wrong = await report(local, "complete", grant, output_key=grant["output_key"], checksum=HEX)
    assert_problem(wrong, 409, "output-missing")
    assert (await local.job(1))["status"] == "running"
    right = sha256(b"converted").hexdigest()
    status, _ = await report(local, "complete", grant, output_key=grant["output_key"], checksum=right)
    assert status == 200


async def test_claim_next_comes_with_the_completion(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"2")
    grant = await one_running(local, content=b"1")
    fields = {"lease": grant["lease"], "claim_next": True}
    status, done = await report(local, "complete", grant, **fields)
    assert status == 200
    assert done["next"]["job"]["id"] != grant["job"]["id"]
    assert {"source_url", "upload_url", "output_key", "lease", "lease_expires_at"} <= done["next"].keys()
    _, repeated = await report(local, "complete", grant, **fields)
    assert repeated["next"]["lease"] == done["next"]["lease"], "a repetition gets the same next job"
    _, last = await report(local, "complete", done["next"], claim_next=True)
    assert last == {"status": "completed", "next": NOTHING}


@pytest.mark.parametrize("verb", ["complete", "fail", "release"])
async def test_who_no_longer_holds_the_job_is_refused(local: LocalServer, autojump_clock: Any, verb: str) -> None:
    lost = await one_running(local)
    await trio.sleep(local.parts.services.settings.worker_timeout + 1)
    await local.register("w2")
    new = await local.claim("w2")
    assert new["job"]["id"] == lost["job"]["id"]
    for lease in (lost["lease"], None, "made up"):
        fields = {"error": "x"} if verb == "fail" else {}
        answer = await report(local, verb, lost, **fields, **({"lease": lease} if lease else {}))
        assert_problem(answer, 409, "lease-lost")
    assert_problem(await report(local, verb, new, lease=lost["lease"]), 409, "lease-lost")
    job = await local.job(1)
    assert (job["status"], job["worker_id"]) == ("running", "w2")


async def test_a_late_completion_is_accepted_while_nobody_has_started_the_job(
    local: LocalServer, autojump_clock: Any
) -> None:
    grant = await one_running(local)
    await trio.sleep(local.parts.services.settings.worker_timeout + 1)
    assert (await local.job(1))["status"] == "pending"
    assert (await report(local, "complete", grant, lease=grant["lease"]))[0] == 200


# ------------------------------------------------------------------ failing, giving back


async def test_fail(local: LocalServer, autojump_clock: Any) -> None:
    grant = await one_running(local, max_attempts=2)
    assert await report(local, "fail", grant, error="boom") == (200, {"status": "failed", "will_retry": True})
    assert await local.claim() == NOTHING, "it waits out its back-off"
    await trio.sleep(60)
    again = await local.claim()
    assert await report(local, "fail", again, error="boom") == (200, {"status": "failed", "will_retry": False})
    assert (await local.job(1))["status"] == "dead"


async def test_fail_for_good(local: LocalServer, autojump_clock: Any) -> None:
    grant = await one_running(local)
    answer = await report(local, "fail", grant, error="encrypted", retryable=False, kind="PermissionError")
    assert answer == (200, {"status": "failed", "will_retry": False})
    assert (await local.job(1))["status"] == "dead"


async def test_a_failure_is_not_lost_over_its_own_length(local: LocalServer, autojump_clock: Any) -> None:
    grant = await one_running(local)
    long = {"error": "e" * 100_000, "kind": "K" * 999, "traceback": "t\0" * 80_000, "log_tail": "l" * 99_999 + "END"}
    assert (await report(local, "fail", grant, **long))[0] == 200
    (attempt,) = (await local.job(1))["attempt_history"]
    assert len(attempt["error"]) <= 8192
    assert "\0" not in attempt["traceback"]
    assert attempt["log_tail"].endswith("END")


async def test_release_costs_no_attempt(local: LocalServer, autojump_clock: Any) -> None:
    grant = await one_running(local)
    assert await report(local, "release", grant, reason="preempted", cause="preempted") == (
        200,
        {"status": "released"},
    )
    job = await local.job(1)
    assert (job["status"], job["attempts"]) == ("pending", 0)
    assert (job["attempt_history"][0]["outcome"], job["attempt_history"][0]["error"]) == ("released", "preempted")
    assert (await local.claim())["job"]["attempts"] == 1


# ------------------------------------------------------------------ lists


async def test_a_list_of_completions_is_answered_item_by_item(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(4):
        await local.submit(b"%d" % number)
    await local.register()
    grants = (await local.claim(limit=4))["jobs"]
    await put_output(local, grants[0]["output_key"])
    own = [{"job_id": grant["job"]["id"], "worker_id": "w1", "lease": grant["lease"]} for grant in grants]
    own[0]["output_key"] = grants[0]["output_key"]
    own[1]["output_key"] = grants[1]["output_key"]  # it is not there
    own[2]["lease"] = "of somebody else"
    jobs = [*own, {"job_id": 99, "worker_id": "w1"}, {"job_id": 1, "worker_id": "nobody"}, own[0]]
    status, answer = await local.call("POST", "/api/jobs/complete", {"jobs": jobs})
    assert status == 200
    kinds = [item.get("status") or (item["status_code"], item["type"].rpartition(":")[2]) for item in answer["items"]]
    assert kinds == [
        "completed", (409, "output-missing"), (409, "lease-lost"), "completed",
        (404, "no-such-job"), (404, "no-such-worker"), "completed",
    ]  # fmt: skip
    assert [item["job_id"] for item in answer["items"]] == [1, 2, 3, 4, 99, 1, 1]
    assert [(await local.job(id_))["status"] for id_ in (1, 2, 3, 4)] == [
        "completed",
        "running",
        "running",
        "completed",
    ]


async def test_a_list_of_failures_is_answered_item_by_item(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"1", max_attempts=1)
    await local.submit(b"2")
    await local.register()
    await local.claim(limit=2)
    jobs = [{"job_id": id_, "worker_id": "w1", "error": "no"} for id_ in (1, 2, 3)]
    _, answer = await local.call("POST", "/api/jobs/fail", {"jobs": jobs})
    assert answer["items"][:2] == [
        {"job_id": 1, "status": "failed", "will_retry": False},
        {"job_id": 2, "status": "failed", "will_retry": True},
    ]
    assert answer["items"][2]["status_code"] == 404


async def test_a_list_names_no_other_worker(local: LocalServer, autojump_clock: Any) -> None:
    mine, _ = await worker(local, "mine"), await worker(local, "other")
    await local.submit(b"1")
    await local.submit(b"2")
    for worker_id in ("mine", "other"):
        await local.claim(worker_id)
    jobs = [{"job_id": 1, "worker_id": "mine"}, {"job_id": 2, "worker_id": "other"}, {"job_id": 2}]
    _, answer = await local.call("POST", "/api/jobs/complete", {"jobs": jobs}, headers=mine)
    assert [item.get("status_code") for item in answer["items"]] == [None, 403, 409]
    assert (await local.job(2))["status"] == "running"


async def test_a_token_works_as_the_workers_that_it_registered(local: LocalServer, autojump_clock: Any) -> None:
    mine, other = await token(local, "work"), await token(local, "work")
    await local.register("a", token=mine)
    await local.register("b", token=mine)
    await local.register("c", token=other)
    await local.submit()
    for worker_id, status in (("c", 403), ("a", 200)):
        body = {"worker_id": worker_id, "job_type": "pdf"}
        assert (await local.call("POST", "/api/jobs/claim", body, token=mine))[0] == status
    for path, body in (("complete", {}), ("fail", {"error": "x"}), ("release", {})):
        answer = await local.call("POST", f"/api/jobs/1/{path}", {"worker_id": "a"} | body, token=other)
        assert_problem(answer, 403, "not-yours")
    answer = await local.call("POST", "/api/workers/register", {"id": "a", "type": "pdf"}, token=other)
    assert_problem(answer, 403, "not-yours")
    assert (await local.call("POST", "/api/workers/a/heartbeat", {"job_id": 1}, token=mine))[1]["abandon"] == []


async def test_what_finish_leaves(local: LocalServer, autojump_clock: Any) -> None:
    """The whole of a job's life as its worker drives it, once, for the counters."""
    await local.submit()
    await local.register()
    await finish(local)
    _, stats = await local.call("GET", "/api/stats")
    assert (stats["total_jobs"], stats["completed_jobs"], stats["pending_jobs"], stats["running_jobs"]) == (
        1,
        1,
        0,
        0,
    )
