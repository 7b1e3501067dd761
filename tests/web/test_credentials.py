"""Who may call what: every route with every kind of credential, expected from the route's own row."""

from __future__ import annotations

import re
from typing import Any, assert_never

import pytest
import trio

from blobforge.access import Scope
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, token, worker, worker_headers
from web import events
from web.api import ROUTES, openapi
from web.routing import Access, Route

API = [*ROUTES, *events.ROUTES, *openapi.ROUTES]

PARAMETER = re.compile(r"<(?:\w+(?:\([^)]*\))?:)?(\w+)>")
NOBODY = {
    "nothing", "unknown token", "expired token", "revoked token", "wrong secret", "no secret", "unknown worker",
    "two at once", "basic", "a worker's secret as a token",
}  # fmt: skip
SCOPES: dict[str, set[Scope]] = {
    "read": {Scope.READ},
    "submit": {Scope.SUBMIT},
    "work": {Scope.WORK},
    "read and submit": {Scope.READ, Scope.SUBMIT},
    "admin": set(Scope),
    "worker": {Scope.WORK},
    "other worker": {Scope.WORK},
}
CREDENTIALS = sorted({*NOBODY, *SCOPES, "disabled worker"})


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def credential(local: LocalServer, kind: str) -> dict[str, str]:
    """The headers of such a caller. The worker `mine` is there in any case."""
    mine = await worker(local, "mine")
    match kind:
        case "nothing":
            return {}
        case "unknown token":
            return bearer("bf_" + "A" * 43)
        case "basic":
            return {"Authorization": "Basic YWRtaW46YWRtaW4="}
        case "two at once":
            return bearer(await token(local, "admin")) | mine
        case "a worker's secret as a token":
            return bearer(mine["X-Worker-Secret"])
        case "expired token":
            text = await token(local, "admin", expires_in=1 / 86_400)
            await trio.sleep(2)
            return bearer(text)
        case "revoked token":
            _, made = await local.call("POST", "/api/tokens", {"name": "t", "scopes": ["admin"]})
            assert (await local.call("GET", "/api/stats", token=made["token"]))[0] == 200, "cached by now"
            await local.call("DELETE", f"/api/tokens/{made['id']}")
            return bearer(made["token"])
        case "wrong secret":
            return worker_headers("mine", "bfw_" + "A" * 43)
        case "no secret":
            return {"X-Worker-ID": "mine"}
        case "unknown worker":
            return worker_headers("who", mine["X-Worker-Secret"])
        case "worker":
            return mine
        case "other worker":
            return await worker(local, "other")
        case "disabled worker":
            await local.call("POST", "/api/admin/workers/mine/disable")
            return mine
        case _:
            return bearer(await token(local, *kind.split(" and ")))


def expected(route: Route, kind: str) -> tuple[int, str] | None:
    """The refusal that the contract wants, or None where the caller must get past the door."""
    if route.access is Access.PUBLIC:
        return None
    if kind in NOBODY:
        return 401, "unauthenticated"
    if kind == "disabled worker":
        return 403, "worker-disabled"
    has = SCOPES[kind]
    match route.access:
        case Access.READ:
            fits = Scope.READ in has
        case Access.SUBMIT:
            fits = Scope.SUBMIT in has
        case Access.WORK:
            fits = Scope.WORK in has
        case Access.UPLOAD:
            fits = bool(has & {Scope.SUBMIT, Scope.WORK})
        case Access.ADMIN:
            fits = Scope.ADMIN in has
        case Access.ANYONE_KNOWN:
            fits = True
        case _:
            assert_never(route.access)
    if not fits:
        return 403, "scope-missing"
    if kind == "other worker" and route.access is Access.WORK and "worker_id" in route.path:
        return 403, "not-yours"
    return None


