"""A browser's cookies without a browser, a server with a scripted provider, and what is left of sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookies import Morsel, SimpleCookie
from pathlib import Path
from typing import Any

import msgspec
import trio.lowlevel

from tests.fixtures.engines import looked_into
from tests.fixtures.evil_provider import CLIENT_ID, EvilProvider, callback
from tests.fixtures.local import LocalServer, open_local

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
SESSION = "blobforge"
NOBODY_ELSE = "https://evil.example"
LEAVING = "blobforge-leaving"


@asynccontextmanager
async def open_oidc_local(folder: Path, evil: EvilProvider, **settings: Any) -> AsyncIterator[LocalServer]:
    """The server with this provider. It calls itself `localhost`, as the test client does."""
    given = {
        "oidc_issuer": evil.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": evil.client_secret,
        "oidc_redirect_url": "http://localhost/auth/callback",
        "oidc_allowed_groups": "staff",
        "oidc_admin_groups": "admins",
    } | settings
    async with open_local(folder, **given) as local:
        yield local


@dataclass
class Page:
    """One answer."""

    status: int
    headers: Any
    text: str
    cookies: dict[str, Morsel[str]]

    @property
    def location(self) -> str:
        return str(self.headers["Location"])

    def json(self) -> Any:
        return msgspec.json.decode(self.text)


class Visitor:
    """Somebody with a browser. `peer` is the address that the server sees."""

    def __init__(
        self, local: LocalServer, *, host: str = "localhost", peer: str = "127.0.0.1", **headers: str
    ) -> None:
        self.client = local.app.test_client(use_cookies=False)
        self.host, self.peer = host, peer
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.cookies: dict[str, str] = {}

    async def go(self, method: str, path: str, body: bytes = b"", **headers: str) -> Page:
        sent = {"Host": self.host} | self.headers
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        response = await self.client.open(
            path, method=method, headers=sent, data=body, scope_base={"client": (self.peer, 40_000)}
        )
        cookies: dict[str, Morsel[str]] = {}
        for line in response.headers.getlist("Set-Cookie"):
            cookies |= SimpleCookie(line)
        for name, morsel in cookies.items():
            if morsel["max-age"] == "0" or not morsel.value:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value
        raw = await response.get_data(as_text=False)
        return Page(response.status_code, response.headers, raw.decode(), cookies)

    @property
    def leaving(self) -> str:
        """The name of the cookie of the one sign-in that is under way."""
        (name,) = [name for name in self.cookies if name.startswith((LEAVING, f"__Secure-{LEAVING}"))]
        return name

    @property
    def leavings(self) -> int:
        """How many sign-ins are under way."""
        return sum(LEAVING in name for name in self.cookies)

    async def get(self, path: str, **headers: str) -> Page:
        return await self.go("GET", path, **headers)

    async def leave(self, next_path: str | None = None) -> str:
        """Start signing in; the provider's URL."""
        page = await self.get("/auth/login" + (f"?next={next_path}" if next_path is not None else ""))
        assert page.status == 303, page.text
        return page.location

    async def sign_in(self, evil: EvilProvider, next_path: str | None = None) -> Page:
        """The whole way there and back; the callback's answer."""
        return await self.get(callback(evil.authorize(await self.leave(next_path))))

    async def signed_in(self, evil: EvilProvider) -> Visitor:
        page = await self.sign_in(evil)
        assert page.status == 303, page.text
        return self

    async def me(self) -> Any:
        """Who the server says is signed in, or None."""
        return (await self.get("/api/auth/info")).json()["user"]


def rows(local: LocalServer, table: str, *columns: str, **where: Any) -> list[Any]:
    with looked_into(local.parts.services.settings.database) as database:
        return database.probe.rows(table, *columns, **where)


def sessions(local: LocalServer) -> list[Any]:
    """The sessions that are in the database."""
    return rows(local, "sessions", "hash", "user_id", "token_id")


def assert_refused(local: LocalServer, visitor: Visitor, page: Page, reason: str, *, status: int = 403) -> None:
    """A page that says why, and no session."""
    assert page.status == status, page.text
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["Cache-Control"] == "no-store"
    assert 'role="alert"' in page.text
    assert reason in page.text.replace("&#39;", "'"), page.text
    assert SESSION not in page.cookies
    assert SESSION not in visitor.cookies
    assert sessions(local) == []


async def users(local: LocalServer) -> Any:
    status, found = await local.call("GET", "/api/admin/users")
    assert status == 200
    return found


async def until(what: Any) -> None:
    """Until it is so, whatever the virtual clock says."""
    while not what():
        await trio.lowlevel.checkpoint()
