"""Chains in a play: what each accepted result starts, and what joins it, after each commit.

Owns: the jobs and the records of kin as they were after the last commit, and which jobs each stage ever had.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from blobforge.chain import join_step
from blobforge.objects.keys import output_of
from tests.fixtures.probe import Probe
from tests.simulation.history import History

if TYPE_CHECKING:
    from tests.simulation.oracle import Job, Look

ENDED = ("completed", "dead", "cancelled")
STARTED = "a result starts what its steps say, each once, in the commit that accepts it"
JOINED = "a stage that has ended is joined, or says why not, in the commit in which it ends or is put off, not before"
Stage = tuple[int, int, int]  # parent, attempt, step


class Kin(NamedTuple):
    parent: int
    attempt: int
    step: int
    name: str


class Families:
    def __init__(self, history: History) -> None:
        self._history = history
        self._kin: dict[Kin, int] = {}
        self._were: dict[Stage, set[int]] = defaultdict(set)

    def committed(self, probe: Probe, was_then: Look, is_now: Look) -> None:
        was, now = was_then.jobs, is_now.jobs
        before, rows = self._kin, probe.rows("kin", "parent", "attempt", "step", "name", "job_id")
        self._kin = {Kin(*row[:4]): row[4] for row in rows}
        same = was_then.put_off == is_now.put_off
        if same and self._kin == before and all(was.get(job.id) == job for job in now.values()):
            return
        stages: dict[Stage, dict[str, int]] = defaultdict(dict)
        for kin, job_id in self._kin.items():
            stages[kin[:3]][kin.name] = job_id
            self._were[kin[:3]].add(job_id)
        for parent, number, step, wanted in _results(now):
            chain, stage = json.loads(parent.chain or "{}"), (parent.id, number, step)
            if "stopped" not in chain:
                self._started(parent, number, step, stages.get(stage, {}), now)
            said = any(each["step"] == step for each in chain.get("unjoined", ()))
            if "join" in wanted and stage not in is_now.put_off:
                self._joined(probe, stage, stages, was, now, said=said)
        named = set(self._kin.values())
        for job in now.values():
            chain = json.loads(job.chain or "{}")
            if chain.get("parent") is not None and job.id not in named:
                self._history.broken(STARTED, f"job {job.id} came of job {chain['parent']}, and is not on record")

    def replaced(self, job: Job, probe: Probe) -> bool:
        """Whether that job, which is gone, was found to be another one that was there, when its source was read."""
        named = [kin for kin, job_id in self._kin.items() if job_id == job.id]
        now = {Kin(*row) for row in probe.rows("kin", "parent", "attempt", "step", "name")} if named else set()
        return job.status == "uploading" and bool(named) and now.issuperset(named)

    def _started(self, parent: Job, number: int, step: int, made: Mapping[str, int], now: Mapping[int, Job]) -> None:
        names = self._history.names.get((parent.id, number), ("output",))
        if set(made) - set(names):
            self._history.broken(STARTED, f"of {parent.id}/{number}, whose outputs are {names}, came {dict(made)}")
        lost = [name for name in names if name not in made]
        if lost and not self._were[parent.id, number, step] & self._history.deleted:
            self._history.broken(STARTED, f"of {lost} of {parent.id}/{number} nothing came by step {step}")
        for job_id in made.values():
            if job_id not in now:
                self._history.broken(STARTED, f"job {job_id} of {parent.id}/{number} is not there")

    def _joined(
        self,
        probe: Probe,
        stage: Stage,
        stages: Mapping[Stage, Mapping[str, int]],
        was: Mapping[int, Job],
        now: Mapping[int, Job],
        *,
        said: bool,
    ) -> None:
        made = [now[job_id] for job_id in stages.get(stage, {}).values() if job_id in now]
        joins = stages.get((*stage[:2], join_step(stage[2])), {})
        if (
            self._were[stage] & self._history.deleted
            or self._were[(*stage[:2], join_step(stage[2]))] & self._history.deleted
        ):
            return
        if any(job.status not in ENDED for job in made):
            before = [was.get(job.id) for job in made]
            unfinished = any(job is None or job.status not in ENDED for job in before)
            if unfinished and self._news(joins, was):
                self._history.broken(
                    JOINED, f"stage {stage} has not ended, and jobs {self._news(joins, was)} join it"
                )
            return
        if said or not made:
            return
        brought = {
            (job.id, output_of(job.output).attempt) for job in made if job.output and job.status == "completed"
        }
        manifests = {
            source: json.loads(text) for source, text in probe.rows("manifests", "source_hash", "manifest")
            if source in joins
        }  # fmt: skip
        if not any(_of(each) == brought for each in manifests.values()):
            self._history.broken(
                JOINED, f"stage {stage} has ended with {brought}, says nothing, and is joined as {manifests}"
            )

    @staticmethod
    def _news(joins: Mapping[str, int], was: Mapping[int, Job]) -> list[int]:
        return [job_id for job_id in joins.values() if job_id not in was]


def _results(now: Mapping[int, Job]) -> Iterator[tuple[Job, int, int, dict[str, Any]]]:
    """Of each job that has a result: itself, which attempt has it, and the steps behind it."""
    for job in now.values():
        if job.status != "completed" or job.output is None or job.chain is None:
            continue
        chain = json.loads(job.chain)
        if chain.get("rest") is None:
            for number, step in enumerate(chain.get("then", ())):
                yield job, output_of(job.output).attempt, number, step


def _of(manifest: dict[str, Any]) -> set[tuple[int, int]]:
    return {(each["job_id"], each["attempt"]) for each in manifest["inputs"]}
