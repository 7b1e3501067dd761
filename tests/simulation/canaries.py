"""Canaries in a play: the rules by which each commit is judged. Who begins and stops them is in `people.py`.

Owns: the canaries and the figures of ordinary jobs as they were after the last commit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from blobforge.canary import MARK, canary_of, is_comparison
from tests.fixtures.probe import Probe
from tests.simulation.history import History

if TYPE_CHECKING:
    from tests.simulation.oracle import Job, Look

ENDED = ("completed", "dead", "cancelled")
OLD, NEW = "marker 1.3", "marker 1.4"
CONVERTERS = (OLD, NEW)  # of a worker's processes
BEGUN = "a canary converts completed documents once more, all that it says"
APART = "comparisons go to workers of their converter, and change nothing of ordinary jobs"
OVER = "a canary ends when its comparisons have, or when it is stopped"
KEPT = "a canary is not lost"


class SeenCanary(NamedTuple):
    id: int
    types: str
    made_by: str
    taken: int
    closed_at: int | None
    cancelled_at: int | None


class CanaryRules:
    def __init__(self, history: History) -> None:
        self._history = history
        self._canaries: dict[int, SeenCanary] = {}
        self._figures: dict[str, Any] = {}

    @property
    def begun(self) -> bool:
        """Whether there ever was one."""
        return bool(self._canaries)

    @property
    def open(self) -> list[int]:
        """The canaries whose comparisons may still be given out."""
        return [number for number, canary in self._canaries.items() if canary.closed_at is None]

    def made_by(self, job: Job) -> str | None:
        """The converter whose workers may have this comparison; None: no worker may, for its canary is over."""
        canary = self._canaries.get(canary_of(job.type) or 0)
        return canary.made_by if canary is not None and canary.closed_at is None else None

    def committed(self, probe: Probe, was: Look, now: Look) -> None:
        before = self._canaries
        rows = probe.rows("canaries", "id", "types", "made_by", "taken", "closed_at", "cancelled_at")
        self._canaries = {row[0]: SeenCanary(*row) for row in rows}
        if not (before or self._canaries):
            return
        for number in before.keys() - self._canaries.keys():
            self._history.broken(KEPT, f"canary {number} is gone")
        compared = [job for job in now.jobs.values() if is_comparison(job.type)]
        for number, canary in self._canaries.items():
            of_it = [job for job in compared if canary_of(job.type) == number]
            if (then := before.get(number)) is None:
                self._history.say(f"  canary {number} of {canary.taken}")
                self._begun(probe, canary, of_it, was)
            elif then != canary:
                self._changed(then, canary, of_it)
        for job in compared:
            if (earlier := was.jobs.get(job.id)) != job:
                self._moved(earlier, job, before)
        for key in now.attempts.keys() - was.attempts.keys():
            if (given := now.jobs.get(key[0])) is not None and is_comparison(given.type):
                self._given(given, now.attempts[key].worker, before, was, now)
        self._counted(probe, was, now)

    def _begun(self, probe: Probe, canary: SeenCanary, compared: Sequence[Job], was: Look) -> None:
        pairs = probe.rows("canary_jobs", "job_id", "original_id", "against", canary_id=canary.id)
        jobs = {job.id: job for job in compared}
        if not pairs or len(pairs) != canary.taken or jobs.keys() != {pair[0] for pair in pairs}:
            self._history.broken(BEGUN, f"{canary} has {sorted(jobs)}, and on record are {pairs}")
            return
        for job_id, original_id, against in pairs:
            job, original = jobs[job_id], was.jobs.get(original_id)
            if original is None or original.status != "completed" or original.attempt != against:
                self._history.broken(BEGUN, f"job {job_id} is held against {original}")
            elif (job.kind, job.source, job.requires) != (original.type, original.source, original.requires):
                self._history.broken(BEGUN, f"{job} is held against {original}")

    def _changed(self, then: SeenCanary, canary: SeenCanary, compared: Sequence[Job]) -> None:
        left = [job.id for job in compared if job.status not in ENDED]
        if left or then.closed_at is not None or canary.closed_at is None:
            self._history.broken(OVER, f"{then} is {canary}, and jobs {left} have not ended")
        if canary.cancelled_at is not None and not self._history.asked("stop canary", canary.id):
            self._history.broken("nothing is invented", f"nobody has stopped canary {canary.id}")
        self._history.say(f"  canary {canary.id} is over")

    def _moved(self, was: Job | None, job: Job, before: dict[int, SeenCanary]) -> None:
        number = canary_of(job.type) or 0
        if was is None and number in before:
            self._history.broken(BEGUN, f"{job} has come to canary {number} later")
        stopped = number in self._canaries and self._canaries[number].cancelled_at is not None
        if job.status == "cancelled" and (was is None or was.status != job.status) and not stopped:
            self._history.broken("nothing is invented", f"nobody has stopped job {job.id}")

    def _given(self, job: Job, worker: str, before: dict[int, SeenCanary], was: Look, now: Look) -> None:
        canary = self._canaries[canary_of(job.type) or 0]
        says = [look.workers[worker].converter for look in (was, now) if worker in look.workers]
        if canary.made_by not in says:
            self._history.broken(APART, f"job {job.id} for {canary.made_by} began on {worker}, which has {says}")
        if canary.id in before and before[canary.id].closed_at is not None:
            self._history.broken(OVER, f"job {job.id} began, and {canary} is over")

    def _counted(self, probe: Probe, was: Look, now: Look) -> None:
        """What a commit has changed that was about comparisons alone, but for these: nothing."""
        before = self._figures
        self._figures = probe.figures()
        self._figures["counts"] = [
            row for row in probe.rows("job_counts", "type", "status", "priority", "n") if MARK not in row[0]
        ]
        if not before or self._figures == before or was.workers != now.workers or was.types != now.types:
            return
        jobs = [key for key in {*was.jobs, *now.jobs} if was.jobs.get(key) != now.jobs.get(key)]
        jobs += [key[0] for key in {*was.attempts, *now.attempts} if was.attempts.get(key) != now.attempts.get(key)]
        changed = [job for key in jobs if (job := now.jobs.get(key) or was.jobs.get(key)) is not None]
        if changed and all(is_comparison(job.type) for job in changed):
            differ = {table: (before[table], rows) for table, rows in self._figures.items() if rows != before[table]}
            self._history.broken(APART, f"of jobs {sorted({job.id for job in changed})}: {json.dumps(differ)}")
