"""What jobs require, and which workers have it."""

from __future__ import annotations

import json
from typing import Any, Final

from tests.model.world.state import State
from tests.model.world.things import Job, No, Worker, is_compared

GPU, LARGE, BOTH = '["gpu"]', '["memory_gib>=32"]', '["gpu","memory_gib>=32"]'
# By the labels of a worker: which requirements it meets.
MEETS: Final = {
    None: set(),
    '["gpu"]': {"gpu"},
    '["gpu=false","memory_gib=64"]': {"memory_gib>=32"},
    '{"gpu":true,"memory_gib":64}': {"gpu", "memory_gib>=32"},
    '{"gpu":true,"memory_gib":8}': {"gpu"},
}


def set_called(requires: str | None, group: str | None) -> str | None:
    """Jobs that have a group stand in lanes of their own."""
    return requires if group is None else f" {requires or '[]'}"


def called(job: Job) -> str | None:
    return set_called(job.requires, job.group)


class Labels(State):
    def fits(self, worker: Worker, requires: str | None) -> bool:
        return requires is None or set(json.loads(requires)) <= MEETS[worker.labels]

    def lane(self, job: Job) -> int:
        number = next((each for each, of in self.sets.items() if of == (job.type, called(job))), 0)
        return 2 * number + (job.options is not None)

    def take_set(self, type_: str, requires: str | None) -> No | None:
        """There is such a set from now on; where there is no room, those that no job has go."""
        if requires is None or (type_, requires) in self.sets.values():
            return None
        if len(self.sets) >= self.rules.max_sets:
            used = {(job.type, called(job)) for job in self.jobs.values()}
            left = {number: each for number, each in self.sets.items() if each in used}
            if len(left) >= self.rules.max_sets:
                return No("invalid")
            self.sets = left
        self.sets[min({*range(1, len(self.sets) + 2)} - set(self.sets))] = (type_, requires)
        return None

    def set_requirements(self, job_id: int, requires: str | None, undo: str, now: int) -> Any:
        job = self.jobs.get(job_id)
        if job is None:
            return No("no-such-job")
        if is_compared(job.type):
            return No("job-of-canary")
        before = job.requires
        if before == requires:
            return ("JobChanged", job_id, job.status, "")
        if (refused := self.take_set(job.type, set_called(requires, job.group))) is not None:
            return refused
        job.requires, job.changed_at = requires, now
        if undo and (undo, job_id) not in self.undos:
            self.undos[undo, job_id] = ("{", "requires", now)
            self.required[undo, job_id] = (before, requires)
        return ("JobChanged", job_id, job.status, undo)
