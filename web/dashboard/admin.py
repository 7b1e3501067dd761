"""For administrators: tokens, people, what was done, backups, settings."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from quart import Response

from blobforge.config import describe
from blobforge.people import Session, User
from blobforge.refusals import Refusal
from blobforge.store.reader import Reader
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


async def first(call: Call) -> Response:
    return redirect(TABS[0][1])


async def tokens(call: Call) -> Response:
    found = await call.services.reads.run(
        lambda reader: [(token, reader.sessions_of_token(token.id)) for token in reader.tokens()]
    )
    return await _tab(call, "admin_tokens.html", "/admin/tokens", tokens=found)


async def users(call: Call) -> Response:
    def read(reader: Reader) -> list[tuple[User, list[Session]]]:
        return [(user, reader.sessions_of(user.id)) for user in reader.users()]

    found = await call.services.reads.run(read)
    return await _tab(call, "admin_users.html", "/admin/users", users=found, oidc=call.services.settings.oidc_issuer)


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
    Route("GET", "/admin/tokens", Access.ADMIN, tokens, "API tokens", gives=str, page=True),
    Route("GET", "/admin/users", Access.ADMIN, users, "Users and their sessions", gives=str, page=True),
    Route("GET", "/admin/audit", Access.ADMIN, audit, "The audit log", gives=str, page=True, query=wire.AuditQuery),
    Route("GET", "/admin/backup", Access.ADMIN, backup, "The backup and its drills", gives=str, page=True),
    Route("GET", "/admin/settings", Access.ADMIN, settings, "Settings in force", gives=str, page=True),
]  # fmt: skip
