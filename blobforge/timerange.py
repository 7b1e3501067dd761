"""Which range of time a chart is about, and in which slots: as finely as figures of that age are kept.

A slot is `step` seconds wide, and known by its number since the epoch. So there are never more than a few hundred of
them, whatever is asked for. Pure: `now` is an argument. Times are milliseconds, UTC, unless a name says seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

WINDOWS: Final = {"1h": 3600, "24h": 86_400, "7d": 7 * 86_400, "30d": 30 * 86_400}  # seconds up to now
SHORTEST_MS: Final = 60_000


class TimeRange(msgspec.Struct, frozen=True):
    """From `since` up to `until` (ms). `window`: the name of the range, where it is one of WINDOWS."""

    since: int
    until: int
    window: str | None = None


class Slots(msgspec.Struct, frozen=True):
    """`count` slots of `step` seconds, from number `first` on."""

    step: int
    first: int
    count: int

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)

    @property
    def beginnings(self) -> list[int]:
        """In seconds since the epoch."""
        return [number * self.step for number in self.numbers]


def of_window(window: str, *, now: int) -> TimeRange:
    return TimeRange(now - WINDOWS[window] * 1000, now, window)


def slots_of(wanted: TimeRange, kept: Mapping[int, int], *, now: int) -> Slots:
    """The narrowest slots that are `kept` (width -> for how long, in seconds) as far back as the range goes. Of a
    range that begins before all that is kept, what is left. The last one of a window is under way."""
    age = (now - wanted.since) // 1000
    step = min((width for width, seconds in kept.items() if age <= seconds), default=max(kept))
    if wanted.window is not None:
        count = WINDOWS[wanted.window] // step
        return Slots(step, now // 1000 // step - count + 1, count)
    first = max(wanted.since // 1000, now // 1000 - kept[step]) // step
    last = max(first, (min(wanted.until, now) - 1) // 1000 // step)
    return Slots(step, first, last - first + 1)
