"""What the servers of one database have in common beside its history: secrets, and how often guesses failed of late.

None of it has a place in the order of transactions: it is read and written beside them, each call by itself.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

from blobforge.access import hash_secret

# Failed guesses, by address or id: a bucket that holds so many, and empties by one in so long.
BURST = 20  # failures that a mistyped script may make before it is slowed
REFILL_SECONDS = 6.0  # ten failures a minute from then on
SLACK = 1e-6  # of a failure: clocks are floating point


class Secret(StrEnum):
    """What a server makes once and shows to nobody but its administrator."""

    SIGNING = "signing-secret"  # makes cookies' seals, signed URLs of the embedded store, tokens, undo marks
    ADMIN_TOKEN = "admin-token"  # the first administrator's
    FIRST_LINK = "first-link"  # the code that signs the first administrator in, once


class Commons(Protocol):
    """Used by one thread at a time. Each call is short, and raises DatabaseError where there is no answer."""

    @property
    def alone(self) -> bool:
        """Whether no other server can use the same database: what is counted here is all that there is."""

    def secret(self, name: Secret, made: Callable[[], str]) -> str:
        """The secret of this name, made where there is none yet. Servers that ask at once get the same."""

    def spend(self, name: Secret, value: str) -> bool:
        """Forget the secret if this is it; whether it was. Of servers that ask at once, one is told so."""

    def forget(self, name: Secret) -> None: ...
    def failed(self, names: tuple[str, ...]) -> float:
        """Count a failed guess of each of these, over all servers. Returns how long (seconds) the next has to wait;
        not positive: it may come."""

    def close(self) -> None: ...


def signing_secret(commons: Commons) -> bytes:
    """What cookies, URLs and tokens are made with; made once, never shown."""
    return bytes.fromhex(commons.secret(Secret.SIGNING, _new_signing_secret))


def _new_signing_secret() -> str:
    return secrets.token_hex(32)


def is_same(known: str | None, given: str) -> bool:
    """Compared by their hashes in constant time: how long it takes tells nothing about the secret."""
    return known is not None and hmac.compare_digest(hash_secret(known), hash_secret(given))
