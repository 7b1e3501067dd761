"""How many more jobs of types with a pause or a limit may be given. State owned here: an upper bound of that, by
type, and when it rises by itself.

A type that was never found limited has no bound. The bound comes with the answer to a claim, together with what has
happened since that claim was sent; it goes when something else is set for the type. So it may be above the truth,
which costs one claim in vain, and is never below it: no waiter is forgotten. Where time alone gives room (a rate),
one more may be given when that time has come; the answer to the waiter that is woken then says how many really may.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from blobforge.jobtype import TypeRoom

SLACK = 0.002  # seconds, so that a claim does not come a moment too early for the clock of the database


class GatesSeen(NamedTuple):
    """How much had happened when a claim was sent: changes of what is set, and by type jobs that have ended."""

    changes: int
    freed: dict[str, int]


class TypeGates:
    """Times are seconds of trio's clock."""

    def __init__(self) -> None:
        self._room: dict[str, int] = {}
        self._again: dict[str, float] = {}  # by type: seconds to one more by time alone
        self._opens: dict[str, float] = {}  # types without room that get some by time alone, and when
        self._freed: Counter[str] = Counter()  # running jobs that have ended
        self._changes = 0  # of what is set for types
        self.next_at = math.inf  # when the first of them opens

    def look(self, types: Sequence[str]) -> GatesSeen:
        freed = {type_: self._freed[type_] for type_ in types} if self._freed else {}
        return GatesSeen(self._changes, freed)

    def room(self, type_: str) -> int | None:
        """How many more jobs of the type may be given at most; None: as many as there are."""
        return self._room.get(type_)

    def heard(self, seen: GatesSeen, rooms: Iterable[TypeRoom], now: float) -> list[str]:
        """The answer to a claim that was sent when so much had happened. The types of which more is known now."""
        if seen.changes != self._changes:
            return []
        news = []
        for each in rooms:
            self._room[each.type] = each.room + self._freed[each.type] - seen.freed.get(each.type, 0)
            if each.again is None:
                self._again.pop(each.type, None)
            else:
                self._again[each.type] = each.again + SLACK
            self._wind(each.type, now)
            news.append(each.type)
        return news

    def taken(self, type_: str, now: Callable[[], float]) -> None:
        """A job of the type was given."""
        if self._room.get(type_):
            self._room[type_] -= 1
            self._wind(type_, now())

    def freed(self, type_: str) -> None:
        """A job of the type, of which so many may run at once, runs no longer."""
        self._freed[type_] += 1
        if type_ in self._room:
            self._room[type_] += 1

    def changed(self, type_: str) -> None:
        """Something else is set for the type."""
        self._changes += 1
        for known in (self._room, self._again, self._opens, self._freed):
            known.pop(type_, None)
        self._look_ahead()

    def forget(self) -> None:
        """Any of it may be otherwise."""
        self._changes += 1
        for known in (self._room, self._again, self._opens, self._freed):
            known.clear()
        self._look_ahead()

    def due(self, now: float) -> list[str]:
        """The types that time has given room by now."""
        if self.next_at > now:
            return []
        opened = [type_ for type_, at in self._opens.items() if at <= now]
        for type_ in opened:
            del self._opens[type_]
            self._room[type_] = max(1, self._room.get(type_, 0))
        self._look_ahead()
        return opened

    def _wind(self, type_: str, now: float) -> None:
        """Have it open by itself, where it is shut and time alone opens it."""
        if self._room[type_] == 0 and type_ in self._again:
            self._opens[type_] = now + self._again[type_]
        else:
            self._opens.pop(type_, None)
        self._look_ahead()

    def _look_ahead(self) -> None:
        self.next_at = min(self._opens.values(), default=math.inf)
