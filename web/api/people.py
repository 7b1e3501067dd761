"""Users that have signed in, their sessions, and the audit log."""

from __future__ import annotations

import msgspec
from quart import Response

from actors.messages import EndSessions
from blobforge.people import AuditEntry, Session, User
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.filters import AuditFilter, UserFilter
from blobforge.store.reading import Reader
from web.api import arrays, encode, wire_access, wire_common
from web.decode import query
from web.routing import Access, Call, Route
from web.services import Services

HASH_DIGITS = 15  # of a session's hash in a cursor: enough to tell those of one moment apart, and no more is told


async def users(call: Call) -> Response | Refusal:
    wanted = query(call.request.args, wire_access.UsersQuery)
    if isinstance(wanted, Refusal):
        return wanted
    filter_ = UserFilter(wanted.q, wanted.admin)
    found = await call.services.reads.run(
        lambda reader: reader.users(filter_, after=wanted.cursor, limit=wanted.limit + 1)
    )
    page = found[: wanted.limit]
    return arrays.one_page(
        call, [_user(user) for user in page], following=page[-1].id if len(found) > len(page) else None
    )


async def sessions(call: Call) -> Response | Refusal:
    wanted = query(call.request.args, wire_common.PlaceQuery)
    if isinstance(wanted, Refusal):
        return wanted
    place = arrays.place(wanted.cursor, of=2)
    if isinstance(place, Refusal):
        return place
    after = (place[0], f"{place[1]:0{HASH_DIGITS}x}~") if place is not None else (0, "")
    user_id = call.params["user_id"]

    def read(reader: Reader) -> list[Session] | None:
        if reader.user(user_id) is None:
            return None
        return reader.sessions_of(user_id, after=after, limit=wanted.limit + 1)

    found = await call.services.reads.moment(read)
    if found is None:
        return Refusal(RefusalCode.NO_SUCH_USER, f"There is no user {user_id}.")
    page = found[: wanted.limit]
    last = page[-1] if len(found) > len(page) else None
    following = f"{last.created_at}-{int(last.hash[:HASH_DIGITS], 16)}" if last is not None else None
    return arrays.one_page(call, [_session(each) for each in page], following=following)


async def end_sessions(call: Call) -> wire_access.SessionsEnded | Refusal:
    outcome = await call.ask(EndSessions(call.params["user_id"]))
    return outcome if isinstance(outcome, Refusal) else wire_access.SessionsEnded(outcome.count)


async def read_audit(services: Services, wanted: wire_access.AuditQuery) -> tuple[list[AuditEntry], int | None]:
    """One page of the records that match, newest first, and the cursor of the next one."""
    filter_ = AuditFilter(
        wanted.actor,
        wanted.action,
        wanted.subject,
        encode.ms_or_none(wanted.since),
        encode.ms_or_none(wanted.until),
    )
    return await services.reads.run(
        lambda reader: reader.insights.audit(filter_, before=wanted.cursor, limit=wanted.limit)
    )


async def audit(call: Call) -> wire_access.AuditPage | Refusal:
    wanted = query(call.request.args, wire_access.AuditQuery)
    if isinstance(wanted, Refusal):
        return wanted
    entries, more = await read_audit(call.services, wanted)
    return wire_access.AuditPage([_entry(each) for each in entries], more if more is not None else msgspec.UNSET)


def _user(user: User) -> wire_access.UserWire:
    return wire_access.UserWire(
        id=user.id,
        issuer=user.issuer,
        subject=user.subject,
        email=user.email,
        name=user.name,
        groups=list(user.groups),
        is_admin=user.is_admin,
        created_at=encode.rfc3339(user.created_at),
        last_login_at=encode.rfc3339(user.last_login_at),
    )


def _session(session: Session) -> wire_access.SessionWire:
    return wire_access.SessionWire(
        created_at=encode.rfc3339(session.created_at),
        seen_at=encode.rfc3339(session.seen_at),
        checked_at=encode.rfc3339(session.checked_at),
        expires_at=encode.rfc3339(session.expires_at),
        address=session.address,
        agent=session.agent,
    )


def _entry(entry: AuditEntry) -> wire_access.AuditWire:
    return wire_access.AuditWire(
        id=entry.id,
        at=encode.rfc3339(entry.at),
        actor=entry.actor,
        name=entry.name,
        address=entry.address,
        action=entry.action,
        subject=entry.subject,
        detail=entry.detail,
    )


ROUTES = [
    *(Route("GET", path, Access.ADMIN, users, "Everybody who has signed in", gives=list[wire_access.UserWire],
            query=wire_access.UsersQuery, hidden=path != "/api/admin/users") for path in ("/api/admin/users",
            "/api/users")),
    Route("GET", "/api/admin/users/<id:user_id>/sessions", Access.ADMIN, sessions, "The sessions of one user",
          gives=list[wire_access.SessionWire], query=wire_common.PlaceQuery),
    Route("DELETE", "/api/admin/users/<id:user_id>/sessions", Access.ADMIN, end_sessions,
          "End all sessions of one user, at once", gives=wire_access.SessionsEnded, audit="user.sign-out"),
    Route("GET", "/api/admin/audit", Access.ADMIN, audit, "What was done by whom, newest first",
          gives=wire_access.AuditPage, query=wire_access.AuditQuery),
]  # fmt: skip
