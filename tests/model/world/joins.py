"""Stages are joined: when the last job of one ends, one more is made, whose source is what they have brought."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from tests.model.world.batches import OVER
from tests.model.world.chains import Born, Chains
from tests.model.world.labels import set_called
from tests.model.world.things import Chain, Job, copy_of, ended, prefix_of

Content = dict[str, Any]


class Joins(Chains):
    def join_stages(self, born: Born, manifests: Mapping[str, str]) -> None:
        """After each message. `born` and `manifests` are as they are on record: which words tell of a failure is not
        known here, and so not the hash either."""
        gone = {job_id for _, job_id, *_ in ended}
        stages = [
            row[:3]
            for row, (job_id, _) in sorted(self.kin.items())
            if row[2] >= 0 and job_id in gone and (job := self.jobs.get(job_id)) and job.chain and job.chain.joined
        ]
        for stage in dict.fromkeys((*self.to_join, *stages)):
            self.join_stage(stage, born, manifests)
        self.to_join.clear()

    def join_stage(self, stage: tuple[int, int, int], born: Born, manifests: Mapping[str, str]) -> None:
        parent_id, attempt, step = stage
        parent = self.jobs.get(parent_id)
        if parent is None or parent.chain is None:
            return
        if attempt != (parent.attempt if parent.status == "completed" else parent.kept_attempt):
            return
        join = parent.chain.then[step].join if step < len(parent.chain.then) else None
        named = sorted((row[3], job_id) for row, (job_id, _) in self.kin.items() if row[:3] == stage)
        there = [(name, self.jobs[job_id]) for name, job_id in named if job_id in self.jobs]
        if join is None or any(job.status not in OVER for _, job in there):
            return
        content = self.content(stage, there)
        if not content["inputs"]:
            parent.chain.unjoined.add(step)
            return
        parent.chain.unjoined.discard(step)
        place = (parent_id, attempt, -1 - step)
        new = [row for row in born if row[:3] == place and row not in self.kin]
        if not new and self.is_joined(join, content, place):
            return
        full = join.type not in self.types and len(self.types) >= self.rules.max_types
        if full or self.take_set(join.type, set_called(None, parent.group)) is not None:
            parent.chain.unjoined.add(step)
            return
        (row,) = new
        self.make(parent, join, row, born[row], manifests[row[3]], content)

    def make(
        self, parent: Job, join: Any, row: tuple[int, int, int, str], new_id: int, text: str, content: Content
    ) -> None:
        assert parent.chain is not None
        assert sha256(text.encode()).hexdigest() == row[3]
        assert without_words(text) == content
        assert new_id not in self.given_ids, "an id was given again"
        self.given_ids.add(new_id)
        job = Job(
            new_id, join.type, row[3], "uploading", parent.priority, self.max_attempts(join.type), len(text.encode()),
            parent.tags, join.options, group=parent.group,
        )  # fmt: skip
        job.batches = parent.batches
        root = parent.chain.family or parent.id
        job.chain = Chain(join.then or (), parent.id, root, parent.chain.depth + 2, joins=True)
        self.enter(job)
        self.jobs[new_id] = job
        self.manifests[row[3]] = text
        self.kin[row] = (new_id, False)
        for each in content["inputs"]:
            self.kin[each["job_id"], each["attempt"], row[2], f"{row[0]}/{row[1]}/{row[3]}"] = (new_id, True)
        self.join_family(root)

    def is_joined(self, join: Any, content: Content, place: tuple[int, int, int]) -> bool:
        """Whether it had ended so before, and the job of that is there, of whichever type it is by now."""
        made = {job_id for row, (job_id, _) in self.kin.items() if row[:3] == place}
        alike = [
            job
            for job in self.jobs.values()
            if job.id in made or (job.type, job.options) == (join.type, join.options)
        ]
        return any(without_words(self.manifests[job.hash]) == content for job in alike if job.hash in self.manifests)

    def content(self, stage: tuple[int, int, int], there: list[tuple[str, Job]]) -> Content:
        inputs: list[Content] = []
        missing: list[Content] = []
        for name, job in there:
            outputs = self.brought(job) if job.status == "completed" else []
            for below, more in outputs:
                inputs.append({"name": f"{name}/{below}", "job_id": job.id, "attempt": job.attempt} | more)
            if not outputs:
                missing.append({"name": name, "job_id": job.id, "status": job.status})
        parent, attempt, step = stage
        return {
            "blobforge_join": 1, "parent": parent, "attempt": attempt, "step": step, "inputs": inputs,
            "missing": missing,
        }  # fmt: skip

    def brought(self, job: Job) -> list[tuple[str, Content]]:
        if job.output is None:
            return []
        if not job.output.endswith("/output"):
            prefix, known = prefix_of(job.id, job.attempt), self.outputs.get((job.id, job.attempt), {})
            return [
                (name, {"key": prefix + name} | ({"size": size} if size is not None else {}))
                for name, (size, chosen) in sorted(known.items())
                if chosen
            ]
        file = self.files.get(job.output)
        if file is None:
            return []
        kept = copy_of(job.output) if file.keeping else file.kept
        more = {"size": file.size, "sha256": file.sha256}
        return [("output", {"key": kept or job.output} | {name: of for name, of in more.items() if of is not None})]


def without_words(text: str) -> Content:
    said: Content = json.loads(text)
    for each in said["missing"]:
        each.pop("error", None)
    return said
