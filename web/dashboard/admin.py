"""For administrators: tokens, people, what was done, backups, settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

from quart import Response

from blobforge.access import Token
from blobforge.config import describe
from blobforge.people import Session, User
from blobforge.refusals import Refusal
from blobforge.store.reading import Reader
from web.api import backups, people, wire
from web.dashboard.page import page
from web.decode import query
from web.html import redirect
from web.routing import Access, Call, Route

TABS = (
    ("API tokens", "/admin/tokens"),
    ("Users", "/admin/users"),
    ("Audit log", "/admin/audit"),
    ("Backup", "/admin/backup"),
    ("Settings", "/admin/settings"),
)


PAGE = 100  # rows
Holder = TypeVar("Holder", Token, User)


async def first(call: Call) -> Response:
    return redirect(TABS[0][1])


async def tokens(call: Call) -> Response | Refusal:
    def read(reader: Reader, after: int) -> list[tuple[Token, list[Session]]]:
        return [(each, reader.sessions_of_token(each.id)) for each in reader.tokens(after=after, limit=PAGE + 1)]

    return await _listed(call, "admin_tokens.html", "/admin/tokens", "tokens", read)


async def users(call: Call) -> Response | Refusal:
    def read(reader: Reader, after: int) -> list[tuple[User, list[Session]]]:
        return [(each, reader.sessions_of(each.id)) for each in reader.users(after=after, limit=PAGE + 1)]

    oidc = call.services.settings.oidc_issuer
    return await _listed(call, "admin_users.html", "/admin/users", "users", read, oidc=oidc)


async def _listed(
    call: Call,
    template: str,
    tab: str,
    name: str,
    read: Callable[[Reader, int], list[tuple[Holder, list[Session]]]],
    **context: Any,
) -> Response | Refusal:
    """A page of those who hold sessions, by id. `read` gives one more than a page holds, where there are more."""
    wanted = query(call.request.args, wire.ArrayQuery)
    if isinstance(wanted, Refusal):
        return wanted
    found = await call.services.reads.run(lambda reader: read(reader, wanted.cursor))
    shown = found[:PAGE]
    following = f"{tab}?cursor={shown[-1][0].id}" if len(found) > len(shown) else None
    first = tab if wanted.cursor else None
    return await _tab(call, template, tab, **{name: shown}, first=first, following=following, **context)


async def audit(call: Call) -> Response | Refusal:
    wanted = query(call.request.args, wire.AuditQuery)
    if isinstance(wanted, Refusal):
        return wanted
    entries, following = await people.read_audit(call.services, wanted)
    kept = {name: value for name, value in call.request.args.items() if value and name != "cursor"}
    more = f"/admin/audit?{urlencode(kept | {'cursor': following})}" if following is not None else None
    return await _tab(call, "admin_audit.html", "/admin/audit", entries=entries, given=kept, following=more)


async def backup(call: Call) -> Response:
    return await _tab(call, "admin_backup.html", "/admin/backup", report=await backups.report(call))


async def settings(call: Call) -> Response:
    return await _tab(call, "admin_settings.html", "/admin/settings", variables=describe(call.services.settings))


async def _tab(call: Call, template: str, tab: str, **context: Any) -> Response:
    title = next(name for name, url in TABS if url == tab)
    return await page(call, template, title=title, place="/admin", tabs=TABS, tab=tab, **context)


ROUTES = [
    Route("GET", "/admin", Access.ADMIN, first, "The administrators' pages", gives=str, page=True),
    Route("GET", "/admin/tokens", Access.ADMIN, tokens, "API tokens", gives=str, page=True, query=wire.ArrayQuery),
    Route("GET", "/admin/users", Access.ADMIN, users, "Users and their sessions", gives=str, page=True,
          query=wire.ArrayQuery),
    Route("GET", "/admin/audit", Access.ADMIN, audit, "The audit log", gives=str, page=True, query=wire.AuditQuery),
    Route("GET", "/admin/backup", Access.ADMIN, backup, "The backup and its drills", gives=str, page=True),
    Route("GET", "/admin/settings", Access.ADMIN, settings, "Settings in force", gives=str, page=True),
]  # fmt: skip
