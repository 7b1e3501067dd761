"""Every unsafe request that rides on a session's cookie must come from a page of ours: over the whole route table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.authority.callers import bearer, cookie, oidc_local, session
from tests.authority.test_matrix import plain
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, state, token, worker
from web.app import routes
from web.routing import Access, Route

UNSAFE = [route for route in routes() if route.method not in ("GET", "HEAD")]
PROTECTED = [route for route in UNSAFE if route.access is not Access.PUBLIC]
OPEN = [route for route in UNSAFE if route.access is Access.PUBLIC]
HOST = {"Host": "localhost"}
ELSEWHERE: list[dict[str, str]] = [
    {},  # an old browser, or no browser
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},  # another host of the same domain is not ours
    {"Sec-Fetch-Site": "none"},  # typed by the user; no unsafe request of ours begins like that
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "Same-Origin, cross-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},  # what the browser says itself counts
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://evil.test"},
    {"Origin": "https://localhost"},  # another scheme
    {"Origin": "http://localhost:8080"},  # another port
    {"Origin": "http://localhost.evil.test"},
    {"Origin": "http://sub.localhost"},
    {"Referer": "http://localhost/"},
]
OURS: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"},
]


def address(route: Route) -> str:
    path = plain(route.path)
    for name, value in {
        "job_id": "1",
        "operation_id": "1",
        "batch_id": "1",
        "canary_id": "1",
        "token_id": "1",
        "webhook_id": "1",
        "delivery_id": "1",
        "user_id": "1",
        "worker_id": "a",
    }.items():
        path = path.replace(f"{{{name}}}", value)
    return path


def test_there_are_routes_to_try() -> None:
    assert len(PROTECTED) > 25
    assert {route.name for route in OPEN} == {"POST /login", "POST /auth/logout"}, "is the new one safe from others?"


async def test_from_another_site_nothing_is_done(tmp_path: Path, autojump_clock: Any) -> None:
    async with oidc_local(tmp_path) as local:
        await worker(local, "a")
        await local.submit()
        signed_in = cookie(await session(local, admin=True)) | HOST
        before = state(local)
        for route in PROTECTED:
            for headers in ELSEWHERE:
                answer = await local.call(route.method, address(route), {}, headers=signed_in | headers)
                if route.page:  # a form: its refusal is a page
                    assert answer[0] == 403
                    assert b"comes from another site" in answer[1]
                else:
                    assert_problem(answer, 403, "cross-site")
        assert state(local) == before


async def test_from_our_own_pages_it_is(tmp_path: Path, autojump_clock: Any) -> None:
    async with oidc_local(tmp_path) as local:
        for headers in OURS:
            signed_in = cookie(await session(local, admin=True)) | HOST
            for route in PROTECTED:
                if "sessions" not in route.path:  # would end the session that asks
                    status, answer = await local.call(route.method, address(route), {}, headers=signed_in | headers)
                    assert status not in (401, 403), (route.name, headers, answer)


async def test_the_public_url_is_what_counts_behind_a_proxy(tmp_path: Path, autojump_clock: Any) -> None:
    async with oidc_local(tmp_path, public_url="https://localhost/") as local:
        signed_in = {"Cookie": f"__Host-blobforge={await session(local)}"} | HOST
        for origin, wanted in {"https://localhost": 422, "http://localhost": 403}.items():
            headers = signed_in | {"Origin": origin}
            assert (await local.call("POST", "/api/jobs", {}, headers=headers))[0] == wanted
        plain_http = cookie(await session(local)) | {"Sec-Fetch-Site": "same-origin"}
        assert (await local.call("POST", "/api/jobs", {}, headers=plain_http))[0] == 401, "not by that name on https"


async def test_reading_needs_none_of_it(tmp_path: Path, autojump_clock: Any) -> None:
    async with oidc_local(tmp_path) as local:
        signed_in = cookie(await session(local)) | HOST
        for headers in ({}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "cross-site"}):
            assert (await local.call("GET", "/api/stats", headers=signed_in | headers))[0] == 200


async def test_what_a_page_cannot_send_is_not_concerned(tmp_path: Path, autojump_clock: Any) -> None:
    """An API token or a worker's secret in a header: no other site's page can make a browser add it."""
    async with oidc_local(tmp_path) as local:
        for headers in (bearer(await token(local, "admin")).headers, await worker(local, "a")):
            for elsewhere in ELSEWHERE:
                sent = headers | elsewhere | cookie("stale")
                assert (await local.call("POST", "/api/workers/a/heartbeat", {}, headers=sent))[0] == 200


@pytest.mark.parametrize("route", OPEN, ids=lambda route: route.name)
async def test_signing_in_and_out(tmp_path: Path, autojump_clock: Any, route: Route) -> None:
    """Nobody is signed in as somebody else by another site's form, nor signed out by it."""
    async with oidc_local(tmp_path) as local:
        form = f"token={await token(local, 'read')}".encode()
        for headers, ours in [(each, False) for each in ELSEWHERE] + [(each, True) for each in OURS]:
            session_id = await session(local)
            signed_in = cookie(session_id) | HOST | headers
            signed_in["Content-Type"] = "application/x-www-form-urlencoded"
            answer = await local.call(route.method, route.path, form, headers=signed_in)
            if not ours:
                assert_problem(answer, 403, "cross-site")
            else:
                assert answer[0] in (200, 303)
            assert await is_signed_in(local, session_id) is not ours, (headers, "both end the session from before")


async def is_signed_in(local: LocalServer, session_id: str) -> bool:
    return (await local.call("GET", "/api/stats", headers=cookie(session_id) | HOST))[0] == 200


async def test_a_program_signs_out_without_a_cookie(tmp_path: Path, autojump_clock: Any) -> None:
    """It has no session to ride on. From another site's page a browser sends no cookie, and must keep it."""
    async with oidc_local(tmp_path) as local:
        bearer = {"Authorization": f"Bearer {local.parts.admin_token}"} | HOST
        for headers, status in [({}, 200)] + [(each, 403) for each in ELSEWHERE if not each.keys() <= {"Referer"}]:
            answer = await local.http.post("/auth/logout", headers=bearer | headers)
            assert answer.status_code == status
            assert "Set-Cookie" not in answer.headers
