"""What is done leaves one record, in its own transaction; what is refused leaves none. Who, what, when, whence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from actors.messages import (
    AdvanceOperation,
    BeginCanary,
    BeginOperation,
    Cancel,
    Claim,
    Complete,
    MakeBatch,
    OperationPlan,
    PrioritiseJobs,
    Register,
    SelectJobs,
    SetPriority,
)
from blobforge.access import Caller, Scope
from blobforge.canary import CanaryPlan
from blobforge.outward.calling import CallAnswer
from blobforge.store.errors import StoreUnavailable
from tests.authority.callers import SAME_ORIGIN, cookie, oidc_local, session
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, state, token, worker
from web.app import routes

FORM = SAME_ORIGIN | {"Content-Type": "application/x-www-form-urlencoded", "Host": "localhost"}
UNDO = "ab" * 16
FROM = {"client": ("192.0.2.7", 4000)}

CALLER = Caller(frozenset({Scope.ADMIN}))
DONE = (200, 201, 202, 204)

# (what is called, its body, the record's action, its subject, a part of its detail)
ACTIONS: list[tuple[str, dict[str, Any], str, str, str | None]] = [
    (
        "POST /api/admin/tokens",
        {"name": "ci", "scopes": ["read", "submit"]},
        "token.create",
        "ci (read submit)",
        None,
    ),
    ("POST /api/tokens", {"name": "old"}, "token.create", "old (read submit)", None),
    ("DELETE /api/admin/tokens/2", {}, "token.delete", "2", None),
    ("DELETE /api/tokens/2", {}, "token.delete", "2", None),
    ("POST /api/admin/workers", {"id": "new", "type": "pdf"}, "worker.create", "new", None),
    ("POST /api/admin/workers/w/regenerate", {}, "worker.rotate", "w", None),
    ("POST /api/admin/workers/w/enable", {}, "worker.enable", "w", None),
    ("POST /api/admin/workers/w/disable", {}, "worker.disable", "w", None),
    ("POST /api/workers/w/drain", {}, "worker.drain", "w", None),
    ("POST /api/workers/w/quarantine", {"reason": "its disk"}, "worker.quarantine", "w", "its disk"),
    ("POST /api/workers/w/readmit", {}, "worker.readmit", "w", None),
    ("DELETE /api/workers/w", {}, "worker.remove", "w", None),
    ("PATCH /api/types/pdf", {"max_attempts": 5}, "type.set", "pdf", '{"max_attempts":5}'),
    ("POST /api/types/pdf/pause", {"reason": "broken"}, "type.pause", "pdf", "broken"),
    ("POST /api/types/pdf/resume", {}, "type.resume", "pdf", None),
    (
        "POST /api/admin/webhooks",
        {"url": "https://x.example/secret", "events": ["job.dead"]},
        "webhook.create",
        "x.example",
        None,
    ),
    ("PATCH /api/admin/webhooks/1", {"enabled": False}, "webhook.change", "1", None),
    ("POST /api/admin/webhooks/1/rotate", {}, "webhook.rotate", "1", None),
    ("POST /api/admin/webhooks/1/test", {}, "webhook.test", "1", None),
    ("POST /api/admin/webhooks/1/deliveries/1/redeliver", {}, "webhook.redeliver", "1 1", None),
    (
        "POST /api/admin/webhooks/1/redeliver",
        {"since": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"},
        "webhook.redeliver",
        "1",
        None,
    ),
    ("DELETE /api/admin/webhooks/1", {}, "webhook.delete", "1", None),
    ("POST /api/workers/drain", {"ids": ["w", "x"]}, "workers.drain", "", "1 of 2"),
    ("POST /api/workers/remove", {"ids": ["w", "x"]}, "workers.remove", "", "1 of 2"),
    ("POST /api/jobs/1/cancel", {}, "job.cancel", "1", None),
    ("POST /api/jobs/1/priority", {"priority": 1}, "job.priority", "1", None),
    ("PATCH /api/jobs/1/priority", {"priority": 1}, "job.priority", "1", None),
    ("POST /api/jobs/2/retry", {}, "job.retry", "2", None),
    ("POST /api/jobs/1/retype", {"to": "ocr"}, "job.retype", "1", None),
    ("POST /api/jobs/retype", {"ids": [1], "to": "ocr"}, "jobs.retype", "", "1 of 1"),
    ("POST /api/jobs/undo", {"undo": UNDO}, "jobs.undo", "", None),
    ("POST /api/jobs/cancel", {"type": "pdf"}, "jobs.cancel", "", "1 of 1"),
    ("POST /api/jobs/priority", {"ids": [1], "priority": 1}, "jobs.priority", "", "1 of 1"),
    ("PATCH /api/jobs/1/requires", {"requires": ["gpu"]}, "job.requires", "1", None),
    ("POST /api/jobs/requires", {"ids": [1], "requires": ["gpu"]}, "jobs.requires", "", "1 of 1"),
    ("PATCH /api/jobs/1/tags", {"add": ["a"]}, "job.tags", "1", None),
    ("POST /api/jobs/tags", {"type": "pdf", "add": ["b"]}, "jobs.tags", "", "1 of 1"),
    ("POST /api/batches", {"name": "scans"}, "batch.create", "scans", None),
    ("POST /api/batches/1/close", {}, "batch.close", "1", None),
    ("POST /api/batches/1/cancel", {"reason": "wrong"}, "batch.cancel", "1", None),
    ("POST /api/batches/1/retry", {}, "batch.retry", "1", None),
    ("DELETE /api/batches/1?results=true", {}, "batch.delete", "1", None),
    ("POST /api/operations/1/cancel", {}, "operation.cancel", "1", None),
    ("POST /api/operations/2/undo", {}, "operation.undo", "2", None),
    ("POST /api/canaries", {"types": ["doc"], "made_by": "m 2"}, "canary.begin", "", '"made_by":"m 2"'),
    ("POST /api/canaries/1/cancel", {}, "canary.cancel", "1", None),
    ("DELETE /api/jobs/1", {}, "job.delete", "1", None),
    ("POST /api/jobs/delete", {"type": "pdf"}, "jobs.delete", "", "1 of 1"),
    ("POST /api/admin/orphans", {"dry_run": False}, "orphans.delete", "", None),
    ("POST /api/jobs/retry", {"ids": [1]}, "jobs.retry", "", "0 of 1"),
    ("DELETE /api/admin/users/1/sessions", {}, "user.sign-out", "1", None),
]


async def records(local: LocalServer, query: str = "") -> list[dict[str, Any]]:
    status, page = await local.call("GET", f"/api/admin/audit{query}")
    assert status == 200, page
    return list(page["entries"])


async def prepare(local: LocalServer) -> int:
    """A worker, a token, a user with a session, jobs, operations, a canary; returns how many records that left."""
    await worker(local, "w")
    await token(local, "read")
    await session(local)
    await local.submit()
    await local.submit(b"another", type="png")
    await local.ask(Cancel(2))
    await local.ask(MakeBatch("one"))
    # An operation that is not taken up, and one that has ended.
    local.parts.operator.running |= {-1, -2, -3, -4}
    for _ in range(2):
        await local.ask(BeginOperation(OperationPlan(PrioritiseJobs(5), (2,)), CALLER))
    await local.ask(SelectJobs(2, 0, ((2,),), 1))
    await local.ask(AdvanceOperation(2, 0))
    # A job that was converted, and a canary of it.
    await local.submit(b"converted", type="doc")
    await local.ask(Register(CALLER, "z", "doc"))
    await local.ask(Claim(CALLER, "z", ("doc",)))
    await local.ask(Complete(CALLER, "z", 3))
    await local.ask(BeginCanary(CanaryPlan(("doc",), "m 1"), (3,), "token:1"))
    # A webhook, and a delivery to it that has ended.
    local.parts.courier.call = _taken
    await local.call("POST", "/api/admin/webhooks", {"url": "https://x.example/", "events": ["job.dead"]})
    await local.call("POST", "/api/admin/webhooks/1/test")
    await trio.sleep(1)
    return len(await records(local))


async def _taken(*_: Any) -> CallAnswer:
    return CallAnswer(204, "")


async def call(local: LocalServer, name: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> int:
    method, _, path = name.partition(" ")
    answer = await local.http.open(
        path,
        method=method,
        json=body,
        headers={"Authorization": f"Bearer {local.parts.admin_token}"} | (headers or {}),
        scope_base=FROM,
    )
    return int(answer.status_code)


def test_every_route_that_leaves_a_record_is_tried() -> None:
    there = {route.audit for route in routes() if route.audit}
    there.remove("backup.drill")  # takes a backup; tests/backup/test_drill.py has one
    assert there == {action for _, _, action, _, _ in ACTIONS}


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action[0])
async def test_one_record(tmp_path: Path, autojump_clock: Any, action: Any) -> None:
    name, body, what, subject, detail = action
    async with oidc_local(tmp_path) as local:
        before = await prepare(local)
        await trio.sleep(3600)
        await local.ask(SetPriority(1, 4, UNDO))
        assert await call(local, name, body) in DONE
        found = await records(local)
        assert len(found) == before + 1
        entry = found[0]
        assert (entry["actor"], entry["name"]) == ("token:1", "first-start administrator")
        assert (entry["action"], entry["subject"], entry["address"]) == (what, subject, "192.0.2.7")
        assert detail is None or detail in entry["detail"]
        assert entry["at"][:13] == "2026-11-18T12", "the virtual hour after the beginning"


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action[0])
async def test_what_is_refused_leaves_none(tmp_path: Path, autojump_clock: Any, action: Any) -> None:
    name, body, *_ = action
    async with oidc_local(tmp_path) as local:
        await prepare(local)
        reader = {"Authorization": f"Bearer {await token(local, 'read')}"}
        before = state(local)
        for headers in (reader, {"Authorization": "Bearer bf_" + "A" * 43}):
            assert await call(local, name, body, headers) in (401, 403)
        missing = name.replace("/w", "/none").replace("/none" + "orkers", "/workers").replace("/2", "/99")
        missing = missing.replace("/1?", "/99?").replace("/1/", "/99/").replace("jobs/2/", "jobs/99/")
        if missing != name:
            assert await call(local, missing, body) == 404
        if body:
            assert (
                await call(local, name, {"id": 5, "name": 5, "ids": "x", "dry_run": "x", "add": 5, "reason": 5})
                == 422
            )
        line = "audit ("
        assert state(local).count(line) == before.count(line) > 0


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action[0])
async def test_no_effect_without_its_record_and_no_record_without_its_effect(
    tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, action: Any
) -> None:
    """The record cannot be written: then nothing is done, for both are one transaction."""
    name, body, *_ = action
    async with oidc_local(tmp_path) as local:
        await prepare(local)
        await local.ask(SetPriority(1, 4, UNDO))
        before = state(local)

        def full(*_: object) -> None:
            raise StoreUnavailable("disk full")

        with monkeypatch.context() as patched:
            patched.setattr(type(local.parts.writer._store), "insert_audit", full)
            assert await call(local, name, body) == 503
        assert _without_uses(state(local)) == _without_uses(before)
        assert await call(local, name, body) in DONE, "and now it is done"


def _without_uses(dump: str) -> list[str]:
    """The tokens' last use is written whenever there is time for it."""
    return [line for line in dump.splitlines() if not line.startswith("tokens ")]


