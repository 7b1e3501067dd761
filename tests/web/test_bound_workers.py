"""A worker that an administrator made for one type of jobs asks for that one alone; others ask for what they like."""

from __future__ import annotations

from typing import Any

import pytest

from actors.messages import (
    DeleteToken,
)
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem


async def made_for_pdf(local: LocalServer) -> dict[str, str]:
    """The credential of worker `box`, created for `pdf` and registered."""
    status, made = await local.call("POST", "/api/admin/workers", {"id": "box", "type": "pdf"})
    assert status == 201
    credential = {"X-Worker-ID": "box", "X-Worker-Secret": made["secret"]}
    await local.register("box", "pdf", headers=credential)
    return credential


async def test_a_created_worker_registers_for_its_type_alone(autojump_clock: Any, local: LocalServer) -> None:
    credential = await made_for_pdf(local)
    answer = await local.call("POST", "/api/workers/register", {"id": "box", "type": "epub"}, headers=credential)
    detail = assert_problem(answer, 409, "worker-bound")["detail"]
    assert "'pdf', not 'epub'" in detail
    _, shown = await local.call("GET", "/api/workers/box")
    assert (shown["type"], shown["bound_type"]) == ("pdf", "pdf")


@pytest.mark.parametrize("wanted", [{"job_type": "epub"}, {"job_types": ["pdf", "epub"]}])
async def test_a_created_worker_claims_its_type_alone(autojump_clock: Any, local: LocalServer, wanted: Any) -> None:
    credential = await made_for_pdf(local)
    await local.submit(b"a book", type="epub")
    body = {"worker_id": "box"} | wanted
    assert_problem(await local.call("POST", "/api/jobs/claim", body, headers=credential), 409, "worker-bound")
    # Nor by an administrator's token that acts as it.
    assert_problem(await local.call("POST", "/api/jobs/claim", body), 409, "worker-bound")
    assert (await local.job(1))["status"] == "pending"


async def test_a_new_secret_leaves_the_worker_bound(autojump_clock: Any, local: LocalServer) -> None:
    await made_for_pdf(local)
    _, made = await local.call("POST", "/api/admin/workers/box/regenerate")
    credential = {"X-Worker-ID": "box", "X-Worker-Secret": made["secret"]}
    answer = await local.call("POST", "/api/workers/register", {"id": "box", "type": "epub"}, headers=credential)
    assert_problem(answer, 409, "worker-bound")
    await local.register("box", "pdf", headers=credential)


async def test_a_completion_gives_a_bound_worker_the_next_job_of_its_type(
    autojump_clock: Any, local: LocalServer
) -> None:
    credential = await made_for_pdf(local)
    first, second = await local.submit(b"one"), await local.submit(b"two")
    _, grant = await local.call(
        "POST", "/api/jobs/claim", {"worker_id": "box", "job_type": "pdf"}, headers=credential
    )
    assert grant["job"]["id"] == first
    body = {"worker_id": "box", "lease": grant["lease"], "claim_next": True}
    status, done = await local.call("POST", f"/api/jobs/{first}/complete", body, headers=credential)
    assert (status, done["next"]["job"]["id"]) == (200, second)


async def test_a_worker_that_a_token_registered_is_not_bound(autojump_clock: Any, local: LocalServer) -> None:
    await local.register("free", "pdf")
    await local.register("free", "epub")
    job_id = await local.submit(b"a page", type="page")
    assert (await local.claim("free", job_types=["pdf", "page"]))["job"]["id"] == job_id
    _, shown = await local.call("GET", "/api/workers/free")
    assert "bound_type" not in shown


async def test_workers_of_a_token_that_is_gone_can_be_registered_by_another(
    local: LocalServer, autojump_clock: Any
) -> None:
    made = []
    for name in ("old", "new"):
        status, token = await local.call("POST", "/api/admin/tokens", {"name": name, "scopes": ["work"]})
        assert status == 201
        made.append(token)
    old, new = made
    job_id = await local.submit()
    await local.register(token=old["token"])
    assert (await local.claim())["job"]["id"] == job_id  # as the administrator, who may act as any
    body = {"id": "w1", "type": "pdf"}
    assert (await local.call("POST", "/api/workers/register", body, token=new["token"]))[0] == 403
    await local.ask(DeleteToken(old["id"]))
    assert (await local.call("POST", "/api/workers/register", body, token=new["token"]))[0] == 200
    assert (await local.job(job_id))["status"] == "pending", "what the former holder ran went back"
