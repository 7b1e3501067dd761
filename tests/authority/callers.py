"""Every kind of caller, each in a server of its own: what it sends with a request, and who it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import trio

from actors.messages import NewSession, Person, SignIn
from blobforge.people import new_session_id, session_hash
from tests.fixtures.local import LocalServer, open_local
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


async def session(local: LocalServer, *, admin: bool = False, subject: str = "somebody") -> str:
    """Somebody signs in, as after the provider's answer; returns the cookie's value."""
    session_id = new_session_id()
    person = Person(OIDC["oidc_issuer"], subject, None, subject.title(), ("staff",), admin)
    expires = local.parts.now() + 86_400_000
    await local.ask(SignIn(NewSession(session_hash(session_id), expires, None, "192.0.2.9", "a browser"), person))
    return session_id


def cookie(session_id: str) -> dict[str, str]:
    return {"Cookie": f"blobforge={session_id}"}


@asynccontextmanager
async def oidc_local(folder: Path, **settings: Any) -> AsyncIterator[LocalServer]:
    """A server where people can have signed in."""
    async with open_local(folder / "data", **OIDC, **settings) as local:
        # A client that keeps no cookies: each request has the credential that the test gives it, and no other.
        local.http = local.app.test_client(use_cookies=False)
        yield local


async def caller(local: LocalServer, kind: str) -> Caller:
    """A caller with a fresh credential of this kind. Workers `a` and `b` are there; `a` runs job 1."""
    a, b = await worker(local, "a"), await worker(local, "b")
    await local.submit()
    await local.claim("a")
    match kind:
        case "nobody":
            return Caller()
        case "read" | "submit":
            return bearer(await token(local, kind))
        case "work":
            made = bearer(await token(local, "work"))
            await local.register("t", headers=made.headers)
            return made
        case "admin token":
            made = bearer(await token(local, "admin"))
            made.worker = "a"
            return made
        case "expired":
            made = bearer(await token(local, "admin", expires_in=1 / 86_400))
            await trio.sleep(2)
            return made
        case "revoked":
            _, answer = await local.call("POST", "/api/tokens", {"name": "t", "scopes": ["admin"]})
            assert (await local.call("GET", "/api/stats", token=answer["token"]))[0] == 200, "cached by now"
            await local.call("DELETE", f"/api/tokens/{answer['id']}")
            return bearer(answer["token"])
        case "worker A":
            return Caller(a, a["X-Worker-Secret"], "a", "b")
        case "worker B":
            return Caller(b, b["X-Worker-Secret"], "b", "a")
        case "disabled":
            await local.call("POST", "/api/admin/workers/b/disable")
            return Caller(b, b["X-Worker-Secret"], "b", "a")
        case "user" | "admin user":
            headers = cookie(await session(local, admin=kind == "admin user")) | SAME_ORIGIN
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
