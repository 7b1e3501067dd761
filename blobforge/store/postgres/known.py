"""What a server knows of the history, by which it notices that the database goes on from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any

from blobforge.store.postgres import turns_sql as sql

RunQuery = Callable[[str, tuple[int, ...]], list[tuple[Any, ...]]]


class LastKnown:
    """The last entry of the log that this server knows of, its own or another server's: each new connection looks
    whether it is still there. Used by any thread.

    `forks` counts how often it was not. The writer and the follower note that number before they ask: what was read
    before a fork says nothing about the history after it, and the second one that meets a fork knows it for the same.

    A server that knows an entry has read of all settlements up to it (`read_of`, before `learn`). So a settlement
    that it finds after a fork, and did not know when it met that, is one of what the fork has cost.
    """

    def __init__(self) -> None:
        self.entry: tuple[int, bytes] | None = None  # its number and nonce
        self.forks = 0
        self._settlements: frozenset[str] = frozenset({""})  # none
        self._before = self._settlements  # as they were known when the last fork was met
        self._one = Lock()

    def learn(self, n: int, nonce: bytes, forks: int) -> None:
        with self._one:
            if forks == self.forks and (self.entry is None or n > self.entry[0]):
                self.entry = n, bytes(nonce)

    def lose(self, forks: int) -> int:
        """What was known when there had been so many forks is not there any more: the number of the fork."""
        with self._one:
            if forks == self.forks:
                self.forks += 1
                self.entry = None
                self._before = self._settlements
            return self.forks

    def has_read_of(self, settlement: str) -> bool:
        return settlement in self._settlements

    def read_of(self, settlements: Iterable[str]) -> None:
        """They are a part of the history, or may become one. Those of a history that was lost stay known: another
        fork may bring them back."""
        with self._one:
            self._settlements = self._settlements.union(settlements)

    def is_settled(self, settlements: Iterable[str]) -> bool:
        """Whether one of these is of what the last fork has cost."""
        return not self._before.issuperset(settlements)


def is_there(ask: RunQuery, n: int, nonce: bytes, latest: int) -> bool:
    """Whether that entry is still a part of the history, which ends with turn `latest`."""
    found = ask(sql.NONCE, (n,))
    if found:
        return bytes(found[0][0]) == nonce
    oldest = ask(sql.OLDEST_ENTRY, ())[0][0]
    return n <= latest and (oldest is None or n < oldest)  # else it has been pruned


def goes_on(found: list[tuple[Any, ...]], last: tuple[int, bytes], *, whole: bool) -> bool:
    """Whether entries are of the history that has the last one that is known, which is not before the first one that
    was asked for. `whole`: there are no more. Those before the first were pruned; the last of all never is."""
    for at, (n, _, nonce, *_) in enumerate(found):
        if n == last[0]:
            return bytes(nonce) == last[1]
        if n > last[0]:
            return at == 0
    return not whole
