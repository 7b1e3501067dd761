"""What an attacker sends to our own pages: refused, and no session made that should not be.

The provider follows a script; our side is the real one.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.auth.visitor import NOBODY_ELSE, SAME_ORIGIN, SESSION, Visitor, assert_refused, sessions
from tests.fixtures.evil_provider import (
    EvilProvider,
)
from tests.fixtures.local import LocalServer


async def test_an_honest_sign_in(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    # What all the refusals below are measured against.
    visitor = Visitor(oidc_local)
    page = await visitor.sign_in(evil)
    assert (page.status, page.location) == (303, "/")
    assert len(sessions(oidc_local)) == 1
    assert await visitor.me() == {"name": "Ada", "is_admin": False, "scopes": ["read", "submit"]}


# ------------------------------------------------------------------ where to afterwards


ELSEWHERE = [
    "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example",
    "https:evil.example", "javascript:alert(1)", "evil.example", "", "/\t/evil.example", "/\r\nX: y", "/\x00",
    "/" + "a" * 2000, " //evil.example", "/\u2028x",
]  # fmt: skip


@pytest.mark.parametrize("next_path", ELSEWHERE, ids=lambda text: ascii(text)[:20])
async def test_next_leads_nowhere_else(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, next_path: str
) -> None:
    visitor = Visitor(oidc_local)
    page = await visitor.sign_in(evil, quote(next_path, safe=""))
    assert (page.status, page.location) == (303, "/")
    form = f"token={oidc_local.parts.admin_token}&next={quote(next_path, safe='')}".encode()
    page = await visitor.go("POST", "/login", form, **SAME_ORIGIN)
    assert (page.status, page.location) == (303, "/")


@pytest.mark.parametrize("next_path", ["/", "/jobs", "/jobs?status=dead&q=a%20b", "/a//b", "/%0d%0aX: y", "/ü☃"])
async def test_next_is_a_path_of_ours(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, next_path: str
) -> None:
    visitor = Visitor(oidc_local)
    page = await visitor.sign_in(evil, quote(next_path, safe=""))
    assert page.status == 303
    assert page.location.startswith("/")
    assert not page.location.startswith("//")
    assert page.location.isascii()
    assert "\r" not in page.location
    assert "X" not in page.headers
    if next_path.isascii() and " " not in next_path:
        assert page.location == next_path


# ------------------------------------------------------------------ sessions


async def test_a_session_that_was_there_before_ends(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    old = visitor.cookies[SESSION]
    await visitor.sign_in(evil)
    assert visitor.cookies[SESSION] != old
    assert len(sessions(oidc_local)) == 1
    left_behind = Visitor(oidc_local)
    left_behind.cookies[SESSION] = old
    assert await left_behind.me() is None


async def test_a_planted_session_id_is_not_taken(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any
) -> None:
    # Session fixation: the attacker knows the id that the victim brings along.
    attacker, victim = await Visitor(oidc_local).signed_in(evil), Visitor(oidc_local)
    victim.cookies[SESSION] = planted = attacker.cookies[SESSION]
    await victim.sign_in(evil)
    assert victim.cookies[SESSION] != planted
    assert await attacker.me() is None
    assert await victim.me() is not None
    victim.cookies[SESSION] = "of-my-own-making"
    await victim.sign_in(evil)
    assert victim.cookies[SESSION] != "of-my-own-making"


async def test_the_database_is_no_key(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    [(hash_, _, _)] = sessions(oidc_local)
    thief = Visitor(oidc_local)
    thief.cookies[SESSION] = hash_
    assert await thief.me() is None
    raw = b"".join(path.read_bytes() for path in oidc_local.folder.glob("blobforge.db*"))
    assert visitor.cookies[SESSION].encode() not in raw
    for secret in evil.secrets_given:
        assert secret.encode() not in raw, "the provider's tokens rest unsealed"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": NOBODY_ELSE},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    ],
)
async def test_requests_from_other_sites(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, headers: dict[str, str]
) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    for path in ("/auth/logout", "/login", "/api/jobs", "/api/jobs/1/cancel"):
        page = await visitor.go("POST", path, b"{}", **headers)
        assert page.status == 403, path
        assert "urn:blobforge:problem:cross-site" in page.text
    assert await visitor.me() is not None
    assert len(sessions(oidc_local)) == 1


@pytest.mark.parametrize("headers", [SAME_ORIGIN, {"Origin": "http://localhost"}])
async def test_requests_from_our_own_pages(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any, headers: dict[str, str]
) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    page = await visitor.go("POST", "/auth/logout", **headers)
    assert page.status == 200
    assert SESSION not in visitor.cookies
    assert sessions(oidc_local) == []


async def test_a_form_with_too_many_fields(oidc_local: LocalServer, mock_clock: Any) -> None:
    visitor = Visitor(oidc_local)
    page = await visitor.go("POST", "/login", b"&".join(b"a=1" for _ in range(50)), **SAME_ORIGIN)
    assert_refused(oidc_local, visitor, page, "not what the form sends", status=400)


@pytest.mark.parametrize(
    ("body", "status"), [(b"", 401), (b"token=", 401), (b"token=%ff%fe", 401), (b"\xff", 401), (b"x" * 5000, 413)]
)
async def test_a_form_that_holds_no_token(oidc_local: LocalServer, mock_clock: Any, body: bytes, status: int) -> None:
    visitor = Visitor(oidc_local)
    page = await visitor.go("POST", "/login", body, **SAME_ORIGIN)
    assert_refused(oidc_local, visitor, page, "", status=status)


async def test_guessing_tokens_at_the_form(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Any) -> None:
    visitor = Visitor(oidc_local, peer="203.0.113.9")
    for _ in range(30):
        page = await visitor.go("POST", "/login", b"token=bf_guess", **SAME_ORIGIN)
    assert_refused(oidc_local, visitor, page, "Too many", status=429)
    assert int(page.headers["Retry-After"]) >= 1
    form = f"token={oidc_local.parts.admin_token}".encode()
    assert (await visitor.go("POST", "/login", form, **SAME_ORIGIN)).status == 303


async def test_guessing_the_first_link(oidc_local: LocalServer, mock_clock: Any) -> None:
    visitor = Visitor(oidc_local, peer="203.0.113.9")
    for _ in range(30):
        page = await visitor.get("/auth/first?code=guess")
    assert_refused(oidc_local, visitor, page, "Too many", status=429)
    assert int(page.headers["Retry-After"]) >= 1