@pytest.mark.parametrize(
    "action", [each for each in ACTIONS if each[0].startswith("POST")], ids=lambda action: action[0]
)
async def test_a_repeated_request_leaves_one(tmp_path: Path, autojump_clock: Any, action: Any) -> None:
    name, body, *_ = action
    async with oidc_local(tmp_path) as local:
        before = await prepare(local)
        await local.ask(SetPriority(1, 4, UNDO))
        for _ in range(3):
            assert await call(local, name, body, {"Idempotency-Key": "once"}) in DONE
        assert len(await records(local)) == before + 1


async def test_a_dry_run_leaves_none(local: LocalServer, autojump_clock: Any) -> None:
    before = await prepare(local)
    assert await call(local, "POST /api/jobs/cancel", {"type": "pdf", "dry_run": True}) == 200
    assert len(await records(local)) == before


async def test_signing_in_and_out(tmp_path: Path, autojump_clock: Any) -> None:
    async with oidc_local(tmp_path) as local:
        secret = await token(local, "read")
        before = len(await records(local))
        answer = await local.http.post("/login", headers=FORM, data=f"token={secret}", scope_base=FROM)
        assert answer.status_code == 303
        (entry,) = (await records(local))[:-before]
        assert (entry["action"], entry["actor"], entry["name"]) == ("sign-in", "token:2", "test")
        assert entry["address"] == "192.0.2.7"
        signed_in = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0], "Host": "localhost"}
        answer = await local.http.post("/auth/logout", headers=FORM | signed_in, scope_base=FROM)
        assert answer.status_code == 200
        out, _ = (await records(local))[:-before]
        assert (out["action"], out["actor"], out["address"]) == ("sign-out", "token:2", "192.0.2.7")
        assert (await local.http.post("/auth/logout", headers=FORM)).status_code == 200
        assert len(await records(local)) == before + 2, "nobody was signed in, so nobody signed out"


