"""Callers, their credentials and their scopes. Pure; `web/auth` reads them off requests.

Secrets are 256 random bits behind a prefix that names their kind (`bf_` API token, `bfw_` worker credential), so
that a leaked one is recognised by scanners. We keep only the SHA-256: with that much entropy a slow hash adds
nothing.
"""

from __future__ import annotations

import hashlib
import secrets
from enum import StrEnum
from functools import cached_property

import msgspec

from blobforge.refusals import Refusal, RefusalCode

TOKEN_PREFIX = "bf_"
WORKER_SECRET_PREFIX = "bfw_"
_SHOWN = 8  # characters after the prefix that lists show, enough to tell tokens apart


class Scope(StrEnum):
    READ = "read"
    SUBMIT = "submit"
    WORK = "work"
    ADMIN = "admin"  # implies all the others


DEFAULT_SCOPES = frozenset({Scope.READ, Scope.SUBMIT})

# What a credential that is good no longer is answered: at the door, in the writer's transaction, and to what waits.
UNKNOWN_TOKEN = Refusal(RefusalCode.UNAUTHENTICATED, "This API token is not known here, or it was revoked.")
EXPIRED_TOKEN = Refusal(
    RefusalCode.UNAUTHENTICATED, "This API token has expired. Ask an administrator for a new one."
)
UNKNOWN_WORKER = Refusal(RefusalCode.UNAUTHENTICATED, "This worker id and secret do not belong together.")
SESSION_ENDED = Refusal(RefusalCode.UNAUTHENTICATED, "Your session has ended. Sign in again at /login.")
RIGHTS_CHANGED = Refusal(
    RefusalCode.UNAUTHENTICATED, "What you may do here has changed since this request began. Send it once more."
)


class Caller(msgspec.Struct, frozen=True, dict=True):
    """The maker of a request, as its credential says. Of `token_id`, `worker_id` and `user_id` one is set,
    and none where a public route is asked without a credential.

    `secret_hash` is the hash of the secret that it came with (an API token, a worker's secret, a session's cookie);
    None: not from a request, never judged again. It was found good when `as_of` revocations had been committed in
    this run, and is good until `expires_at` (ms) at most.
    """

    scopes: frozenset[Scope]
    token_id: int | None = None
    worker_id: str | None = None
    user_id: int | None = None
    name: str = ""
    session: str | None = None  # the hash of the session that it came by, if it did
    secret_hash: str | None = None
    as_of: int = 0
    expires_at: int | None = None

    @property
    def is_admin(self) -> bool:
        return Scope.ADMIN in self.scopes

    @cached_property
    def subject(self) -> str:
        """A stable name for logs and for scoping idempotency keys; holds no secret."""
        if self.worker_id is not None:
            return f"worker:{self.worker_id}"
        if self.token_id is not None:
            return f"token:{self.token_id}"
        return f"user:{self.user_id}"

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or Scope.ADMIN in self.scopes


class Token(msgspec.Struct, frozen=True):
    """An API token as it is stored. Times are milliseconds since the epoch, UTC."""

    id: int
    name: str
    hash: str
    prefix: str
    scopes: frozenset[Scope]
    created_at: int
    expires_at: int | None = None
    last_used_at: int | None = None

    def expired(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def caller(self) -> Caller:
        return Caller(
            self.scopes, token_id=self.id, name=self.name, secret_hash=self.hash, expires_at=self.expires_at
        )


def new_token() -> str:
    return TOKEN_PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """The SHA-256 of a secret, 64 hex digits: that is what is stored of it."""
    return hashlib.sha256(secret.encode()).hexdigest()


def shown_prefix(secret: str) -> str:
    """The first characters, for lists: names the token to its owner, and is useless to others."""
    kind, _, rest = secret.partition("_")
    return f"{kind}_{rest[:_SHOWN]}"
