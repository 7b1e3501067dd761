"""How many workers a fleet should have, so that what waits is done within a given time; and which may be ended.

Pure: everything is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from blobforge.forecast import ENOUGH, Durations, Load

MOST_IDLE = 1000  # ids that are named: no program ends more at a time


class Staff(msgspec.Struct, frozen=True):
    """The workers that are there, for one type or for all. `online` take jobs. `busy` run some, draining ones too;
    `idle` (ids) run none."""

    online: int
    busy: int
    idle: list[str]

    @classmethod
    def of(cls, workers: Iterable[tuple[str, bool, bool]]) -> Staff:
        """From (id, whether it is online and does not drain, whether it runs a job)."""
        online = busy = 0
        idle = []
        for worker_id, takes_jobs, runs in workers:
            online += takes_jobs
            busy += runs
            if not runs:
                idle.append(worker_id)
        return cls(online, busy, idle[:MOST_IDLE])


def desired_workers(
    loads: Mapping[str, Load], durations: Mapping[str, Durations], staff: Staff, *, drain_seconds: float
) -> int:
    """How many workers bring to an end within `drain_seconds` what waits and runs now, if jobs take as long as the
    completed ones of their type did in the mean.

    Never fewer than are busy: what runs is not ended for it. While something waits, at least one; and of a type of
    which too few jobs were completed to know how long they take, as many as are online. A worker counts for as many
    jobs side by side as the busy ones run now. For what may not run, since its type is paused or at its limit, there
    is no worker.
    """
    may_run = {type_: load for type_, load in loads.items() if load.waiting and load.most != 0}
    if not may_run:
        return staff.busy
    running = sum(load.running for load in loads.values())
    side_by_side = max(1.0, running / staff.busy) if staff.busy else 1.0
    slots, unknown = 0.0, False
    for type_, load in may_run.items():
        known = durations.get(type_)
        if known is None or known.n < ENOUGH:
            unknown = True
            continue
        # A job that runs is, seen from any moment, half done in the mean.
        work = (load.waiting + load.running / 2) * known.mean_ms / 1000
        slots += min(work / drain_seconds, load.waiting + load.running, math.inf if load.most is None else load.most)
    return max(math.ceil(slots / side_by_side), staff.busy, 1, staff.online if unknown else 0)
