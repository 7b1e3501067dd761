"""Canaries: jobs that are converted once more by workers of one converter, and change nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.model.world.breakers import Breakers
from tests.model.world.things import MOST_CANARIES, Canary, Job, No, Worker, is_compared, kind_of

_ENDED = ("completed", "dead", "cancelled")


class Comparisons(Breakers):
    def left_of(self, canary: Canary) -> int:
        return sum(self.jobs[id_].status not in _ENDED for id_ in canary.jobs if id_ in self.jobs)

    def begin_canary(
        self, plan: Any, jobs: Sequence[int], new_id: int | None, made: Mapping[int, int], now: int
    ) -> Any:
        """`made`: by the id of each job that was converted before, that of its comparison."""
        open_ = [each for each in self.canaries.values() if each.closed_at is None]
        # They are looked at now and then; here only where it matters.
        ended = [each for each in open_ if not self.left_of(each)] if len(open_) >= MOST_CANARIES else []
        if len(open_) - len(ended) >= MOST_CANARIES:
            return No("slow-down")
        there = [each for each in self.workers.values() if self.may_compare(each, plan.made_by, plan.types)]
        if plan.need_worker and not there:
            return No("no-worker-of-version")
        known = [self.jobs[job_id] for job_id in jobs if job_id in self.jobs]
        originals = [job for job in known if job.status == "completed" and job.type in plan.types]
        originals = [
            job for job in originals
            if not (job.chain and (job.chain.joins or job.chain.source)) and self.ready(job.hash, job.size)
        ]  # fmt: skip
        if not originals:
            return No("nothing-to-compare")
        for each in ended:
            each.closed_at = now
        assert new_id is not None, "it should have been begun"
        assert new_id not in self.canaries
        canary = self.canaries[new_id] = Canary(plan.types, plan.made_by, 0)
        for job in originals:
            type_ = f"{job.type}/canary/{new_id}"
            if self.take_set(type_, job.requires) is not None:
                continue
            id_ = made[job.id]
            assert id_ not in self.given_ids, "an id was given again"
            self.given_ids.add(id_)
            self.jobs[id_] = Job(
                id_, type_, job.hash, "pending", plan.priority, 1, job.size, (), job.options, job.requires
            )
            canary.jobs[id_] = (job.id, job.attempt)
        canary.taken = len(canary.jobs)
        return ("CanaryBegun", new_id, canary.taken, len(there))

    def may_compare(self, worker: Worker, made_by: str, types: Sequence[str]) -> bool:
        takes = {worker.type, *worker.asks} & set(types)
        there = worker.status == "online" and worker.enabled and worker.held is None
        return bool(takes) and there and worker.converter == made_by

    def compared_types(self, worker: Worker, types: Sequence[str]) -> list[str]:
        """Of the comparisons that this worker may have."""
        open_ = [(number, each) for number, each in self.canaries.items() if each.closed_at is None]
        return [
            f"{type_}/canary/{number}"
            for number, each in open_
            if each.made_by == worker.converter
            for type_ in each.types
            if type_ in types
        ]

    def comparisons_for(
        self, worker: Worker, types: Sequence[str], accepts: Sequence[str], left: Mapping[str, int]
    ) -> tuple[list[Job], set[tuple[str, int]]]:
        """Those that wait, in their order; and the lines that a limit or a pause shuts.

        What a breaker lets through of a type that it has paused is no comparison.
        """
        compared = self.compared_types(worker, types)
        lanes = (0, 1) if "options" in accepts else (0,)
        closed = {type_ for type_ in compared if left.get(kind_of(type_)) == 0 or self.is_broken(kind_of(type_))}
        shut = {(type_, lane) for type_ in closed for lane in lanes}
        shut |= {
            (type_, 2 * number + lane)
            for number, (type_, called) in self.sets.items()
            if type_ in closed and self.fits(worker, called)
            for lane in lanes
        }
        ready = [job for job in self.jobs.values() if job.status == "pending" and job.type in set(compared) - closed]
        ready = [job for job in ready if job.not_before is None and (job.options is None or "options" in accepts)]
        ready = [job for job in ready if self.fits(worker, job.requires)]
        return sorted(ready, key=lambda job: (job.priority, job.id)), shut

    def with_comparisons(
        self, ordinary: Sequence[Job], compared: Sequence[Job], limit: int, left: Mapping[str, int]
    ) -> list[Job]:
        """Behind ordinary jobs of the same priority; no more of a type, together, than is left of it."""
        room, found = dict(left), []
        both = sorted([*ordinary, *compared[:limit]], key=lambda job: (job.priority, is_compared(job.type)))
        for job in both if compared else ordinary:
            if room.get(kind_of(job.type)) == 0:
                continue
            if kind_of(job.type) in room:
                room[kind_of(job.type)] -= 1
            found.append(job)
        return found[:limit]