async def test_a_refused_sign_in(tmp_path: Path, autojump_clock: Any) -> None:
    async with oidc_local(tmp_path) as local:
        before = len(await records(local))
        answer = await local.http.open("/auth/callback?code=c&state=s", method="GET", scope_base=FROM)
        assert answer.status_code == 403
        (entry,) = (await records(local))[:-before] if before else await records(local)
        assert (entry["action"], entry["address"]) == ("sign-in.refused", "192.0.2.7")
        assert entry["detail"]


async def test_newest_first_and_page_by_page(local: LocalServer, autojump_clock: Any) -> None:
    for n in range(25):
        await token(local, name=f"t{n}")
    seen: list[dict[str, Any]] = []
    query = "?limit=10"
    while True:
        _, page = await local.call("GET", f"/api/admin/audit{query}")
        assert len(page["entries"]) <= 10
        seen += page["entries"]
        if "next_cursor" not in page:
            break
        await token(local, name="meanwhile")  # what is new does not shift what is old
        query = f"?limit=10&cursor={page['next_cursor']}"
    ids = [entry["id"] for entry in seen]
    assert ids == sorted(set(ids), reverse=True)
    assert [entry["subject"].split()[0] for entry in seen] == [f"t{n}" for n in reversed(range(25))]
    for wrong in ("limit=0", "limit=100000", "cursor=x", "cursor=0"):
        assert_problem(await local.call("GET", f"/api/admin/audit?{wrong}"), 422, "invalid")


