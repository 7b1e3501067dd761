"""Many workers removed at once: by their ids or by a filter."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import trio

from actors.messages import Batch, BatchDone, Drain, EnableWorker, RemoveWorker, WorkerChanged
from actors.works import pages_of_workers
from blobforge.refusals import Refusal, RefusalCode
from blobforge.worker import WorkerFilter
from tests.fixtures.local import LocalServer, virtual_now
from tests.web.calls import assert_problem, raw, stream, token, worker


async def ids(local: LocalServer) -> list[str]:
    answer = await raw(local, "GET", "/api/workers")
    return [each["id"] for each in msgspec.json.decode(await answer.get_data(as_text=False))]


async def removed(local: LocalServer, **body: Any) -> tuple[int, int]:
    status, answer = await local.call("POST", "/api/workers/remove", body)
    assert status == 200, answer
    return answer["matched"], answer["changed"]


async def fleet(local: LocalServer) -> None:
    """a, b: offline, b of type ocr; c: online; d: drains; e: disabled."""
    for worker_id in "abcde":
        await local.register(worker_id, "ocr" if worker_id == "b" else "pdf")
    for path in ("workers/a/unregister", "workers/b/unregister", "workers/d/drain", "admin/workers/e/disable"):
        assert (await local.call("POST", f"/api/{path}"))[0] == 200


@pytest.mark.parametrize(
    ("asked", "matched", "left"),
    [
        ({"type": "pdf"}, 4, "bcde"),  # what is at work goes only where its status is named
        ({"status": "offline"}, 3, "cde"),
        ({"status": "online"}, 1, "abde"),
        ({"status": "draining", "type": "pdf"}, 1, "abce"),
        ({"q": "B"}, 1, "acde"),
        ({"ids": ["a", "c", "e", "nobody", "a"]}, 4, "bd"),
        ({"type": "none"}, 0, "abcde"),
    ],
)
async def test_those_that_match_go(
    local: LocalServer, autojump_clock: Any, asked: dict[str, Any], matched: int, left: str
) -> None:
    await fleet(local)
    gone = 5 - len(left)
    assert await removed(local, **asked, dry_run=True) == (matched, gone)
    assert await ids(local) == list("abcde"), "a dry run removes none"
    assert await removed(local, **asked) == (matched, gone)
    assert await ids(local) == list(left)


@pytest.mark.parametrize(
    ("asked", "matched", "drained"),
    [
        ({"ids": ["a", "c", "d", "e", "nobody", "a"]}, 5, "acd"),  # d drains already, e is disabled
        ({"type": "pdf"}, 4, "acd"),
        ({"status": "online"}, 1, "cd"),
        ({"q": "B"}, 1, "bd"),
        ({"type": "none"}, 0, "d"),
    ],
)
async def test_many_are_drained_and_drained_no_more(
    local: LocalServer, autojump_clock: Any, asked: dict[str, Any], matched: int, drained: str
) -> None:
    async def draining() -> str:
        found = await local.parts.services.reads.run(
            lambda reader: reader.roster.by_id(WorkerFilter(), after="", limit=100)[0]
        )
        return "".join(each.id for each, _ in found if each.drain)

    async def drain(**more: Any) -> tuple[int, int, int]:
        status, answer = await local.call("POST", "/api/workers/drain", asked | more)
        assert status == 200, answer
        return answer["matched"], answer["changed"], answer["refused"]

    await fleet(local)
    new = len(drained) - 1
    assert await drain(dry_run=True) == (matched, new, matched - new)
    assert await draining() == "d", "a dry run drains none"
    assert await drain() == (matched, new, matched - new)
    assert await draining() == drained
    assert (await drain())[1] == 0, "they are so already"
    if asked.get("status") != "online":  # none of these is online now
        back = await drain(drain=False)
        assert back[1] == new + (asked.get("type") == "pdf" or "ids" in asked), "the one that drained before, too"
    if "ids" in asked or asked.get("type") == "pdf":
        assert await draining() == ""
        assert (await local.call("GET", "/api/workers/e"))[1]["enabled"] is False


async def test_a_drain_of_many_says_what_it_lacks(local: LocalServer, autojump_clock: Any) -> None:
    for body in ({}, {"ids": ["a"], "type": "pdf"}, {"drain": False}):
        assert_problem(await local.call("POST", "/api/workers/drain", body), 422, "invalid", field="ids")
    assert (await local.call("POST", "/api/workers/drain", {"type": "pdf", "background": True}))[0] == 422


async def test_a_worker_that_was_disabled_since_is_not_enabled(local: LocalServer, autojump_clock: Any) -> None:
    await fleet(local)
    only = WorkerFilter(enabled=True)
    done = await local.ask(Batch((EnableWorker("e", only), Drain("e", only), EnableWorker("d", only), Drain("c"))))
    assert isinstance(done, BatchDone)
    first, second, *others = done.items
    for refused in (first, second):
        assert isinstance(refused, Refusal)
        assert (refused.code, "disabled now" in refused.detail) == (RefusalCode.WORKER_MOVED_ON, True)
    assert all(isinstance(each, WorkerChanged) for each in others)


async def test_a_silent_worker_goes_and_what_it_ran_goes_back(local: LocalServer, autojump_clock: Any) -> None:
    await local.register("old")
    await local.submit()
    await local.claim("old")
    await trio.sleep(7200)
    await local.register("new")
    await local.call("POST", "/api/workers/new/unregister")
    an_hour_ago = datetime.fromtimestamp(virtual_now() / 1000 - 3600, UTC).isoformat()
    assert await removed(local, silent_since=an_hour_ago) == (1, 1)
    assert await ids(local) == ["new"]
    assert (await local.job(1))["status"] != "running"


async def test_a_worker_that_came_back_meanwhile_stays(local: LocalServer, autojump_clock: Any) -> None:
    """Chosen while it was offline; back by the time of the transaction."""
    await local.register("back")
    done = await local.ask(Batch((RemoveWorker("back", WorkerFilter("offline", enabled=True)), RemoveWorker("x"))))
    assert isinstance(done, BatchDone)
    moved, unknown = done.items
    assert isinstance(moved, Refusal)
    assert moved.code is RefusalCode.WORKER_MOVED_ON
    assert isinstance(unknown, Refusal)
    done = await local.ask(Batch((RemoveWorker("back", WorkerFilter("online")),)))
    assert isinstance(done.items[0], WorkerChanged)


async def test_the_credential_of_a_removed_worker_is_worth_nothing(local: LocalServer, autojump_clock: Any) -> None:
    """Its claim that waits ends with 401, as when it is removed alone."""
    headers = await worker(local, "w")
    answers: list[int] = []

    async def wait() -> None:
        body = {"worker_id": "w", "job_type": "pdf", "wait": 30}
        answers.append((await local.http.post("/api/jobs/claim", headers=headers, json=body)).status_code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        assert await removed(local, ids=["w"]) == (1, 1)
        began = trio.current_time()
    assert answers == [401]
    assert trio.current_time() - began < 5, "at once, on the virtual clock"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "ids"), ({"dry_run": True}, "ids"), ({"ids": ["a"], "type": "pdf"}, "ids"),
        ({"statsu": "offline"}, "statsu"), ({"status": "disabled"}, "status"),
        ({"silent_since": "yesterday"}, "silent_since"),
    ],
)  # fmt: skip
async def test_a_slip_removes_none(local: LocalServer, autojump_clock: Any, body: dict[str, Any], field: str) -> None:
    await fleet(local)
    status, problem = await local.call("POST", "/api/workers/remove", body)
    assert status == 422, problem
    assert field in str(problem)
    assert_problem(await local.call("POST", "/api/workers/remove?type=pdf", {"type": "pdf"}), 422, "invalid")
    assert await ids(local) == list("abcde")


async def in_background(local: LocalServer, **body: Any) -> dict[str, Any]:
    """The operation, once it has ended."""
    status, begun = await local.call("POST", "/api/workers/remove", body | {"background": True})
    assert status == 202, begun
    while True:
        shown: dict[str, Any] = (await local.call("GET", f"/api/operations/{begun['operation']}"))[1]
        if shown["state"] in ("completed", "cancelled", "failed"):
            return shown
        await trio.sleep(0.1)


@pytest.mark.parametrize(
    ("asked", "matched", "left"),
    [({"type": "pdf"}, 4, "bcde"), ({"status": "online"}, 1, "abde"), ({"ids": ["a", "c", "nobody", "a"]}, 3, "bde")],
)
async def test_an_operation_removes_them_without_its_client(
    local: LocalServer, autojump_clock: Any, asked: dict[str, Any], matched: int, left: str
) -> None:
    await fleet(local)
    await local.submit()
    await local.claim("c")
    done = await in_background(local, **asked)
    assert (done["state"], done["verb"], done["matched"]) == ("completed", "remove-workers", matched)
    assert (done["changed"], done["refused"]) == (5 - len(left), 0)
    assert done["undo"] == {"possible": False, "until": None, "undone_by": None, "note": done["undo"]["note"]}
    assert await ids(local) == list(left)
    assert (await local.job(1))["status"] == ("running" if "c" in left else "pending")
    page = await (await raw(local, "GET", f"/operations/{done['id']}")).get_data(as_text=True)
    assert f"{done['total']} of {done['total']} workers" in page.replace("<!-- -->", "")


async def test_an_operation_over_workers_is_an_administrators(local: LocalServer, autojump_clock: Any) -> None:
    await fleet(local)
    secret = await token(local, "submit", "read", "work")
    body = {"type": "pdf", "background": True}
    assert_problem(await local.call("POST", "/api/workers/remove", body, token=secret), 403, "scope-missing")
    local.parts.operator.running |= {-1, -2, -3, -4}  # there is no room for another
    number = (await local.call("POST", "/api/workers/remove", body))[1]["operation"]
    assert_problem(await local.call("POST", f"/api/operations/{number}/cancel", token=secret), 403, "scope-missing")
    stopped = (await local.call("POST", f"/api/operations/{number}/cancel"))[1]
    assert (stopped["state"], stopped["changed"]) == ("cancelled", 0)
    assert await ids(local) == list("abcde")


async def test_a_slip_begins_no_operation(local: LocalServer, autojump_clock: Any) -> None:
    for body in ({}, {"ids": ["a"], "type": "pdf"}):
        answer = await local.call("POST", "/api/workers/remove", body | {"background": True})
        assert_problem(answer, 422, "invalid", field="ids")
    body = {"type": "pdf", "background": True}
    assert_problem(await local.call("POST", "/api/workers/remove?type=x", body), 422, "invalid")
    assert (await local.call("GET", "/api/operations"))[1] == {"operations": []}


def test_a_turn_has_as_many_workers_as_their_jobs_leave_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.works.A_TURN", 10)
    monkeypatch.setattr("actors.works.WORKERS_A_TURN", 4)
    assert pages_of_workers([]) == ()
    assert pages_of_workers([(each, 0) for each in "abcdef"]) == (("a", "b", "c", "d"), ("e", "f"))
    assert pages_of_workers([("a", 3), ("b", 5), ("c", 0), ("d", 100), ("e", 0)]) == (
        ("a", "b"),
        ("c",),
        ("d",),
        ("e",),
    )


async def test_the_form_asks_first(local: LocalServer, autojump_clock: Any) -> None:
    await fleet(local)
    page = await (await raw(local, "GET", "/workers?type=pdf")).get_data(as_text=True)
    assert 'action="/do/workers/remove"' in page
    assert ' action="/do/workers/remove"' not in await (await raw(local, "GET", "/workers")).get_data(as_text=True)
    form = b"type=pdf&status=offline&return_to=/workers"
    as_form = {"Content_Type": "application/x-www-form-urlencoded", "Sec_Fetch_Site": "same-origin"}
    answer = await raw(local, "POST", "/do/workers/remove", form + b"&dry_run=true", **as_form)
    asked = await answer.get_data(as_text=True)
    assert answer.status_code == 200, answer.headers
    assert "This will remove <strong>1</strong> worker" in asked
    assert 'action="/do/workers/remove"' in asked
    assert await ids(local) == list("abcde")
    assert (await raw(local, "POST", "/do/workers/remove", form, **as_form)).status_code == 303
    assert await ids(local) == list("bcde")


async def test_the_form_has_it_done_in_the_background(local: LocalServer, autojump_clock: Any) -> None:
    await fleet(local)
    as_form = {"Content_Type": "application/x-www-form-urlencoded", "Sec_Fetch_Site": "same-origin"}
    form = b"type=pdf&status=offline&return_to=/workers&background=true"
    answer = await raw(local, "POST", "/do/workers/remove", form, **as_form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/operations/1")
    await trio.sleep(1)
    assert await ids(local) == list("bcde")


async def test_a_removed_worker_is_told_of_as_removed(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    async with stream(local) as events:
        await local.call("DELETE", "/api/workers/w1")
        assert [frame.event for frame in await events.rest()] == ["worker_removed"]
