"""The caller, as its credential says: what a client asks before it relies on one."""

from __future__ import annotations

from blobforge.machinery.release import version
from web.api import encode, wire_access
from web.routing import Access, Call, Route


async def whoami(call: Call) -> wire_access.WhoAmI:
    caller = call.caller
    expires = None
    if (token_id := caller.token_id) is not None:
        token = await call.services.reads.run(lambda reader: reader.token(token_id))
        expires = token.expires_at if token is not None else None
    return wire_access.WhoAmI(
        subject=caller.subject,
        name=caller.name or caller.subject.partition(":")[2],
        scopes=sorted(caller.scopes),
        is_admin=caller.is_admin,
        expires_at=encode.time_or_none(expires),
        server_version=version(),
    )


ROUTES = [
    Route("GET", "/api/auth/me", Access.ANYONE_KNOWN, whoami, "Who the caller is, and what it may do",
          gives=wire_access.WhoAmI),
]  # fmt: skip
