"""How long a session lasts, in virtual time, what ends it from outside, and what stands between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actors import messages as m
from blobforge.access import Scope
from blobforge.refusals import Refusal, RefusalCode
from tests.auth.visitor import LEAVING, SAME_ORIGIN, SESSION, Visitor, open_oidc_local, rows, sessions, until
from tests.fixtures.evil_provider import BROKEN, DISCOVERY, TOKEN, EvilProvider
from tests.fixtures.local import LocalServer, open_local
from tests.fixtures.provider import free_port
from tests.store.making import T0, Book, hash_of

Clock = trio.testing.MockClock
NEVER = 10**8  # seconds: the provider is not asked again
DAY = 86_400


# ------------------------------------------------------------------ limits


async def test_a_session_that_is_not_used_ends(evil: EvilProvider, mock_clock: Clock, tmp_path: Path) -> None:
    async with open_oidc_local(tmp_path / "data", evil, session_idle=3600, session_recheck=NEVER) as local:
        visitor = await Visitor(local).signed_in(evil)
        for _ in range(5):
            mock_clock.jump(3000)
            assert await visitor.me() is not None
        mock_clock.jump(3601)
        assert await visitor.me() is None
        status = (await visitor.get("/api/jobs")).status
        assert status == 401


async def test_a_session_ends_whatever_happens(evil: EvilProvider, mock_clock: Clock, tmp_path: Path) -> None:
    given: Any = {"session_idle": 3600, "session_lifetime": 10_000, "session_recheck": NEVER}
    async with open_oidc_local(tmp_path / "data", evil, **given) as local:
        visitor = await Visitor(local).signed_in(evil)
        for _ in range(3):
            mock_clock.jump(3000)
            assert await visitor.me() is not None
        mock_clock.jump(1000)
        assert await visitor.me() is None


@pytest.mark.parametrize("limit", ["session_idle", "session_lifetime"])
async def test_the_reaper_purges_sessions_that_ended(
    evil: EvilProvider, mock_clock: Clock, tmp_path: Path, limit: str
) -> None:
    given: Any = {"session_idle": 30 * DAY, "session_lifetime": 30 * DAY} | {limit: 3600}
    async with open_oidc_local(tmp_path / "data", evil, **given) as local:
        await Visitor(local).signed_in(evil)
        mock_clock.jump(3000)
        await trio.testing.wait_all_tasks_blocked()
        assert len(sessions(local)) == 1
        mock_clock.jump(4000)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(4000)
        await until(lambda: sessions(local) == [])


async def test_the_reaper_knows_how_long_a_session_may_rest(
    evil: EvilProvider, mock_clock: Clock, tmp_path: Path
) -> None:
    given: Any = {"session_idle": 10 * DAY, "session_lifetime": 30 * DAY, "session_recheck": NEVER}
    async with open_oidc_local(tmp_path / "data", evil, **given) as local:
        visitor = await Visitor(local).signed_in(evil)
        for _ in range(3):
            mock_clock.jump(2 * DAY)
            await trio.testing.wait_all_tasks_blocked()
        assert await visitor.me() is not None


# ------------------------------------------------------------------ ends from outside


async def test_without_oidc_its_sessions_end(evil: EvilProvider, mock_clock: Clock, tmp_path: Path) -> None:
    async with open_oidc_local(tmp_path / "data", evil) as local:
        cookies = (await Visitor(local).signed_in(evil)).cookies
    async with open_local(tmp_path / "data") as local:
        visitor = Visitor(local)
        visitor.cookies = cookies
        assert await visitor.me() is None
        assert (await visitor.get("/api/jobs")).status == 401


async def _by_token(local: LocalServer, token: str) -> Visitor:
    visitor = Visitor(local)
    page = await visitor.go("POST", "/login", f"token={token}".encode(), **SAME_ORIGIN)
    assert page.status == 303, page.text
    return visitor


async def test_a_deleted_token_ends_its_sessions(local: LocalServer, autojump_clock: Any) -> None:
    _, made = await local.call("POST", "/api/admin/tokens", {"name": "ci", "scopes": ["read"]})
    visitor = await _by_token(local, made["token"])
    assert await visitor.me() == {"name": "ci", "is_admin": False, "scopes": ["read"]}
    assert (await visitor.get("/api/jobs")).status == 200
    assert (await visitor.get("/api/admin/tokens")).status == 403
    await local.call("DELETE", f"/api/admin/tokens/{made['id']}")
    assert await visitor.me() is None
    assert sessions(local) == []


async def test_an_expired_token_ends_its_sessions(local: LocalServer, autojump_clock: Any) -> None:
    fields = {"name": "ci", "scopes": ["read"], "expires_in": 60 / DAY}
    _, made = await local.call("POST", "/api/admin/tokens", fields)
    visitor = await _by_token(local, made["token"])
    await trio.sleep(59)
    assert await visitor.me() is not None
    await trio.sleep(2)
    assert await visitor.me() is None


async def test_signing_out_ends_the_session_itself(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock
) -> None:
    evil.metadata["end_session_endpoint"] = f"{evil.issuer}/bye"
    visitor = await Visitor(oidc_local).signed_in(evil)
    kept = Visitor(oidc_local)
    kept.cookies = dict(visitor.cookies)
    page = await visitor.go("POST", "/auth/logout", **SAME_ORIGIN)
    assert page.status == 200
    assert page.headers["Refresh"].startswith(f"0; url={evil.issuer}/bye?")
    assert "id_token_hint=" in page.headers["Refresh"]
    assert await kept.me() is None
    assert (await kept.get("/auth/logout")).status == 405  # never by GET


async def test_signing_out_needs_no_provider(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock) -> None:
    visitor = await Visitor(oidc_local).signed_in(evil)
    evil.bent |= {TOKEN: BROKEN, DISCOVERY: BROKEN}
    mock_clock.jump(2 * 3600)  # past the re-check, and past what discovery said
    asked = evil.count(TOKEN)
    page = await visitor.go("POST", "/auth/logout", **SAME_ORIGIN)
    assert page.status == 200
    assert "Refresh" not in page.headers
    assert evil.count(TOKEN) == asked
    assert sessions(oidc_local) == []


# ------------------------------------------------------------------ http, https, and who stands between


async def test_a_provider_that_is_down_at_the_start(mock_clock: Clock, tmp_path: Path) -> None:
    given: Any = {"oidc_issuer": f"http://127.0.0.1:{free_port()}", "oidc_client_id": "x"}
    given |= {"oidc_redirect_url": "http://localhost/auth/callback"}
    async with open_local(tmp_path / "data", **given) as local:
        visitor = Visitor(local)
        assert (await visitor.get("/readyz")).status == 200
        page = await visitor.get("/auth/login")
        assert page.status == 503
        assert "Everything else goes on working" in page.text
        assert "Retry-After" in page.headers
        visitor = await _by_token(local, local.parts.admin_token)  # the way in that needs no provider
        assert (await visitor.me())["is_admin"] is True


async def test_cookies_over_https(evil: EvilProvider, mock_clock: Clock, tmp_path: Path) -> None:
    async with open_oidc_local(tmp_path / "data", evil, public_url="https://blobforge.example") as local:
        visitor = Visitor(local)
        url = await visitor.leave()
        assert set(visitor.cookies) == {visitor.leaving}
        assert visitor.leaving.startswith("__Secure-blobforge-leaving-")
        page = await visitor.sign_in(evil)
        cookie = page.cookies["__Host-blobforge"]
        assert cookie["secure"]
        assert cookie["httponly"]
        assert (cookie["samesite"], cookie["path"], cookie["domain"]) == ("Lax", "/", "")
        assert "max-age=" in page.headers["Strict-Transport-Security"]
        assert url.startswith(evil.issuer)
        # A cookie under the unprefixed name could come from a neighbour: it counts for nothing.
        neighbour = Visitor(local)
        neighbour.cookies["blobforge"] = visitor.cookies["__Host-blobforge"]
        assert await neighbour.me() is None


async def test_cookies_over_http(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock) -> None:
    visitor = Visitor(oidc_local)
    await visitor.leave()
    assert set(visitor.cookies) == {visitor.leaving}
    assert visitor.leaving.startswith(f"{LEAVING}-")
    page = await visitor.sign_in(evil)
    cookie = page.cookies[SESSION]
    assert cookie["httponly"]
    assert (cookie["samesite"], cookie["path"], cookie["secure"]) == ("Lax", "/", "")
    assert "Strict-Transport-Security" not in page.headers


async def test_no_session_over_http_but_on_this_machine(
    evil: EvilProvider, mock_clock: Clock, tmp_path: Path
) -> None:
    async with open_oidc_local(tmp_path / "data", evil) as local:
        visitor = Visitor(local, host="blobforge.lan:8080")
        code = local.parts.first_code
        form = f"token={local.parts.admin_token}".encode()
        pages = [
            await visitor.get("/auth/login"),
            await visitor.get(f"/auth/first?code={code}"),
            await visitor.go("POST", "/login", form, **SAME_ORIGIN),
        ]
        for page in pages:
            assert page.status == 400
            assert "BLOBFORGE_PUBLIC_URL" in page.text
            assert page.cookies == {}
        assert 'name="token"' not in (await visitor.get("/login")).text  # a token is not asked for either
        assert sessions(local) == []
        for host in ("localhost:8080", "127.0.0.1:8080", "[::1]:8080"):
            await Visitor(local, host=host).signed_in(evil)
        # The link was not used up.
        page = await Visitor(local).get(f"/auth/first?code={code}")
        assert page.status == 303
    async with open_oidc_local(tmp_path / "data", evil, public_url="http://blobforge.lan:8080") as local:
        await Visitor(local, host="blobforge.lan:8080").signed_in(evil)


@pytest.mark.parametrize(
    "host", ["localhost.evil.example", "127.0.0.1.evil.example", "evil.example:localhost", "[::2]"]
)
async def test_hosts_that_only_look_like_this_machine(
    oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock, host: str
) -> None:
    assert (await Visitor(oidc_local, host=host).get("/auth/login")).status == 400


async def test_a_proxy_that_was_named_is_believed(evil: EvilProvider, mock_clock: Clock, tmp_path: Path) -> None:
    headers = {"X_Forwarded_Proto": "https", "X_Forwarded_For": "198.51.100.7, 203.0.113.5, 10.1.2.3"}
    async with open_oidc_local(tmp_path / "data", evil, trusted_proxies="10.0.0.0/8") as local:
        behind = Visitor(local, host="blobforge.example", peer="10.9.9.9", **headers)
        page = await behind.sign_in(evil)
        assert page.cookies["__Host-blobforge"]["secure"]
        # The last address that no trusted proxy has; what stands before it, anybody may have written.
        assert rows(local, "sessions", "address") == [("203.0.113.5",)]
        # The same headers from somebody else.
        stranger = Visitor(local, host="blobforge.example", peer="192.0.2.1", **headers)
        assert (await stranger.get("/auth/login")).status == 400
        visitor = Visitor(local, host="localhost", peer="192.0.2.1", **headers)
        assert "secure" not in str((await visitor.sign_in(evil)).cookies[SESSION]).lower()
        addresses = rows(local, "sessions", "address", order="created_at, address")
        assert ("192.0.2.1",) in addresses


async def test_nobody_is_a_proxy_unless_named(oidc_local: LocalServer, evil: EvilProvider, mock_clock: Clock) -> None:
    visitor = Visitor(oidc_local, peer="127.0.0.1", X_Forwarded_Proto="https", X_Forwarded_For="203.0.113.5")
    page = await visitor.sign_in(evil)
    assert SESSION in page.cookies
    assert rows(oidc_local, "sessions", "address") == [("127.0.0.1",)]
    _, listed = await oidc_local.call("GET", "/api/admin/audit")
    assert "203.0.113.5" not in str(listed)


def test_a_token_is_deleted_while_somebody_signs_in_with_it(tmp_path: Path) -> None:
    """It was an unhandled error (a session of a token that is not there)."""
    book = Book(tmp_path / "blobforge.db")
    made = book.do(m.CreateToken("mine", hash_of("mine"), "bf_", frozenset({Scope.READ})))
    book.do(m.DeleteToken(made.token_id))
    new = m.NewSession(hash_of("session"), expires_at=T0 * 2)
    answer = book.do(m.SignIn(new, token_id=made.token_id))
    assert isinstance(answer, Refusal)
    assert answer.code is RefusalCode.UNAUTHENTICATED
