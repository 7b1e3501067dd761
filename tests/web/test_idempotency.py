"""`Idempotency-Key` on every POST: same key and body, same answer and one effect; another body, 422."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from actors.effects import beginning
from blobforge.outward.calling import CallAnswer
from tests.fixtures.local import LocalServer
from tests.web.calls import HEX, assert_problem, put_output, state, token, without_signatures, worker
from web.api import ROUTES

Prepare = Callable[[LocalServer], Awaitable[tuple[str, Any]]]  # -> (path, body)

EMPTY = hashlib.sha256(b"").hexdigest()
JOB = {"type": "pdf", "source_hash": HEX}
WEBHOOK = {"url": "https://example.com/hook", "events": ["job.completed"]}
CLAIM = {"worker_id": "w1", "job_type": "pdf"}


def plain(path: str, body: Any = None, *, jobs: int = 0, running: bool = False, ended: bool = False) -> Prepare:
    """A case that needs a worker `w1` and perhaps jobs: pending, the first of them running or cancelled."""

    async def prepare(local: LocalServer) -> tuple[str, Any]:
        await local.register()
        for number in range(jobs):
            await local.submit(b"%d" % number)
        if running:
            await put_output(local, (await local.claim())["output_key"])
        if ended:
            await local.call("POST", "/api/jobs/1/cancel")
        return path, body

    return prepare


async def awaited_source(local: LocalServer) -> tuple[str, Any]:
    await local.call("POST", "/api/jobs", JOB)
    return "/api/jobs/1/uploaded", None


async def cancelled(local: LocalServer) -> tuple[str, Any]:
    await local.submit()
    _, answer = await local.call("POST", "/api/jobs/1/cancel", {"undo": True})
    return "/api/jobs/undo", {"undo": answer["undo"]}


async def converted(local: LocalServer) -> None:
    await local.register()
    await local.submit()
    claimed = await local.claim()
    await local.call("POST", "/api/jobs/1/complete", {"worker_id": "w1", "lease": claimed["lease"]})


async def printing(local: LocalServer) -> tuple[str, Any]:
    await local.register()
    await local.submit()
    lease = (await local.claim())["lease"]
    return "/api/jobs/1/log", {"worker_id": "w1", "lease": lease, "start": 0, "text": "page 1\n"}


async def canary(local: LocalServer) -> tuple[str, Any]:
    await converted(local)
    return "/api/canaries", {"types": ["pdf"], "made_by": "m 2"}


async def begun_canary(local: LocalServer) -> tuple[str, Any]:
    path, body = await canary(local)
    await local.call("POST", path, body)
    return f"{path}/1/cancel", None


def operation(verb: str) -> Prepare:
    """One that has not been taken up yet, or has ended."""

    async def prepare(local: LocalServer) -> tuple[str, Any]:
        await local.submit()
        local.parts.operator.running |= set(range(-9, 0)) if verb == "cancel" else set()
        status, begun = await local.call("POST", "/api/jobs/cancel", {"type": "pdf", "background": True})
        assert status == 202, begun
        await trio.sleep(5)
        return f"/api/operations/{begun['operation']}/{verb}", None

    return prepare


async def with_credential(local: LocalServer) -> tuple[str, Any]:
    await worker(local, "w1")
    return "/api/admin/workers/w1/regenerate", None


async def with_batch(local: LocalServer) -> str:
    await local.submit(batch=(await local.call("POST", "/api/batches", {"name": "scans"}))[1]["id"])
    local.parts.operator.running |= set(range(-9, 0))
    return "/api/batches/1"


def batch(verb: str) -> Prepare:
    async def prepare(local: LocalServer) -> tuple[str, Any]:
        return f"{await with_batch(local)}/{verb}", None

    return prepare


def webhook(verb: str, body: Any = None) -> Prepare:
    """One that has had a delivery."""

    async def prepare(local: LocalServer) -> tuple[str, Any]:
        async def post(*_: Any) -> CallAnswer:
            return CallAnswer(204, "")

        local.parts.courier.call = post
        await local.call("POST", "/api/admin/webhooks", WEBHOOK)
        await local.call("POST", "/api/admin/webhooks/1/test")
        await trio.sleep(1)
        return f"/api/admin/webhooks/1/{verb}", body

    return prepare


CASES: dict[str, Prepare] = {
    "/api/jobs": plain("/api/jobs", JOB),
    "/api/jobs/batch": plain("/api/jobs/batch", {"jobs": [JOB, JOB | {"type": "png"}]}),
    "/api/jobs/<id:job_id>/uploaded": awaited_source,
    "/api/jobs/<id:job_id>/retry": plain("/api/jobs/1/retry", {"priority": 1}, jobs=1, ended=True),
    "/api/jobs/<id:job_id>/cancel": plain("/api/jobs/1/cancel", jobs=1),
    "/api/jobs/<id:job_id>/priority": plain("/api/jobs/1/priority", {"priority": 1}, jobs=1),
    "/api/jobs/retry": plain("/api/jobs/retry", {"type": "pdf"}, jobs=1, ended=True),
    "/api/jobs/cancel": plain("/api/jobs/cancel", {"type": "pdf"}, jobs=2),
    "/api/jobs/priority": plain("/api/jobs/priority", {"type": "pdf", "priority": 1}, jobs=2),
    "/api/jobs/<id:job_id>/retype": plain("/api/jobs/1/retype", {"to": "ocr"}, jobs=1),
    "/api/jobs/retype": plain("/api/jobs/retype", {"type": "pdf", "to": "ocr"}, jobs=2),
    "/api/jobs/undo": cancelled,
    "/api/jobs/<id:job_id>/tags": plain("/api/jobs/1/tags", {"add": ["a"]}, jobs=1),
    "/api/jobs/<id:job_id>/requires": plain("/api/jobs/1/requires", {"requires": ["gpu"]}, jobs=1),
    "/api/jobs/requires": plain("/api/jobs/requires", {"type": "pdf", "requires": ["gpu"]}, jobs=2),
    "/api/jobs/tags": plain("/api/jobs/tags", {"type": "pdf", "add": ["a"]}, jobs=2),
    "/api/batches": plain("/api/batches", {"name": "scans"}),
    "/api/batches/<id:batch_id>/close": batch("close"),
    "/api/batches/<id:batch_id>/cancel": batch("cancel"),
    "/api/batches/<id:batch_id>/retry": batch("retry"),
    "/api/operations/<id:operation_id>/cancel": operation("cancel"),
    "/api/operations/<id:operation_id>/undo": operation("undo"),
    "/api/canaries": canary,
    "/api/chains/check": plain("/api/chains/check", {"type": "pdf", "then": [{"type": "ocr"}]}),
    "/api/canaries/<id:canary_id>/cancel": begun_canary,
    "/api/jobs/delete": plain("/api/jobs/delete", {"type": "pdf"}, jobs=2),
    "/api/admin/backup/drill": plain("/api/admin/backup/drill"),
    "/api/admin/orphans": plain("/api/admin/orphans", {"dry_run": True}),
    "/api/jobs/claim": plain("/api/jobs/claim", CLAIM, jobs=3),
    "/api/jobs/<id:job_id>/complete": plain(
        "/api/jobs/1/complete", {"worker_id": "w1", "claim_next": True}, jobs=3, running=True
    ),
    "/api/jobs/<id:job_id>/outputs": plain(
        "/api/jobs/1/outputs", {"worker_id": "w1", "outputs": [{"name": "a"}]}, jobs=1, running=True
    ),
    "/api/jobs/<id:job_id>/log": printing,
    "/api/jobs/<id:job_id>/fail": plain("/api/jobs/1/fail", {"worker_id": "w1", "error": "x"}, jobs=1, running=True),
    "/api/jobs/<id:job_id>/release": plain("/api/jobs/1/release", {"worker_id": "w1"}, jobs=1, running=True),
    "/api/jobs/complete": plain(
        "/api/jobs/complete", {"jobs": [{"job_id": 1, "worker_id": "w1"}, {"job_id": 9, "worker_id": "w1"}]},
        jobs=1, running=True,
    ),
    "/api/jobs/fail": plain(
        "/api/jobs/fail", {"jobs": [{"job_id": 1, "worker_id": "w1", "error": "x"}]}, jobs=1, running=True
    ),
    "/api/workers/register": plain("/api/workers/register", {"id": "w2", "type": "pdf"}),
    "/api/workers/<worker:worker_id>/heartbeat": plain(
        "/api/workers/w1/heartbeat", {"job_id": 1, "progress": {"percent": 1}}, jobs=1, running=True
    ),
    "/api/workers/<worker:worker_id>/unregister": plain("/api/workers/w1/unregister", jobs=1, running=True),
    "/api/workers/remove": plain("/api/workers/remove", {"type": "pdf", "status": "online"}),
    "/api/workers/drain": plain("/api/workers/drain", {"type": "pdf"}),
    "/api/workers/<worker:worker_id>/drain": plain("/api/workers/w1/drain"),
    "/api/workers/<worker:worker_id>/quarantine": plain("/api/workers/w1/quarantine", {"reason": "broken"}),
    "/api/workers/<worker:worker_id>/readmit": plain("/api/workers/w1/readmit"),
    "/api/types/<type:type>/pause": plain("/api/types/pdf/pause", {"reason": "broken"}),
    "/api/types/<type:type>/resume": plain("/api/types/pdf/resume"),
    "/api/admin/workers": plain("/api/admin/workers", {"id": "w2", "type": "pdf"}),
    "/api/admin/workers/<worker:worker_id>/regenerate": with_credential,
    "/api/admin/workers/<worker:worker_id>/enable": plain("/api/admin/workers/w1/enable"),
    "/api/admin/workers/<worker:worker_id>/disable": plain("/api/admin/workers/w1/disable", jobs=1, running=True),
    "/api/files/source-url": plain(
        "/api/files/source-url", {"job_id": 1, "worker_id": "w1"}, jobs=1, running=True
    ),
    "/api/files/upload-url": plain("/api/files/upload-url", {"source_hash": HEX}),
    "/api/files/urls": plain("/api/files/urls", {"items": [{"job_id": 1, "kind": "source"}]}),
    "/api/files/sources": plain("/api/files/sources", {"sources": [{"source_hash": EMPTY, "data": ""}]}),
    "/api/files/multipart": plain("/api/files/multipart", {"source_hash": HEX, "size": 1}),
    "/api/files/multipart/part": plain(
        "/api/files/multipart/part", {"source_hash": HEX, "upload_id": "x", "number": 1}
    ),
    "/api/files/multipart/complete": plain(
        "/api/files/multipart/complete",
        {"source_hash": HEX, "upload_id": "x", "parts": [{"number": 1, "etag": "x"}]},
    ),
    "/api/files/multipart/abort": plain("/api/files/multipart/abort", {"source_hash": HEX, "upload_id": "x"}),
    "/api/admin/webhooks": plain("/api/admin/webhooks", WEBHOOK),
    "/api/admin/webhooks/<id:webhook_id>/rotate": webhook("rotate"),
    "/api/admin/webhooks/<id:webhook_id>/test": webhook("test"),
    "/api/admin/webhooks/<id:webhook_id>/deliveries/<id:delivery_id>/redeliver": webhook("deliveries/1/redeliver"),
    "/api/admin/webhooks/<id:webhook_id>/redeliver": webhook(
        "redeliver", {"since": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z", "all": True}
    ),
    "/api/admin/tokens": plain("/api/admin/tokens", {"name": "t"}),
    "/api/tokens": plain("/api/tokens", {"name": "t"}),
}  # fmt: skip


BULK = {
    "/api/jobs/retry", "/api/jobs/cancel", "/api/jobs/priority", "/api/jobs/retype", "/api/jobs/requires",
    "/api/jobs/tags", "/api/jobs/delete", "/api/workers/remove", "/api/workers/drain",
}  # fmt: skip


def test_every_post_has_a_case() -> None:
    """Of the API; what people sign in and out with is tested with the sign-in."""
    assert {route.path for route in ROUTES if route.method == "POST"} == set(CASES)


def keyed(local: LocalServer, key: str, token_: str | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token_ or local.parts.admin_token}", "Idempotency-Key": key}


@pytest.mark.parametrize("route", CASES)
async def test_every_post(local: LocalServer, autojump_clock: Any, route: str) -> None:
    path, body = await CASES[route](local)
    first = await local.call("POST", path, body, headers=keyed(local, "one"))
    # `uploaded` is refused here, for the source is not there, and parts by this store: these answers, too, are for
    # this body only.
    refused = route.endswith("/uploaded") or "/multipart" in route or "/backup/" in route
    assert first[0] in ((409,) if refused else (200, 201, 202)), first
    await trio.sleep(1)
    before = state(local)
    again = await local.call("POST", path, body, headers=keyed(local, "one"))
    if first[0] == 409:
        first[1].pop("request_id"), again[1].pop("request_id")
    assert without_signatures(again) == without_signatures(first), "same key and body, same answer"
    assert state(local) == before, "and one effect"
    # A request for many jobs, or one that changes tags, takes no member that it does not know.
    more = {"q": "w9"} if route in BULK else {"undo": True} if route.endswith("/tags") else {"another": 1}
    another = (body or {}) | more
    mismatch = await local.call("POST", path, another, headers=keyed(local, "one"))
    assert_problem(mismatch, 422, "idempotency-mismatch", field="Idempotency-Key")
    assert state(local) == before


async def test_a_key_is_for_one_address(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"1")
    await local.submit(b"2")
    assert (await local.call("POST", "/api/jobs/1/cancel", headers=keyed(local, "k")))[0] == 200
    answer = await local.call("POST", "/api/jobs/2/cancel", headers=keyed(local, "k"))
    assert_problem(answer, 422, "idempotency-mismatch")


async def test_the_key_of_another_caller_is_another_key(local: LocalServer, autojump_clock: Any) -> None:
    one, two = await token(local, "submit"), await token(local, "submit")
    for text, status in ((one, 201), (two, 200), (one, 201)):
        got, _ = await local.call("POST", "/api/jobs", JOB, headers=keyed(local, "k", text))
        assert got == status
    other = JOB | {"type": "png"}
    assert (await local.call("POST", "/api/jobs", other, headers=keyed(local, "k2", two)))[0] == 201
    mine = await worker(local, "mine")
    headers = mine | {"Idempotency-Key": "k"}
    assert (await local.call("POST", "/api/jobs/claim", {"job_type": "pdf"}, headers=headers))[0] == 200


@pytest.mark.parametrize("path", ["/api/admin/tokens", "/api/admin/workers"])
async def test_a_secret_is_shown_again_to_who_repeats(local: LocalServer, autojump_clock: Any, path: str) -> None:
    """The answer that got lost on its way held the only copy: only its hash is kept, and it is derived anew."""
    body = {"name": "t"} if path.endswith("tokens") else {"id": "w", "type": "pdf"}
    first = await local.call("POST", path, body, headers=keyed(local, "k"))
    assert await local.call("POST", path, body, headers=keyed(local, "k")) == first
    secret = first[1].get("token") or first[1]["secret"]
    assert secret not in state(local)
    _, other = await local.call(
        "POST", path, body | ({} if "name" in body else {"id": "w2"}), headers=keyed(local, "l")
    )
    assert (other.get("token") or other["secret"]) != secret


@pytest.mark.usefixtures("seldom")
async def test_after_a_day_a_key_is_forgotten(local: LocalServer, autojump_clock: Any) -> None:
    body = {"name": "t"}
    first = await local.call("POST", "/api/tokens", body, headers=keyed(local, "k"))
    await trio.sleep(86_400 - 60)
    assert await local.call("POST", "/api/tokens", body, headers=keyed(local, "k")) == first
    await trio.sleep(120)
    status, second = await local.call("POST", "/api/tokens", body | {"scopes": ["read"]}, headers=keyed(local, "k"))
    assert status == 201
    assert second["id"] != first[1]["id"]
    await trio.sleep(86_400 + 3600)
    assert "another body" not in state(local)


async def test_what_never_reached_the_state_takes_no_key(local: LocalServer, autojump_clock: Any) -> None:
    """A body that cannot be read is corrected and sent again under the same key."""
    assert_problem(await local.call("POST", "/api/jobs", {"type": 1}, headers=keyed(local, "k")), 422, "invalid")
    assert (await local.call("POST", "/api/jobs", JOB, headers=keyed(local, "k")))[0] == 201


async def test_who_is_told_to_come_again_may(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal for now is none for a day: clients repeat a 429 or 503 under the key that it had."""
    begin = ("POST", "/api/jobs/cancel", {"type": "pdf", "background": True})
    monkeypatch.setattr(beginning, "MOST_OPEN", 0)
    assert_problem(await local.call(*begin, headers=keyed(local, "k")), 429, "slow-down")
    monkeypatch.setattr(beginning, "MOST_OPEN", 1)
    status, begun = await local.call(*begin, headers=keyed(local, "k"))
    assert status == 202
    assert await local.call(*begin, headers=keyed(local, "k")) == (status, begun)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