async def test_it_holds_no_secret(tmp_path: Path, autojump_clock: Any) -> None:
    """Not those that the actions made, nor those that somebody put where no secret belongs."""
    async with oidc_local(tmp_path) as local:
        secrets = [await token(local, "admin"), (await worker(local, "w"))["X-Worker-Secret"]]
        _, made = await local.call("POST", "/api/admin/workers/w/regenerate")
        secrets.append(made["secret"])
        await local.call("POST", "/api/admin/tokens", {"name": f"pasted {secrets[0]}"})
        await local.call("POST", "/api/admin/workers", {"id": secrets[0], "type": "pdf"})
        await local.call("POST", f"/api/workers/{secrets[0]}/drain")
        await local.call("POST", "/api/jobs/cancel", {"q": secrets[1]})
        await local.http.open(f"/auth/callback?error={secrets[0]}&state=x", method="GET")
        answer = await local.http.post("/login", headers=FORM, data=f"token={secrets[0]}")
        secrets.append(answer.headers["Set-Cookie"].partition(";")[0].partition("=")[2])
        text = str(await records(local))
        assert [secret for secret in secrets if secret in text] == []


async def test_users_and_their_sessions(tmp_path: Path, autojump_clock: Any) -> None:
    async with oidc_local(tmp_path) as local:
        first, second, other = await session(local), await session(local), await session(local, subject="other")
        _, users = await local.call("GET", "/api/admin/users")
        assert [user["subject"] for user in users] == ["somebody", "other"]
        assert "email" not in users[0] or users[0]["email"] is None
        _, listed = await local.call("GET", "/api/admin/users/1/sessions")
        assert [(each["address"], each["agent"]) for each in listed] == [("192.0.2.9", "a browser")] * 2
        assert first not in str(listed)
        for each in (first, second, other):  # in the cache from now on
            assert (await local.call("GET", "/api/stats", headers=cookie(each)))[0] == 200
        assert await local.call("DELETE", "/api/admin/users/1/sessions") == (200, {"ended": 2})
        for each, status in {first: 401, second: 401, other: 200}.items():
            assert (await local.call("GET", "/api/stats", headers=cookie(each)))[0] == status, "at once"
        assert (await local.call("GET", "/api/admin/users/1/sessions"))[1] == []
        assert_problem(await local.call("GET", "/api/admin/users/9/sessions"), 404, "no-such-user")
