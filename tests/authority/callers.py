"""Every kind of caller, each in a house of its own: what it sends with a request, and who it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import trio

from actors.messages import NewSession, Person, SignIn
from blobforge.people import new_session_id, session_hash
from tests.fixtures.house import House, open_house
from tests.web.calls import token, worker

KINDS = [
    "nobody", "read", "submit", "work", "admin token", "expired", "revoked",
    "worker A", "worker B", "disabled", "user", "admin user",
]  # fmt: skip
# Nothing listens there: discovery is lazy, and a session that was just begun need not be checked again.
OIDC = {
    "oidc_issuer": "http://127.0.0.1:1",
    "oidc_client_id": "blobforge",
    "oidc_client_secret": "not-a-real-secret",
    "oidc_redirect_url": "http://127.0.0.1:1/auth/callback",
}
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@dataclass
class Caller:
    """`headers` are its credential, `secret` what it would paste into the sign-in form, `worker` whom it works as,
    `other` whom it must not work as."""

    headers: dict[str, str] = field(default_factory=dict)
    secret: str = ""
    worker: str = "t"
    other: str = "a"


def bearer(secret: str) -> Caller:
    return Caller({"Authorization": f"Bearer {secret}"}, secret)


async def session(house: House, *, admin: bool = False, subject: str = "somebody") -> str:
    """Somebody signs in, as after the provider's answer; returns the cookie's value."""
    session_id = new_session_id()
    person = Person(OIDC["oidc_issuer"], subject, None, subject.title(), ("staff",), admin)
    expires = house.parts.now() + 86_400_000
    await house.ask(SignIn(NewSession(session_hash(session_id), expires, None, "192.0.2.9", "a browser"), person))
    return session_id


def cookie(session_id: str) -> dict[str, str]:
    return {"Cookie": f"blobforge={session_id}"}


@asynccontextmanager
async def oidc_house(folder: Path, **settings: Any) -> AsyncIterator[House]:
    """A house where people can have signed in."""
    async with open_house(folder / "data", **OIDC, **settings) as house:
        # A client that keeps no cookies: each request has the credential that the test gives it, and no other.
        house.http = house.app.test_client(use_cookies=False)
        yield house


async def caller(house: House, kind: str) -> Caller:
    """A caller with a fresh credential of this kind. Workers `a` and `b` are there; `a` runs job 1."""
    a, b = await worker(house, "a"), await worker(house, "b")
    await house.submit()
    await house.claim("a")
    match kind:
        case "nobody":
            return Caller()
        case "read" | "submit":
            return bearer(await token(house, kind))
        case "work":
            made = bearer(await token(house, "work"))
            await house.register("t", headers=made.headers)
            return made
        case "admin token":
            made = bearer(await token(house, "admin"))
            made.worker = "a"
            return made
        case "expired":
            made = bearer(await token(house, "admin", expires_in=1 / 86_400))
            await trio.sleep(2)
            return made
        case "revoked":
            _, answer = await house.call("POST", "/api/tokens", {"name": "t", "scopes": ["admin"]})
            assert (await house.call("GET", "/api/stats", token=answer["token"]))[0] == 200, "cached by now"
            await house.call("DELETE", f"/api/tokens/{answer['id']}")
            return bearer(answer["token"])
        case "worker A":
            return Caller(a, a["X-Worker-Secret"], "a", "b")
        case "worker B":
            return Caller(b, b["X-Worker-Secret"], "b", "a")
        case "disabled":
            await house.call("POST", "/api/admin/workers/b/disable")
            return Caller(b, b["X-Worker-Secret"], "b", "a")
        case "user" | "admin user":
            headers = cookie(await session(house, admin=kind == "admin user")) | SAME_ORIGIN
            return Caller(headers, "", "a")
        case _:
            raise AssertionError(f"docs/authority.md has a column {kind!r}; tests/authority/callers.py makes none")


Door = Literal["yes", "401", "403", "page"]


def door(status: int, location: str = "") -> Door:
    """What an answer says about who may come in."""
    match status:
        case 401:
            return "401"
        case 403:
            return "403"
        case 303 if location.startswith("/login"):
            return "page"
        case _:
            return "yes"
