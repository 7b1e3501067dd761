"""What the servers of one database have in common beside its history: secrets, how often guesses failed of late, and
which servers there are.

None of it has a place in the order of transactions: it is read and written beside them, each call by itself.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import Literal, Protocol

import msgspec

from blobforge.access import hash_secret
from blobforge.spans import SET_BACK_MS

# Failed guesses, by address or id: a bucket that holds so many, and empties by one in so long.
BURST = 20  # failures that a mistyped script may make before it is slowed
REFILL_SECONDS = 6.0  # ten failures a minute from then on
SLACK = 1e-6  # of a failure: clocks are floating point


class Secret(StrEnum):
    """What a server makes once and shows to its administrator alone."""

    SIGNING = "signing-secret"  # makes cookies' seals, signed URLs of the embedded store, tokens, undo marks
    ADMIN_TOKEN = "admin-token"  # the first administrator's
    FIRST_LINK = "first-link"  # the code that signs the first administrator in, once


# How long (seconds) after its last word a server counts as one that is there, and is remembered at all.
LIVE_SECONDS = 20.0
# How long one may be silent that has no connection to the database: it has been killed, or is connecting anew.
GONE_SECONDS = 6.0
REMEMBERED_SECONDS = 600.0


class ServerState(msgspec.Struct, frozen=True, kw_only=True):
    """A server as it describes itself. Times are in ms since the epoch, by the database's clock.

    `name` is a stable one, `id` that of this run. `objects` names the place that its objects are in; `admin` is the
    hash of its first administrator's token. `turn` is the last turn of its own that wrote, at `turn_at`; `read` the
    last one of any server that it has read, `behind` how many it had not read then. `clock`: how far (ms) its own
    clock is ahead of the database's. `silent`: for how long (seconds) it has said nothing. `connected`: whether the
    connection on which it says so is still open.
    """

    id: str
    name: str
    version: str
    objects: str
    admin: str = ""
    url: str = ""
    started_at: int = 0
    silent: float = 0.0
    connected: bool = True
    turn: int | None = None
    turn_at: int | None = None
    read: int | None = None
    behind: int | None = None
    clock: int | None = None
    long_polls: int = 0
    streams: int = 0

    @property
    def is_live(self) -> bool:
        return self.silent <= LIVE_SECONDS

    @property
    def is_at_work(self) -> bool:
        """Whether it can be left to this server to do its share. Where not, it may still be live, and believe what
        it remembers. One that was heard in the future has been silent since the database's clock was set back."""
        return self.is_live and (self.connected or -SET_BACK_MS / 1000 <= self.silent <= GONE_SECONDS)


class Remark(msgspec.Struct, frozen=True):
    """Something about the database that its administrator should know. `advice` says what to do about it."""

    subject: str
    level: Literal["ok", "warning", "failure", "skipped"]
    text: str
    advice: str = ""


class Examination(msgspec.Struct, frozen=True):
    engine: str
    version: str
    remarks: list[Remark] = []


class TableFigures(msgspec.Struct, frozen=True):
    """How many rows of a table are live, and how many are dead and still there. Estimates."""

    name: str
    live: int
    dead: int


class Standby(msgspec.Struct, frozen=True):
    """`behind`: bytes of the write-ahead log that it has not flushed."""

    name: str
    synchronous: bool
    behind: int


class Figures(msgspec.Struct, frozen=True):
    """The database in numbers. `oldest_transaction`: for how long (seconds) one has been open."""

    tables: list[TableFigures]
    standbys: list[Standby]
    oldest_transaction: float


class Commons(Protocol):
    """Used by one thread at a time. Each call is short, and raises DatabaseError where there is no answer."""

    @property
    def alone(self) -> bool:
        """Whether no other server can use the same database: what is counted here is all that there is."""

    def secret(self, name: Secret, made: Callable[[], str]) -> str:
        """The secret of this name, made where there is none yet. Servers that ask at once get the same."""

    def spend(self, name: Secret, value: str) -> bool:
        """Forget the secret if this is it; whether it was. Of servers that ask at once, one is told so."""

    def forget(self, name: Secret, *, but: frozenset[str] = frozenset()) -> None:
        """Forget the secret, unless its hash is one of those."""

    def failed(self, names: tuple[str, ...]) -> float:
        """Count a failed guess of each of these, over all servers. Returns how long (seconds) the next has to wait;
        not positive: it may come."""

    def present(self, state: ServerState) -> list[ServerState]:
        """This server is there, and is so (times are set here). Returns all that are remembered, it among them: of
        two servers that come at once, one at least sees the other."""

    def servers(self) -> list[ServerState]:
        """All that are remembered."""

    def leave(self, id_: str) -> None:
        """The server has ended, and is forgotten."""

    def hold(self, name: str, holder: str, seconds: float) -> bool:
        """Whether `holder` alone does from now on what this names, until it lets go or the time is over."""

    def let_go(self, name: str, holder: str) -> None: ...
    def examine(self) -> Examination:
        """How the database itself is. Changes nothing."""

    def figures(self) -> Figures | None:
        """The database in numbers; None where it has none of these."""

    def close(self) -> None: ...


def signing_secret(commons: Commons) -> bytes:
    """What cookies, URLs and tokens are made with; made once, never shown."""
    return bytes.fromhex(commons.secret(Secret.SIGNING, new_signing_secret))


def new_signing_secret() -> str:
    return secrets.token_hex(32)


def is_same(known: str | None, given: str) -> bool:
    """Compared by their hashes in constant time: how long it takes tells nothing about the secret."""
    return known is not None and hmac.compare_digest(hash_secret(known), hash_secret(given))
