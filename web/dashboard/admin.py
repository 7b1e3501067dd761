"""The pages for administrators: tokens, people, the audit log, backups, settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from quart import Response

from blobforge.access import Scope, Token
from blobforge.config import describe
from blobforge.people import Session, User
from blobforge.refusals import Refusal
from blobforge.store.filters import TokenFilter, UserFilter
from blobforge.store.reading import Reader
from web.api import backups, people, servers, wire_access, wire_status
from web.dashboard.page import page
from web.decode import query
from web.html import redirect
from web.routing import Access, Call, Route

TABS = (
    ("API tokens", "/admin/tokens"),
    ("Users", "/admin/users"),
    ("Webhooks", "/admin/webhooks"),
    ("Audit log", "/admin/audit"),
    ("Backup", "/admin/backup"),
    ("Servers", "/admin/servers"),
    ("Settings", "/admin/settings"),
)


PAGE = 100  # rows
MOST_SESSIONS = 20  # of one holder: the latest
Holder = TypeVar("Holder", Token, User)
Asked = TypeVar("Asked", wire_access.TokensQuery, wire_access.UsersQuery)


async def first(call: Call) -> Response:
    return redirect(TABS[0][1])


async def tokens(call: Call) -> Response | Refusal:
    now = call.services.now()

    def read(reader: Reader, wanted: wire_access.TokensQuery) -> list[tuple[Token, list[Session]]]:
        filter_ = TokenFilter(now, wanted.q, wanted.scope, wanted.expired)
        found = reader.tokens(filter_, after=wanted.cursor, limit=PAGE + 1)
        return [(each, reader.latest_sessions(token_id=each.id, limit=MOST_SESSIONS + 1)) for each in found]

    return await _listed(
        call, wire_access.TokensQuery, "admin_tokens.html", "/admin/tokens", "tokens", read, scopes=list(Scope)
    )


async def users(call: Call) -> Response | Refusal:
    def read(reader: Reader, wanted: wire_access.UsersQuery) -> list[tuple[User, list[Session]]]:
        found = reader.users(UserFilter(wanted.q, wanted.admin), after=wanted.cursor, limit=PAGE + 1)
        return [(each, reader.latest_sessions(user_id=each.id, limit=MOST_SESSIONS + 1)) for each in found]

    oidc = call.services.settings.oidc_issuer
    return await _listed(call, wire_access.UsersQuery, "admin_users.html", "/admin/users", "users", read, oidc=oidc)


async def _listed(
    call: Call,
    asked: type[Asked],
    template: str,
    tab: str,
    name: str,
    read: Callable[[Reader, Asked], list[tuple[Holder, list[Session]]]],
    **context: Any,
) -> Response | Refusal:
    """A page of the holders of sessions, by id. `read` gives one more than a page holds, where there are more; of
    sessions, too, one more than are shown."""
    wanted = query(call.request.args, asked)
    if isinstance(wanted, Refusal):
        return wanted
    found = await call.services.reads.moment(lambda reader: read(reader, wanted))
    shown = found[:PAGE]
    given = _filters(call, asked)
    more = f"{tab}?{urlencode(given | {'cursor': shown[-1][0].id})}" if len(found) > len(shown) else None
    first = f"{tab}?{urlencode(given)}" if wanted.cursor else None
    return await tab_page(
        call, template, tab, **{name: shown}, given=given, first=first, following=more, most=MOST_SESSIONS, **context
    )


def _filters(call: Call, asked: type[msgspec.Struct]) -> dict[str, str]:
    """The fields that the form has filled in."""
    names = set(asked.__struct_fields__) - {"cursor", "limit"}
    return {name: value for name, value in call.request.args.items() if value and name in names}


async def audit(call: Call) -> Response | Refusal:
    wanted = query(call.request.args, wire_access.AuditQuery)
    if isinstance(wanted, Refusal):
        return wanted
    entries, following = await people.read_audit(call.services, wanted)
    kept = _filters(call, wire_access.AuditQuery)
    more = f"/admin/audit?{urlencode(kept | {'cursor': following})}" if following is not None else None
    first = f"/admin/audit?{urlencode(kept)}" if "cursor" in call.request.args else None
    return await tab_page(
        call, "admin_audit.html", "/admin/audit", entries=entries, given=kept, first=first, following=more
    )


async def backup(call: Call) -> Response | Refusal:
    wanted = query(call.request.args, wire_status.DrillsQuery)
    if isinstance(wanted, Refusal):
        return wanted
    found = await backups.read_drills(call.services, wanted)
    given = _filters(call, wire_status.DrillsQuery)
    more = f"/admin/backup?{urlencode(given | {'cursor': found.next_cursor})}" if found.next_cursor else None
    first = f"/admin/backup?{urlencode(given)}" if "cursor" in call.request.args else None
    return await tab_page(
        call, "admin_backup.html", "/admin/backup", report=await backups.report(call), drills=found.drills,
        given=given, first=first, following=more,
    )  # fmt: skip


async def servers_(call: Call) -> Response:
    found = servers.read_servers(call).servers
    return await tab_page(
        call, "admin_servers.html", "/admin/servers", servers=found, alone=call.services.presence.alone
    )


async def settings(call: Call) -> Response:
    return await tab_page(call, "admin_settings.html", "/admin/settings", variables=describe(call.services.settings))


async def tab_page(call: Call, template: str, tab: str, **context: Any) -> Response:
    """One of TABS, by its address."""
    title = next(name for name, url in TABS if url == tab)
    return await page(call, template, title=title, place="/admin", tabs=TABS, tab=tab, **context)


ROUTES = [
    Route("GET", "/admin", Access.ADMIN, first, "The administrators' pages", gives=str, page=True),
    Route("GET", "/admin/tokens", Access.ADMIN, tokens, "API tokens", gives=str, page=True,
          query=wire_access.TokensQuery),
    Route("GET", "/admin/users", Access.ADMIN, users, "Users and their sessions", gives=str, page=True,
          query=wire_access.UsersQuery),
    Route("GET", "/admin/audit", Access.ADMIN, audit, "The audit log", gives=str, page=True,
          query=wire_access.AuditQuery),
    Route("GET", "/admin/backup", Access.ADMIN, backup, "The backup and its drills", gives=str, page=True,
          query=wire_status.DrillsQuery),
    Route("GET", "/admin/servers", Access.ADMIN, servers_, "The servers", gives=str, page=True),
    Route("GET", "/admin/settings", Access.ADMIN, settings, "Settings in force", gives=str, page=True),
]  # fmt: skip
