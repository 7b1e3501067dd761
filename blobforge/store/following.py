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


class HistoryReader(Protocol):
    """`wait` and `read` each by one thread at a time. Each has a connection of its own, and opens it again by
    itself."""

    def latest(self) -> int:
        """The number of the last entry. Raises StoreUnavailable."""

    def read(self, after: int, limit: int) -> list[Entry]:
        """The entries behind that one, the oldest first. Where the first of them is not the next, those in between
        were pruned. Raises StoreUnavailable; HistoryForked where the one that was read last is there no more."""

    def wait(self, seconds: float) -> None:
        """Until there may be something to read: at the latest after so long, and at once when it was just begun."""

    def wake(self) -> None:
        """Have `wait` end. From any thread."""

    def close(self) -> None: ...
