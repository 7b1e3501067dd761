"""Where the ready jobs of a line begin, so that a claim need not walk past all that were ready once.

PostgreSQL keeps the index entries of rows that have moved on until it has cleaned up after the oldest snapshot: a
claim would look at each of them, before the first job that is ready. A line is the ready jobs of one type and
lane; for each priority its floor is a number below which no job of that is ready, as far as this server knows. Lines
whose jobs take turns have none: they are read group by group.

State owned here: the floors, and when each line was last read from the beginning. Used by the writer's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from math import inf
from operator import lt
from typing import Final

from blobforge.job import PRIORITIES, Job
from blobforge.options import QueueLine

# What other servers have made ready below a floor is seen after so many seconds at the latest.
LOOK_EACH: Final = 1.0
Floors = list[int]  # of the priorities


class LineFloors:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._floors: dict[QueueLine, Floors] = {}
        self._looked: dict[QueueLine, float] = {}
        self._missed_at = -inf

    def known(self, lines: Iterable[QueueLine] | None = None) -> dict[QueueLine, Floors]:
        """The floors of these lines, or of all, but for those that are to be read from the beginning now."""
        since, looked = self._clock() - LOOK_EACH, self._looked
        return {
            line: list(self._floors[line])
            for line in (self._floors if lines is None else lines)
            if looked.get(line, -inf) > since
        }

    def missed(self) -> None:
        """Others may have made jobs ready, and it is not known which: a line of which too few are found is to be read
        from the beginning."""
        self._missed_at = self._clock()

    def deceived(self, line: QueueLine, used: Floors, *, short: bool) -> bool:
        """Whether a line that was read with these floors may have ready jobs below them."""
        floors = self._floors.get(line)
        if floors is None or any(map(lt, floors, used)):
            return True
        return short and self._looked[line] <= self._missed_at

    def learn(self, line: QueueLine, read: list[Job], *, last: int | None, next_job: int, whole: bool) -> None:
        """A line was read into the priority `last`, None: to its end; `whole`: from its beginning. Later jobs have
        numbers from `next_job` on, or are told of by `lower`."""
        floors = [0] * len(PRIORITIES) if whole or line not in self._floors else self._floors[line]
        past = len(PRIORITIES) if last is None else last - PRIORITIES[0]  # of these all that is there was read
        floors[:past] = [next_job] * past
        for job in reversed(read):  # the first one counts
            floors[job.priority - PRIORITIES[0]] = job.id
        self._floors[line] = floors
        if whole:
            self._looked[line] = self._clock()
        else:
            self._looked.setdefault(line, -inf)

    def lower(self, line: QueueLine, priority: int, at: int) -> None:
        """A job with this number is ready."""
        floors = self._floors.get(line)
        if floors is not None and priority in PRIORITIES:
            floors[priority - 1] = min(floors[priority - 1], at)

    def clear(self) -> None:
        self._floors.clear()
        self._looked.clear()
