"""Options: a part of what a job is, for workers alone that heed them."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.fixtures.local import LocalServer
from tests.web.calls import HEX, assert_problem


async def submitted(local: LocalServer, options: Any, type_: str = "pdf") -> tuple[int, bool]:
    digest = await local.source(b"a document")
    body = {"type": type_, "source_hash": digest, "options": options}
    status, answer = await local.call("POST", "/api/jobs", body)
    assert status == (200 if answer["existing"] else 201)
    return answer["job_id"], answer["existing"]


async def claimed(local: LocalServer, **more: Any) -> dict[str, Any] | None:
    status, answer = await local.call("POST", "/api/jobs/claim", {"worker_id": "w1", "job_type": "pdf", **more})
    assert status == 200, answer
    job: dict[str, Any] | None = answer["job"]
    return job


async def test_a_job_is_one_by_source_type_and_options(local: LocalServer, autojump_clock: Any) -> None:
    plain, existing = await submitted(local, None)
    assert not existing
    for none in ({}, None):
        assert await submitted(local, none) == (plain, True)
    first, existing = await submitted(local, {"dpi": 300, "lang": ["de", "en"]})
    assert (first != plain, existing) == (True, False)
    assert await submitted(local, {"lang": ["de", "en"], "dpi": 300.0}) == (first, True), "spelled otherwise"
    assert (await submitted(local, {"lang": ["en", "de"], "dpi": 300}))[1] is False
    assert (await submitted(local, {"dpi": 300, "lang": ["de", "en"]}, "ocr"))[1] is False
    assert (await local.job(first))["options"] == {"dpi": 300, "lang": ["de", "en"]}
    assert "options" not in await local.job(plain)
    status, batch = await local.call("POST", "/api/jobs/batch", {"jobs": [
        {"type": "pdf", "source_hash": (await local.job(plain))["source_hash"], "options": options}
        for options in ({"dpi": 300, "lang": ["de", "en"]}, {}, {"dpi": 72})
    ]})  # fmt: skip
    assert status == 200
    assert [item["existing"] for item in batch["items"]] == [True, True, False]


@pytest.mark.parametrize("options", [[], "x", {"a": "x" * 16_384}, {"a": 2**60}])
async def test_what_cannot_be_options_is_refused(local: LocalServer, autojump_clock: Any, options: Any) -> None:
    body = {"type": "pdf", "source_hash": HEX, "options": options}
    problem = assert_problem(await local.call("POST", "/api/jobs", body), 422, "invalid")
    assert "options" in problem["detail"]


async def test_as_much_as_fits_is_kept(local: LocalServer, autojump_clock: Any) -> None:
    options = {"a": "x" * (16_384 - len('{"a":""}'))}
    job_id, _ = await submitted(local, options)
    assert (await local.job(job_id))["options"] == options


async def test_an_existing_worker_gets_no_job_with_options(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    with_options, _ = await submitted(local, {"dpi": 300})
    assert await claimed(local) is None
    assert await claimed(local, accepts=["something", "else"]) is None
    plain, _ = await submitted(local, None)
    job = await claimed(local)
    assert job is not None
    assert job["id"] == plain, "though the other one is older"
    job = await claimed(local, accepts=["options"])
    assert job is not None
    assert (job["id"], job["options"]) == (with_options, {"dpi": 300})


async def test_a_worker_that_heeds_them_takes_both_in_their_order(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    ids = [(await submitted(local, options))[0] for options in (None, {"a": 1}, {"a": 2})]
    _, answer = await local.call(
        "POST", "/api/jobs/claim", {"worker_id": "w1", "job_type": "pdf", "limit": 2, "accepts": ["options"]}
    )
    assert [each["job"]["id"] for each in answer["jobs"]] == ids[:2]
    job = await claimed(local, accepts=["options"])
    assert job is not None
    assert job["id"] == ids[2]


async def test_a_claim_that_waits_is_woken_for_what_it_may_have(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await local.register("w2")
    got: dict[str, Any] = {}

    async def wait(worker: str, **more: Any) -> None:
        body = {"worker_id": worker, "job_type": "pdf", "wait": 30, **more}
        got[worker] = (await local.call("POST", "/api/jobs/claim", body))[1]["job"]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "w1")
        await trio.sleep(1)
        nursery.start_soon(lambda: wait("w2", accepts=["options"]))
        await trio.sleep(1)
        began = trio.current_time()
        job_id, _ = await submitted(local, {"dpi": 300})
        while "w2" not in got:
            await trio.sleep(0.1)
        assert trio.current_time() - began < 5, "though the other one has waited longer"
    assert got["w2"]["id"] == job_id
    assert got["w1"] is None


async def test_the_next_job_with_a_completion_is_of_what_it_says(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    first, _ = await submitted(local, None)
    second, _ = await submitted(local, {"a": 1})
    job = await claimed(local)
    assert job is not None
    complete = f"/api/jobs/{first}/complete"
    _, answer = await local.call("POST", complete, {"worker_id": "w1", "claim_next": True})
    assert answer["next"] == {"job": None}
    await local.call("POST", f"/api/jobs/{first}/retry", {})
    job = await claimed(local)
    assert job is not None
    status, answer = await local.call(
        "POST", complete, {"worker_id": "w1", "claim_next": True, "accepts": ["options"]}
    )
    assert (status, answer["next"]["job"]["id"]) == (200, second)


async def test_what_no_worker_that_is_there_heeds_is_said(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    job_id, _ = await submitted(local, {"dpi": 300})
    assert await claimed(local) is None
    waiting = (await local.job(job_id))["waiting"]
    assert (waiting["code"], "accepts" in waiting["text"]) == ("not-accepted", True)
    _, found = await local.call("GET", "/api/stats/attention")
    assert [(each["type"], each["has_worker"], each["not_accepted"]) for each in found["queues"]] == [
        ("pdf", True, True)
    ]
    await local.register("w2")
    await local.call("POST", "/api/jobs/claim", {"worker_id": "w2", "job_type": "ocr", "accepts": ["options"]})
    assert (await local.job(job_id))["waiting"]["code"] == "next"
    _, found = await local.call("GET", "/api/stats/attention")
    assert [each["not_accepted"] for each in found["queues"]] == [False]
