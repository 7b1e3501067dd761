"""Turns of groups: where a job stands, and who is next."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from tests.model.world.kinds import Kinds
from tests.model.world.labels import Labels
from tests.model.world.things import Job, Worker

STEP: Final = 1_000_000


class Turns(Labels, Kinds):
    def step(self, type_: str, group: str) -> int:
        said = self.set_for[type_][9] if type_ in self.set_for else None
        weights = json.loads(said) if said else {}
        return STEP // int(weights.get(group, 1))

    def enter(self, job: Job) -> None:
        """It stands behind its group's last one, and not before what was given out."""
        if job.group is None:
            return
        line = (job.type, job.priority)
        now, _ = self.clocks.setdefault(line, (STEP, STEP))
        last = self.turns.get((*line, job.group))
        job.turn = now if last is None else max(now, last + self.step(job.type, job.group))
        if self.in_line(job):
            self.turns[*line, job.group] = job.turn
            self.forget_past(line)

    def leave(self, job: Job) -> None:
        """It leaves, and was not given out: the next one of its group comes earlier by as much."""
        if job.group is None or not self.in_line(job):
            return
        line = (job.type, job.priority)
        now, _ = self.clocks[line]
        if job.turn > now and (*line, job.group) in self.turns:
            self.turns[*line, job.group] -= self.step(job.type, job.group)
            self.forget_past(line)

    def in_line(self, job: Job) -> bool:
        return job.status in ("pending", "failed") and not job.deferred

    def forget_past(self, line: tuple[str, int]) -> None:
        now, _ = self.clocks[line]
        for key in [key for key, turn in self.turns.items() if key[:2] == line and turn <= now - STEP]:
            del self.turns[key]

    def in_turn(self, worker: Worker, types: Sequence[str]) -> set[str]:
        """The types of which jobs may have groups that this worker may be given."""
        return {
            type_
            for type_, called in self.sets.values()
            if type_ in types and called.startswith(" ") and self.fits(worker, called)
        }

    def next_of(self, ready: Sequence[Job], limit: int, left: Mapping[str, int | None]) -> list[Job]:
        """In the order in which they are given out; none of a type beyond what is left of it."""
        left, rest, found = dict(left), list(ready), []
        clocks = dict(self.clocks)
        while len(found) < limit:
            rest = [job for job in rest if left.get(job.type) != 0]
            heads = []
            if alone := [job for job in rest if job.group is None]:
                heads.append(min(alone, key=lambda job: (job.priority, job.id)))
            for type_ in dict.fromkeys(job.type for job in rest if job.group is not None):
                of_groups = [job for job in rest if job.group is not None and job.type == type_]
                heads.append(min(of_groups, key=lambda job: (job.priority, job.turn, job.id)))
            if not heads:
                break
            first = heads[0]
            for job in heads[1:]:
                if self.is_before(job, first, clocks):
                    first = job
            rest.remove(first)
            found.append(first)
            self.take(first, clocks)
            left[first.type] = None if left.get(first.type) is None else (left[first.type] or 0) - 1
        return found

    def turns_taken(self, jobs: Sequence[Job], in_turn: set[str]) -> None:
        """They are given out, in this order, to a worker that may have jobs of groups of these types."""
        clocks = dict(self.clocks)
        for job in jobs:
            self.take(job, clocks)
        self.clocks |= {key: clock for key, clock in clocks.items() if key in self.clocks and key[0] in in_turn}

    def is_before(self, job: Job, other: Job, clocks: Mapping[tuple[str, int], tuple[int, int]]) -> bool:
        if job.priority != other.priority:
            return job.priority < other.priority
        if job.type != other.type:
            return job.id < other.id
        return (job.turn, job.id) < (max(clocks[job.type, job.priority]), other.id)

    def take(self, job: Job, clocks: dict[tuple[str, int], tuple[int, int]]) -> None:
        now, alone = clocks.get((job.type, job.priority), (STEP, STEP))
        if job.group is not None:
            clocks[job.type, job.priority] = max(now, job.turn), alone
        else:
            at = max(now, alone)
            clocks[job.type, job.priority] = at, at + self.step(job.type, "")
