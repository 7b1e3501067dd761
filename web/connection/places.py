"""Places for connections: which client gets one, and how long a silent one may keep it. State owned here: the
addresses from which a valid credential came of late.

A connection costs its client nothing, so that one client could take every place. Some are kept for callers on this
machine and for those that were valid before; and the fewer are free, the sooner a silent connection is closed.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_address

from web.limits import Limit

KEPT = 1 / 20  # of all places, for callers on this machine and those that were valid before
REMEMBERED = 20_000  # addresses; the one that was valid longest ago is forgotten first
VALID_SECONDS = 86_400.0
NOTED_SECONDS = 60.0  # an address that was valid a moment ago need not be noted again
FIRST_BYTE = 75.0  # seconds for a new connection to say something, while half of the places are free
SHORTEST = 1.0  # the same when none is


class KnownAddresses:
    """The addresses that valid credentials came from."""

    def __init__(self) -> None:
        self._seen: OrderedDict[str, float] = OrderedDict()

    def note(self, address: str, now: float) -> None:
        if now - self._seen.get(address, -VALID_SECONDS) < NOTED_SECONDS:
            return
        self._seen[address] = now
        self._seen.move_to_end(address)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def knows(self, address: str, now: float) -> bool:
        return now - self._seen.get(address, -VALID_SECONDS) < VALID_SECONDS


class Places:
    """Decides which connection gets a place. `limit` counts the places, `known` the addresses that were valid."""

    def __init__(self, limit: Limit, known: KnownAddresses) -> None:
        self._limit = limit
        self._known = known
        self._kept = int(limit.total * KEPT)

    def take(self, address: str, now: float) -> bool:
        """A place for a connection from this address, if it may have one; `give` it back."""
        free = self._limit.total - self._limit.used
        if free <= self._kept and not (is_loopback(address) or self._known.knows(address, now)):
            self._limit.refused += 1
            return False
        return self._limit.take(address)

    def give(self, address: str) -> None:
        self._limit.give(address)

    @property
    def first_byte_seconds(self) -> float:
        """How long a connection may be silent at its beginning now."""
        free = 1 - self._limit.used / (self._limit.total - self._kept)
        return max(SHORTEST, FIRST_BYTE * min(1.0, 2 * free))


def is_loopback(address: str) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None)
    return bool((mapped or ip).is_loopback)
