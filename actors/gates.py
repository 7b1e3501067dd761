"""How many more jobs of types with a pause or a limit may be given. State owned here: an upper bound of that, by
type.

A type that was never found shut has no bound. The bound comes with the answer to a claim, together with what has
happened since that claim was sent; it goes when something else is set for the type. So it may be above the truth,
which costs one claim in vain, and is never below it: no waiter is forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from blobforge.jobtype import TypeRoom


class GatesSeen(NamedTuple):
    """How much had happened when a claim was sent."""

    changes: int


class TypeGates:
    def __init__(self) -> None:
        self._room: dict[str, int] = {}
        self._changes = 0  # of what is set for types

    def look(self) -> GatesSeen:
        return GatesSeen(self._changes)

    def room(self, type_: str) -> int | None:
        """How many more jobs of the type may be given at most; None: as many as there are."""
        return self._room.get(type_)

    def heard(self, seen: GatesSeen, rooms: Iterable[TypeRoom]) -> list[str]:
        """The answer to a claim that was sent when so much had happened. The types of which more is known now."""
        if seen.changes != self._changes:
            return []
        news = []
        for each in rooms:
            self._room[each.type] = each.room
            news.append(each.type)
        return news

    def taken(self, type_: str) -> None:
        """A job of the type was given."""
        if self._room.get(type_):
            self._room[type_] -= 1

    def changed(self, type_: str) -> None:
        """Something else is set for the type."""
        self._changes += 1
        self._room.pop(type_, None)

    def forget(self) -> None:
        """Any of it may be otherwise."""
        self._changes += 1
        self._room.clear()