def path_of(route: Route) -> str:
    """An address of this route. The jobs and tokens in it do not exist: what is asked is who gets past the door."""
    values = {
        "job_id": "999",
        "operation_id": "999",
        "failure_id": "999",
        "batch_id": "999",
        "canary_id": "999",
        "token_id": "999",
        "webhook_id": "999",
        "delivery_id": "999",
        "user_id": "999",
        "worker_id": "mine",
        "kind": "source",
        "type": "none",
        "rest": "jobs",
    }
    path = PARAMETER.sub(lambda match: values[match[1]], route.path)
    return f"{path}?types=none" if path == "/events" else path  # lest it goes on for ever


@pytest.mark.parametrize("kind", CREDENTIALS)
async def test_every_route(local: LocalServer, autojump_clock: Any, kind: str) -> None:
    headers = await credential(local, kind)
    # What takes the worker away comes last.
    for route in sorted(API, key=lambda route: route.method == "DELETE"):
        await trio.sleep(10)  # who fails to say who it is, and does so too often, would be told to slow down
        status, answer = await local.call(route.method, path_of(route), headers=headers)
        wanted = expected(route, kind)
        if wanted is not None:
            assert_problem((status, answer), *wanted)
        else:
            assert status != 401, (route.name, answer)
            if status == 403:
                # Past the door; what it asks for there may still not be its own.
                assert answer["type"].endswith(("key-not-allowed", "not-yours")), (route.name, answer)


async def test_a_refusal_says_how_to_sign_in(local: LocalServer, autojump_clock: Any) -> None:
    answer = await local.http.get("/api/jobs")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.headers["X-Request-ID"] == (await answer.get_json())["request_id"]


WORKER_BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/api/workers/register", {"id": "mine", "type": "pdf"}),
    ("/api/jobs/claim", {"worker_id": "mine", "job_type": "pdf"}),
    ("/api/jobs/1/complete", {"worker_id": "mine"}),
    ("/api/jobs/1/log", {"worker_id": "mine", "lease": "x", "start": 0, "text": "a"}),
    ("/api/jobs/1/fail", {"worker_id": "mine", "error": "x"}),
    ("/api/jobs/1/release", {"worker_id": "mine"}),
    ("/api/workers/mine/heartbeat", {"job_id": 1}),
    ("/api/workers/mine/unregister", {}),
    ("/api/files/source-url", {"job_id": 1, "worker_id": "mine"}),
    ("/api/files/upload-url", {"job_id": 1, "worker_id": "mine"}),
]


@pytest.mark.parametrize(("path", "body"), WORKER_BODIES)
async def test_a_worker_acts_as_itself_only(local: LocalServer, autojump_clock: Any, path: str, body: Any) -> None:
    """Identity comes from the credential: a body or path that names another worker is 403, and changes nothing."""
    await worker(local, "mine")
    await local.submit()
    await local.claim("mine")
    before = await local.job(1)
    for headers in (
        await worker(local, "other"),
        (await worker(local, "third", register=False)),
        bearer(await token(local, "work")),
    ):
        assert_problem(await local.call("POST", path, body, headers=headers), 403, "not-yours")
    assert await local.job(1) == before
    _, shown = await local.call("GET", "/api/workers/mine")
    assert shown["status"] == "online"


async def test_a_worker_need_not_name_itself(local: LocalServer, autojump_clock: Any) -> None:
    mine = await worker(local, "mine")
    await local.submit()
    status, grant = await local.call("POST", "/api/jobs/claim", {"job_type": "pdf"}, headers=mine)
    assert (status, grant["job"]["worker_id"]) == (200, "mine")
    assert (await local.call("POST", "/api/jobs/1/complete", {}, headers=mine))[0] == 200


async def test_a_long_secret_is_refused_before_it_is_hashed(local: LocalServer, autojump_clock: Any) -> None:
    for headers in (bearer("bf_" + "A" * 5000), worker_headers("w" * 5000, "x"), bearer(""), bearer("ü")):
        assert_problem(await local.call("GET", "/api/stats", headers=headers), 401, "unauthenticated")
