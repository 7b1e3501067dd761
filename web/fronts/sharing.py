"""Limits and slowed-down guesses over all fronts. Each front counts its own and is told what the others have.

What is told travels within milliseconds, and so the sum may be exceeded by what comes in at two fronts at once.
State owned here: in a front, what has not been told yet; in the hub, what each front has taken.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import trio

from web.auth.throttle import BURST, Throttle
from web.fronts.frames import Use
from web.limits import Limit

PAUSE = 0.01  # seconds between two tellings: what changes in between goes with the next one
LARGEST = 1000  # addresses in one frame
MOST_NAMES = 10_000  # failed authentications' names that wait to be told; a flood of made-up ones is not passed on


class Neighbours:
    """A front's side: tells what changes here, heeds what has changed elsewhere."""

    def __init__(self, limits: Mapping[str, Limit], throttle: Throttle, send: Callable[[Use], None]) -> None:
        self._limits = limits
        self._throttle = throttle
        self._send = send
        self._changed: dict[str, set[str]] = {name: set() for name in limits}
        self._failed: Counter[str] = Counter()
        self._wake = trio.Event()
        for name, limit in limits.items():
            limit.tell = partial(self._note_room, name)
        throttle.tell = self._note_failure

    def heed(self, use: Use) -> None:
        for name, rooms in use.rooms.items():
            for address, used in rooms.items():
                self._limits[name].heard(address, used)
        for name, times in use.failed.items():
            self._throttle.heard(name, times)

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            rooms = {}
            for name, addresses in self._changed.items():
                some = [addresses.pop() for _ in range(min(LARGEST, len(addresses)))]
                if some:
                    rooms[name] = {address: self._limits[name].used_from(address) for address in some}
            failed = {name: min(times, BURST + 1) for name, times in self._failed.items()}
            self._failed.clear()
            if not any(self._changed.values()):
                self._wake = trio.Event()
            self._send(Use(rooms, failed))
            await trio.sleep(PAUSE)

    def _note_room(self, limit: str, address: str) -> None:
        self._changed[limit].add(address)
        self._wake.set()

    def _note_failure(self, name: str) -> None:
        if len(self._failed) < MOST_NAMES:
            self._failed[name] += 1
            self._wake.set()


class Ledger:
    """The hub's side: what each front has taken, by its number."""

    def __init__(self) -> None:
        self._taken: defaultdict[int, defaultdict[str, dict[str, int]]] = defaultdict(partial(defaultdict, dict))

    def note(self, front: int, rooms: Mapping[str, Mapping[str, int]]) -> None:
        for name, changed in rooms.items():
            taken = self._taken[front][name]
            for address, used in changed.items():
                if used:
                    taken[address] = used
                else:
                    taken.pop(address, None)

    def leave(self, front: int) -> dict[str, dict[str, int]]:
        """The front has ended; returns what it held, as the others are to be told of it."""
        held: Mapping[str, dict[str, int]] = self._taken.pop(front, {})
        return {name: dict.fromkeys(taken, 0) for name, taken in held.items() if taken}

    def used(self, name: str) -> int:
        """Of one limit, by all fronts."""
        return sum(sum(taken[name].values()) for taken in self._taken.values() if name in taken)

    def elsewhere(self, front: int, rooms: Mapping[str, Iterable[str]]) -> dict[str, dict[str, int]]:
        """What others than this front have taken, for the addresses named."""
        others = [taken for number, taken in self._taken.items() if number != front]
        return {
            name: {address: sum(taken[name].get(address, 0) for taken in others) for address in addresses}
            for name, addresses in rooms.items()
        }

    def all_elsewhere(self, front: int) -> dict[str, dict[str, int]]:
        """All that others than this front have taken."""
        known: defaultdict[str, set[str]] = defaultdict(set)
        for taken in self._taken.values():
            for name, rooms in taken.items():
                known[name].update(rooms)
        return self.elsewhere(front, known)