async def test_keys_that_are_none(local: LocalServer, autojump_clock: Any, key: str) -> None:
    answer = await local.call("POST", "/api/jobs", JOB, headers=keyed(local, key))
    assert_problem(answer, 422, "invalid", field="Idempotency-Key")


async def test_racing_repetitions_have_one_effect(local: LocalServer, autojump_clock: Any) -> None:
    answers: list[Any] = []

    async def one() -> None:
        answers.append(await local.call("POST", "/api/tokens", {"name": "t"}, headers=keyed(local, "k")))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(one)
    assert all(answer == answers[0] for answer in answers)
    assert len((await local.call("GET", "/api/tokens"))[1]) == 2


# ------------------------------------------------------------------ claims that wait


async def test_a_long_poll_that_got_a_job_is_repeatable(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    answers: list[Any] = []

    async def claim(body: Any) -> None:
        answers.append(await local.call("POST", "/api/jobs/claim", body, headers=keyed(local, "k")))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim, CLAIM | {"wait": 30})
        await trio.sleep(5)
        await local.submit(b"1")
        await local.submit(b"2")
    await claim(CLAIM | {"wait": 30})
    assert answers[0][1]["job"]["id"] == 1
    assert without_signatures(answers[1]) == without_signatures(answers[0])
    assert (await local.job(2))["status"] == "pending"
    other = await local.call("POST", "/api/jobs/claim", CLAIM | {"wait": 31}, headers=keyed(local, "k"))
    assert_problem(other, 422, "idempotency-mismatch")
    await local.call("POST", "/api/jobs/1/complete", {"worker_id": "w1"})
    await claim(CLAIM | {"wait": 30})
    assert without_signatures(answers[2]) == without_signatures(answers[0]), "whatever became of the job since"
    assert (await local.job(2))["status"] == "pending"


async def test_a_long_poll_that_got_nothing_is_repeatable(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    first = await local.call("POST", "/api/jobs/claim", CLAIM | {"wait": 5}, headers=keyed(local, "k"))
    assert first == (200, {"job": None})
    await local.submit()
    assert await local.call("POST", "/api/jobs/claim", CLAIM | {"wait": 5}, headers=keyed(local, "k")) == first
    assert (await local.claim())["job"]["id"] == 1


async def test_no_job_is_repeated_at_once(local: LocalServer, autojump_clock: Any) -> None:
    """A claim that was answered "no job", repeated with its Idempotency-Key, waited its whole time over again where
    no job could wake it, and was then told the same."""
    await local.register()
    headers = {"Authorization": f"Bearer {local.parts.admin_token}", "Idempotency-Key": "once"}
    body = {"worker_id": "w1", "job_type": "pdf", "wait": 30}
    first = await local.call("POST", "/api/jobs/claim", body, headers=headers)
    assert first == (200, {"job": None})
    await local.submit()
    asked = trio.current_time()
    assert await local.call("POST", "/api/jobs/claim", body, headers=headers) == first
    assert trio.current_time() == asked
    assert (await local.claim())["job"] is not None
