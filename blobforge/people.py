"""People and their sessions, with the pure rules of how long a session lasts and which people are let in."""

from __future__ import annotations

import hashlib
import secrets

import msgspec

from blobforge.access import Caller, Scope

SESSION_BYTES = 32


class User(msgspec.Struct, frozen=True):
    """A person that signed in through the identity provider. Keyed by issuer and subject; an e-mail may be absent."""

    id: int
    issuer: str
    subject: str
    email: str | None
    name: str | None
    groups: tuple[str, ...]
    is_admin: bool
    created_at: int
    last_login_at: int

    @property
    def label(self) -> str:
        """The person's name for pages and lists."""
        return self.name or self.email or self.subject

    def caller(self) -> Caller:
        scopes = frozenset({Scope.ADMIN}) if self.is_admin else frozenset({Scope.READ, Scope.SUBMIT})
        return Caller(scopes=scopes, user_id=self.id, name=self.label)


class Session(msgspec.Struct, frozen=True):
    """A signed-in browser. `hash` is the SHA-256 of its cookie; the cookie itself is kept nowhere.

    It stands for a user, or for the API token that it was signed in with. `checked_at` is when the identity
    provider last confirmed the person; `sealed` holds what to ask it with, encrypted.
    """

    hash: str
    user_id: int | None
    token_id: int | None
    created_at: int
    seen_at: int
    checked_at: int
    expires_at: int
    sealed: bytes | None = None
    address: str | None = None
    agent: str | None = None

    def alive(self, now: int, *, idle: float) -> bool:
        """Whether it still stands: used within `idle` seconds, and not past its absolute end."""
        return now < self.expires_at and now - self.seen_at <= idle * 1000


class AuditEntry(msgspec.Struct, frozen=True):
    """One line of the audit log: `actor` did `action` to `subject` at `at` (ms since the epoch), from `address`."""

    id: int
    at: int
    actor: str
    name: str
    address: str
    action: str
    subject: str
    detail: str | None = None


class GroupRules(msgspec.Struct, frozen=True):
    """The groups that are let in (empty: all people that can sign in), and those whose members are administrators."""

    allowed: frozenset[str] = frozenset()
    admin: frozenset[str] = frozenset()

    def lets_in(self, groups: tuple[str, ...]) -> bool:
        return not self.allowed or bool(self.allowed & set(groups)) or self.makes_admin(groups)

    def makes_admin(self, groups: tuple[str, ...]) -> bool:
        return bool(self.admin & set(groups))


def group_rules(allowed: str, admin: str) -> GroupRules:
    """From the comma-separated settings."""
    return GroupRules(_names(allowed), _names(admin))


def _names(text: str) -> frozenset[str]:
    return frozenset(filter(None, (name.strip() for name in text.split(","))))


def new_session_id() -> str:
    """The value of a session's cookie: 256 random bits."""
    return secrets.token_urlsafe(SESSION_BYTES)


def session_hash(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
