"""How the history that several servers write is followed: each of them reads what every turn has told, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from blobforge.events import Event, Fact


class Entry(NamedTuple):
    """What the `n`th transaction told, of whichever server. `known`: all of it; else some is of a newer release, and
    what is remembered of the history is to be read anew."""

    n: int
    server: str
    at: int
    events: Sequence[Event]
    facts: Sequence[Fact]
    known: bool = True


class InHistory(Protocol):
    """A transaction's place among those of all servers of the database."""

    @property
    def now(self) -> int:
        """The time of the transaction (ms): that of all servers, where there are several."""

    @property
    def server(self) -> str:
        """What this server is called in the history; empty where there is one."""

    @property
    def turn(self) -> int:
        """The number of the last transaction of this server that changed anything; 0 where none is counted."""

    @property
    def missed(self) -> Sequence[Entry]:
        """Some, or all, of what others have committed before this transaction and after the last one of this server;
        in their order. What is not among it is read by a HistoryReader."""

    @property
    def older_wrote(self) -> int | None:
        """The last turn of a server of an older release, which does not keep all counters, where these have not been
        counted since; None: they are right."""

    @property
    def recount(self) -> int:
        """The number of the recount that was begun last, by whichever server: what an earlier one has found is of no
        use any more."""

    def begin_recount(self) -> int:
        """Another one begins in this transaction. What is counted from now on tells what the counters lack."""

    def counted(self) -> None:
        """They are right again."""

    @property
    def losses_settled(self) -> bool:
        """Whether what was lost in the last fork that this server has met was settled since, by another server."""

    def settle_losses(self) -> None:
        """In this transaction what was lost is settled: no other server is to do it again."""

    def tell(self, events: Sequence[Event], facts: Sequence[Fact]) -> None:
        """What has happened in the transaction, for other servers to know of once it is committed: at its end."""


class HistoryReader(Protocol):
    """`wait` and `read` each by one thread at a time. Each has a connection of its own, and opens it again by
    itself."""

    def latest(self) -> int:
        """The number of the last entry, from which on it is read. Raises StoreUnavailable; HistoryForked, once, where
        what this server has known is there no more."""

    def read(self, after: int, limit: int) -> list[Entry]:
        """The entries behind that one, the oldest first. Where the first of them is not the next, those in between
        were pruned. Raises StoreUnavailable; HistoryForked where the one that was read last is there no more, and
        where this server's writer has met a fork since."""

    def wait(self, seconds: float) -> bool:
        """Until there may be something to read that others have written: at the latest after so long (False), and at
        once when it was just begun."""

    def wake(self) -> None:
        """Have `wait` end. From any thread."""

    def close(self) -> None:
        """Give back what is open; where a thread still waits, it does so as it ends. From any thread but one that
        reads."""
