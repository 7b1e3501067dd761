"""Operations over HTTP, carried out by the operator: begun, followed, over a restart, cancelled, taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from actors.messages import AdvanceOperation
from tests.fixtures.local import LocalServer, open_local
from tests.web.calls import assert_problem, raw, token

FORM = "application/x-www-form-urlencoded"
JOBS = 5


async def jobs(local: LocalServer, n: int = JOBS) -> None:
    for number in range(n):
        await local.submit(b"%d" % number, tags=["scan"], source_path=f"/in/{number}.pdf")


async def begin(local: LocalServer, verb: str, **body: Any) -> int:
    status, answer = await local.call("POST", f"/api/jobs/{verb}", body | {"background": True})
    assert status == 202, answer
    assert set(answer) == {"operation"}
    return int(answer["operation"])


async def ended(local: LocalServer, operation: int) -> Any:
    while True:
        status, answer = await local.call("GET", f"/api/operations/{operation}")
        assert status == 200, answer
        if answer["state"] in ("completed", "cancelled", "failed"):
            return answer
        await trio.sleep(0.1)


async def statuses(local: LocalServer, n: int = JOBS) -> list[str]:
    return [(await local.job(job_id))["status"] for job_id in range(1, n + 1)]


async def test_a_bulk_action_goes_on_without_its_client(local: LocalServer, autojump_clock: Any) -> None:
    await jobs(local)
    operation = await begin(local, "cancel", tag="scan")
    done = await ended(local, operation)
    assert done["verb"] == "cancel"
    assert done["asked"] == {"work": {"verb": "cancel"}, "filter": done["asked"]["filter"]}
    assert [done[name] for name in ("matched", "total", "done", "changed", "refused")] == [5, 5, 5, 5, 0]
    assert done["percent"] == 100
    assert done["undo"]["possible"] is True
    assert await statuses(local) == ["cancelled"] * 5
    assert (await local.call("POST", "/api/jobs/cancel", {"tag": "scan"}))[1]["matched"] == 5, "released clients"


async def test_a_dry_run_answers_at_once(local: LocalServer, autojump_clock: Any) -> None:
    await jobs(local)
    body = {"tag": "scan", "background": True, "dry_run": True}
    status, answer = await local.call("POST", "/api/jobs/cancel", body)
    assert (status, answer) == (200, {"matched": 5, "changed": 5, "refused": 0, "dry_run": True})
    assert (await local.call("GET", "/api/operations"))[1] == {"operations": []}


async def test_it_is_taken_back(local: LocalServer, autojump_clock: Any) -> None:
    await jobs(local)
    operation = await begin(local, "tags", tag="scan", add=["new"], remove=["scan"])
    await ended(local, operation)
    assert (await local.job(1))["tags"] == ["new"]
    status, answer = await local.call("POST", f"/api/operations/{operation}/undo")
    assert status == 202
    back = await ended(local, answer["operation"])
    assert (back["verb"], back["undo_of"], back["changed"]) == ("undo", operation, 5)
    assert (await local.job(1))["tags"] == ["scan"]
    again = await local.call("POST", f"/api/operations/{operation}/undo")
    assert_problem(again, 404, "no-such-undo")
    shown = (await local.call("GET", f"/api/operations/{operation}"))[1]
    assert shown["undo"]["undone_by"] == answer["operation"]


async def test_over_a_restart_it_goes_on(
    tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.works.A_TURN", 2)
    async with open_local(tmp_path) as first:
        await jobs(first)
        operation = await begin(first, "cancel", tag="scan")
        while (await first.call("GET", f"/api/operations/{operation}"))[1]["done"] < 2:
            await trio.sleep(0.01)
    async with open_local(tmp_path) as second:
        done = await ended(second, operation)
        assert (done["state"], done["changed"]) == ("completed", 5)
        assert await statuses(second) == ["cancelled"] * 5


async def test_it_is_listed_page_by_page_and_stopped(local: LocalServer, autojump_clock: Any) -> None:
    await jobs(local)
    numbers = [await begin(local, "priority", tag="scan", priority=1 + number) for number in range(3)]
    for number in numbers:
        await ended(local, number)
    status, page = await local.call("GET", "/api/operations?limit=2")
    assert [each["id"] for each in page["operations"]] == numbers[:0:-1]
    rest = (await local.call("GET", f"/api/operations?limit=2&cursor={page['next_cursor']}"))[1]
    assert [each["id"] for each in rest["operations"]] == numbers[:1]
    assert "next_cursor" not in rest
    assert_problem(await local.call("POST", f"/api/operations/{numbers[0]}/cancel"), 409, "operation-ended")
    assert_problem(await local.call("GET", "/api/operations/99"), 404, "no-such-operation")
    local.parts.operator.running |= {-1, -2, -3, -4}  # there is no room for another
    waiting = await begin(local, "cancel", tag="scan")
    status, stopped = await local.call("POST", f"/api/operations/{waiting}/cancel")
    assert (status, stopped["state"], stopped["done"]) == (200, "cancelled", 0)
    # As a form of the dashboard, too, which says so.
    waiting = await begin(local, "cancel", tag="scan")
    stopped = await raw(local, "POST", f"/do/operations/{waiting}/cancel", Content_Type=FORM)
    assert (stopped.status_code, stopped.headers["Location"]) == (303, "/")
    assert (await local.call("GET", f"/api/operations/{waiting}"))[1]["state"] == "cancelled"
    assert await statuses(local) == ["pending"] * 5
    assert status == 200


async def test_with_its_token_it_ends(local: LocalServer, autojump_clock: Any) -> None:
    await jobs(local)
    secret = await token(local, "submit", "read")
    local.parts.operator.running |= {-1, -2, -3, -4}
    body = {"tag": "scan", "background": True}
    _, begun = await local.call("POST", "/api/jobs/cancel", body, token=secret)
    tokens = (await local.call("GET", "/api/admin/tokens"))[1]
    assert (await local.call("DELETE", f"/api/admin/tokens/{max(each['id'] for each in tokens)}"))[0] in (200, 204)
    local.parts.operator.running.clear()
    done = await ended(local, begun["operation"])
    assert (done["state"], done["changed"]) == ("failed", 0)
    assert "revoked" in done["reason"]
    assert await statuses(local) == ["pending"] * 5


async def test_who_may_delete_may_stop_a_deletion(local: LocalServer, autojump_clock: Any) -> None:
    await jobs(local)
    secret = await token(local, "submit", "read")
    operation = await begin(local, "delete", tag="scan")
    answer = await local.call("POST", f"/api/operations/{operation}/cancel", token=secret)
    assert_problem(answer, 403, "scope-missing")
    done = await ended(local, operation)
    assert (done["changed"], done["undo"]["possible"]) == (5, False)
    assert done["undo"]["note"] == "Deleted jobs cannot be brought back."


async def test_claims_go_on_beside_it(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No turn of the writer is longer than its bound, and between two of them it rests."""
    monkeypatch.setattr("actors.works.A_TURN", 2)
    await jobs(local, 9)
    weights = []
    perform = local.parts.writer._transact

    def noted(batch: Any, *more: Any, **others: Any) -> Any:
        weights.extend(len(each.message.jobs) for each in batch if isinstance(each.message, AdvanceOperation))
        return perform(batch, *more, **others)

    monkeypatch.setattr(local.parts.writer, "_transact", noted)
    operation = await begin(local, "priority", tag="scan", priority=5)
    await local.register()
    assert (await local.claim())["job"] is not None
    await ended(local, operation)
    assert weights == [2, 2, 2, 2, 1]
