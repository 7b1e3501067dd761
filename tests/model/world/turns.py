"""Turns of groups: where a job stands, and who is next."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from tests.model.world.kinds import Kinds
from tests.model.world.labels import Labels
from tests.model.world.things import Job, Worker

STEP: Final = 1_000_000


class Turns(Labels, Kinds):
    def weight(self, type_: str, group: str) -> int:
        said = self.set_for[type_][9] if type_ in self.set_for else None
        return int((json.loads(said) if said else {}).get(group, 1))

    def step(self, type_: str, group: str) -> int:
        return STEP // self.weight(type_, group)

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
        run = Counter((job.type, job.priority, job.group) for job in self.jobs.values() if job.status == "running")

        def place(job: Job) -> tuple[int, ...]:
            rounds = run[job.type, job.priority, job.group] // self.weight(job.type, job.group or "")
            if job.group is None:
                return rounds, max(clocks.get((job.type, job.priority), (STEP, STEP))), job.id
            return rounds, job.turn, job.id

        def comes_before(job: Job, other: Job) -> bool:
            if job.priority != other.priority:
                return job.priority < other.priority
            return place(job) < place(other) if job.type == other.type else job.id < other.id

        while len(found) < limit:
            rest = [job for job in rest if left.get(job.type) != 0]
            heads = []
            if alone := [job for job in rest if job.group is None]:
                heads.append(min(alone, key=lambda job: (job.priority, job.id)))
            for type_ in dict.fromkeys(job.type for job in rest if job.group is not None):
                of_groups = [job for job in rest if job.group is not None and job.type == type_]
                heads.append(min(of_groups, key=lambda job: (job.priority, *place(job))))
            if not heads:
                break
            first = heads[0]
            for job in heads[1:]:
                if comes_before(job, first):
                    first = job
            rest.remove(first)
            found.append(first)
            self.take(first, clocks)
            run[first.type, first.priority, first.group] += 1
            left[first.type] = None if left.get(first.type) is None else (left[first.type] or 0) - 1
        return found

    def turns_taken(self, jobs: Sequence[Job], in_turn: set[str]) -> None:
        """They are given out, in this order, to a worker that may have jobs of groups of these types."""
        clocks = dict(self.clocks)
        for job in jobs:
            self.take(job, clocks)
        self.clocks |= {key: clock for key, clock in clocks.items() if key in self.clocks and key[0] in in_turn}

    def take(self, job: Job, clocks: dict[tuple[str, int], tuple[int, int]]) -> None:
        now, alone = clocks.get((job.type, job.priority), (STEP, STEP))
        if job.group is not None:
            clocks[job.type, job.priority] = max(now, job.turn), alone
        else:
            at = max(now, alone)
            clocks[job.type, job.priority] = at, at + self.step(job.type, "")
