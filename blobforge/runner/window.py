"""`--run-window 22:00-06:00`: the hours of the day in which jobs are taken, on this machine's clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Self

_TIME = r"(\d{1,2}):(\d{2})"
_WINDOW = re.compile(rf"{_TIME}\s*-\s*{_TIME}")


@dataclass(frozen=True)
class RunWindow:
    """From `start` up to, not including, `end`, in local time; over midnight when `end` is the earlier one.

    Hours are what the clock shows. Where it jumps for daylight saving time, a window that lies in the hour that is
    left out does not open that day, and one in the hour that comes twice opens twice.
    """

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> Self:
        """`22:00-06:00`; `24:00` is midnight as an end. Raises ValueError."""
        found = _WINDOW.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is no run window; one is 22:00-06:00")
        hours = [int(group) for group in found.groups()]
        if hours[2:] == [24, 0]:
            hours[2] = 0
        try:
            start, end = time(hours[0], hours[1]), time(hours[2], hours[3])
        except ValueError as error:
            raise ValueError(f"{text!r} is no run window: {error}") from error
        if start == end:
            raise ValueError(f"{text!r} is no run window: it has no length; leave it out to run all day")
        return cls(start, end)

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"

    def is_open(self, now: datetime) -> bool:
        """`now` is in local time."""
        clock = now.time()
        if self.start < self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end

    def closes_in(self, now: datetime) -> float:
        """Seconds on the clock until an open window ends. It may be an hour off on a day that has 23 or 25 hours."""
        return _until(self.end, now)

    def opens_in(self, now: datetime) -> float:
        """Seconds on the clock until a closed window begins, as above."""
        return _until(self.start, now)


def is_open(windows: tuple[RunWindow, ...], now: datetime) -> bool:
    """Whether any is; without windows it always is."""
    return not windows or any(window.is_open(now) for window in windows)


def closes_in(windows: tuple[RunWindow, ...], now: datetime) -> float | None:
    """Seconds until the last of the open windows ends; None without windows."""
    return max((window.closes_in(now) for window in windows if window.is_open(now)), default=None)


def opens_in(windows: tuple[RunWindow, ...], now: datetime) -> float:
    """Seconds until the next window opens, when none is open."""
    return min(window.opens_in(now) for window in windows)


def _until(clock: time, now: datetime) -> float:
    then = now.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0, tzinfo=None, fold=0)
    seconds = (then - now.replace(tzinfo=None, fold=0)) / timedelta(seconds=1)
    return seconds if seconds > 0 else seconds + 86_400
