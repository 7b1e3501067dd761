"""How busy workers' machines are, as their heartbeats said. State owned here: the latest loads of each, in memory.

Nothing of it is written: it is at the server that the worker speaks to, and gone with that. What a worker tells
within POINT_MS is one point of its line, and of these the latest MOST_POINTS are kept. Of workers that have told
nothing for KEPT_MS nothing is left. No more than MOST_WORKERS are known: the one that was heard longest ago goes.
"""

from __future__ import annotations

from collections import OrderedDict, deque

import msgspec

from blobforge.load import MachineLoad, Point, point_of
from blobforge.worker import Worker, WorkerStatus

MOST_POINTS = 40
POINT_MS = 15_000
KEPT_MS = 900_000
MOST_WORKERS = 5_000  # some 40 MiB, with a GPU each
_decoder = msgspec.json.Decoder(MachineLoad)


class WorkerLoad:
    """`last` is what was told `at` this time, in ms since the epoch; `points` is never empty."""

    def __init__(self, load: MachineLoad, at: int) -> None:
        self.last = load
        self.at = at
        self.points = deque([point_of(load, at=at)], MOST_POINTS)

    def add(self, load: MachineLoad, *, at: int) -> None:
        self.last, self.at = load, at
        if len(self.points) > 1 and 0 <= at - self.points[-2].at < POINT_MS:
            self.points.pop()
        self.points.append(point_of(load, at=at))

    @property
    def now(self) -> Point:
        return self.points[-1]


class LiveLoads:
    def __init__(self) -> None:
        self._loads: OrderedDict[str, WorkerLoad] = OrderedDict()  # the one that was heard last is at the end

    def __len__(self) -> int:
        return len(self._loads)

    def add(self, worker_id: str, told: msgspec.Raw, *, at: int) -> None:
        """What a heartbeat told, which was accepted. What is no load is left out."""
        try:
            load = _decoder.decode(told)
        except msgspec.DecodeError:
            return
        if worker_id in self._loads:
            self._loads[worker_id].add(load, at=at)
            self._loads.move_to_end(worker_id)
        else:
            self._loads[worker_id] = WorkerLoad(load, at)
        while len(self._loads) > MOST_WORKERS or _is_old(next(iter(self._loads.values())), at):
            self._loads.popitem(last=False)

    def of(self, worker: Worker, *, now: int) -> WorkerLoad | None:
        """What it has told here; None where it has told nothing lately, or has gone."""
        known = self._loads.get(worker.id)
        if known is None or _is_old(known, now) or worker.status is WorkerStatus.OFFLINE:
            return None
        if known.at < worker.created_at <= now:
            return None  # of one with this id that was removed
        return known

    def points(self, *, now: int) -> dict[str, Point]:
        """The latest of each worker that has told something lately."""
        return {id_: load.now for id_, load in self._loads.items() if not _is_old(load, now)}


def _is_old(load: WorkerLoad, now: int) -> bool:
    return now - load.at > KEPT_MS
