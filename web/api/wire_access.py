"""The shapes of people and credentials: API tokens, users, sessions, the audit log.

The field names of *(existing)* shapes are fixed by clients that we do not control.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from blobforge.access import Scope
from web.api.wire_common import ArrayQuery, Moment, Name


class TokensQuery(ArrayQuery, frozen=True):
    """As every array, page by page."""

    q: Annotated[str, Meta(max_length=500, description="a part of the name")] | None = None
    scope: Scope | None = None
    expired: bool | None = None


class UsersQuery(ArrayQuery, frozen=True):
    """As every array, page by page."""

    q: Annotated[str, Meta(max_length=500, description="a part of the name, e-mail address or subject")] | None = None
    admin: bool | None = None


class TokenBody(msgspec.Struct, frozen=True):
    """`expires_in` is in days; absent, or 0: never."""

    name: Name
    is_admin: bool = False
    scopes: list[Annotated[str, Meta(pattern=r"^(read|submit|work|admin)\Z")]] | None = None
    expires_in: Annotated[float, Meta(ge=0, le=36_500)] | None = None


class TokenMade(msgspec.Struct, frozen=True):
    """The only time that the token is shown."""

    id: int
    token: str
    name: str


class TokenWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: int
    name: str
    prefix: str
    scopes: list[str]
    is_admin: bool
    created_at: str
    expires_at: str | None = None
    last_used_at: str | None = None


class UserWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: int
    issuer: str
    subject: str
    groups: list[str]
    is_admin: bool
    created_at: str
    last_login_at: str
    email: str | None = None
    name: str | None = None


class SessionWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    created_at: str
    seen_at: str
    checked_at: str
    expires_at: str
    address: str | None = None
    agent: str | None = None


class SessionsEnded(msgspec.Struct, frozen=True):
    ended: int


class WhoAmI(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`subject` is `token:3`, `worker:w1` or `user:7`."""

    subject: str
    name: str
    scopes: list[str]
    is_admin: bool
    server_version: str
    expires_at: str | None = None


class AuditQuery(msgspec.Struct, frozen=True):
    """`actor` is `token:7`, `user:3` or a name; `action` may end in `*` (`worker.*`)."""

    actor: Annotated[str, Meta(max_length=500)] | None = None
    action: Annotated[str, Meta(max_length=100)] | None = None
    subject: Annotated[str, Meta(max_length=500)] | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Annotated[int, Meta(ge=1, le=2**63 - 1, description="`next_cursor` of the page before")] = 2**63 - 1


class AuditWire(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: int
    at: str
    actor: str
    name: str
    address: str
    action: str
    subject: str
    detail: str | None = None


class AuditPage(msgspec.Struct, frozen=True):
    entries: list[AuditWire]
    next_cursor: int | msgspec.UnsetType = msgspec.UNSET
