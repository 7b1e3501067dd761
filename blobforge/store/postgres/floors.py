"""Where the ready jobs of a line begin, so that a claim need not walk past all that were ready once.

PostgreSQL keeps the index entries of rows that have moved on until it has cleaned up after the oldest snapshot: a
claim would look at each of them, before the first job that is ready. A line is the ready jobs of one type and
priority; its floor is a number below which no job of it is ready, as far as this server knows.

State owned here: the floors, and when each type was last read from the beginning. Used by the writer's thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from math import inf
from operator import lt
from typing import Final

from blobforge.job import Job

PRIORITIES: Final = range(1, 6)
# What other servers have made ready below a floor is seen after so many seconds at the latest.
LOOK_EACH: Final = 1.0
Floors = list[int]  # of the priorities


class LineFloors:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._floors: dict[str, Floors] = {}
        self._looked: dict[str, float] = {}
        self._missed_at = -inf

    def known(self, types: Iterable[str] | None = None) -> dict[str, Floors]:
        """The floors of these types, or of all, but for those that are to be read from the beginning now."""
        now = self._clock()
        return {
            type_: list(floors)
            for type_, floors in self._floors.items()
            if (types is None or type_ in types) and now - self._looked[type_] < LOOK_EACH
        }

    def missed(self) -> None:
        """Others may have made jobs ready, and it is not known which: a type of which too few are found is to be read
        from the beginning."""
        self._missed_at = self._clock()

    def deceived(self, type_: str, used: Floors, *, short: bool) -> bool:
        """Whether a line that was read with these floors may have ready jobs below them."""
        floors = self._floors.get(type_)
        if floors is None or any(map(lt, floors, used)):
            return True
        return short and self._looked[type_] <= self._missed_at

    def learn(self, type_: str, read: list[Job], *, most: int, next_job: int, whole: bool) -> None:
        """A line was read up to `most` jobs, or to its end; `whole`: from its beginning. Later jobs have
        numbers from `next_job` on."""
        former = [0] * len(PRIORITIES) if whole else self._floors.get(type_, [0] * len(PRIORITIES))
        first: dict[int, int] = {}
        for job in read:
            first.setdefault(job.priority, job.id)
        last = read[-1].priority if len(read) >= most and read else PRIORITIES.stop
        self._floors[type_] = [
            first.get(priority, next_job if priority < last else floor)
            for priority, floor in zip(PRIORITIES, former, strict=True)
        ]
        if whole:
            self._looked[type_] = self._clock()
        else:
            self._looked.setdefault(type_, -inf)

    def lower(self, type_: str, priority: int, job_id: int) -> None:
        """This job is ready again."""
        floors = self._floors.get(type_)
        if floors is not None and priority in PRIORITIES:
            floors[priority - 1] = min(floors[priority - 1], job_id)

    def clear(self) -> None:
        self._floors.clear()
        self._looked.clear()
