"""What accepted results start, and how their sources are proven. No store of the model vouches for a hash: each child
waits until its source was read."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from tests.model.world.decisions import Decisions
from tests.model.world.labels import set_called
from tests.model.world.things import Chain, Job, No, prefix_of

Born = Mapping[tuple[int, int, int, str], int]
"""By parent, attempt, step and name: which job came of it, of those that are made with a message."""


class Chains(Decisions):
    def start_children(self, job: Job, message: Any, born: Born, now: int) -> None:
        chain = job.chain
        if chain is None or not chain.then:
            return
        chain.stopped = ""
        chain.unjoined.clear()
        known = self.outputs.get((job.id, job.attempt), {})
        if message.several is not None:
            prefix = prefix_of(job.id, job.attempt)
            named = [(name, size, prefix + name) for name, (size, is_) in sorted(known.items()) if is_]
        elif message.output_key is not None:
            named = [("output", message.output.size, message.output_key)]
        else:
            named = []
        for step, following in enumerate(chain.then):
            if following.join is not None and any(fnmatchcase(name, following.outputs) for name, *_ in named):
                self.to_join.append((job.id, job.attempt, step))
            for name, size, key in named:
                if not fnmatchcase(name, following.outputs) or chain.stopped:
                    continue
                full = following.type not in self.types and len(self.types) >= self.rules.max_types
                if full or self.take_set(following.type, set_called(None, job.group)) is not None:
                    chain.stopped = "few"
                    continue
                new_id = born[job.id, job.attempt, step, name]
                assert new_id not in self.given_ids, "an id was given again"
                self.given_ids.add(new_id)
                child = Job(
                    new_id, following.type, f"unproven/{job.id}/{job.attempt}/{step}/{name}", "uploading",
                    job.priority, self.max_attempts(following.type), size, job.tags, following.options,
                    group=job.group,
                )  # fmt: skip
                child.batches = job.batches
                root = chain.family or job.id
                joined = following.join is not None
                child.chain = Chain(following.then or (), job.id, root, chain.depth + 1, key, joined=joined)
                self.enter(child)
                self.jobs[new_id] = child
                self.kin[job.id, job.attempt, step, name] = (new_id, True)
                self.join_family(root)

    def join_family(self, root: int) -> None:
        came, gone = self.families.get(root, (0, 0))
        self.families[root] = came + 1, gone

    def leave_family(self, job: Job) -> None:
        chain = job.chain
        root = (chain.family or job.id) if chain is not None else job.id
        if root not in self.families:
            return
        came, gone = self.families.pop(root)
        if gone < came:
            self.families[root] = came, gone + 1

    def child_read(self, message: Any, now: int) -> Any:
        job = self.jobs.get(message.job_id)
        waits = job is not None and job.status == "uploading" and job.waits_for_proof
        if job is None or job.chain is None or not waits or job.chain.source != message.key:
            return ("SourceSettledFor", 0, None)
        file = self.files.get(message.key)
        if file is not None and (not file.checked or file.keeping):
            return No("unavailable")
        if message.output.seen == "absent":
            job.status, job.completed_at, job.error, job.source_never_came = "dead", now, True, True
            job.blamed, job.not_before = True, None
            return ("SourceSettledFor", 1, None)
        identity = (message.output.sha256, job.type, job.options)
        same = next((j for j in self.jobs.values() if (j.hash, j.type, j.options) == identity), None)
        if same is None:
            job.hash, job.chain.proven = message.output.sha256, True
            self.arrive(job, message.output.size, now)
            return ("SourceSettledFor", 1, None)
        waited = same.status == "uploading"
        lent = waited or (same.status in ("dead", "cancelled") and same.source_never_came)
        tags = tuple(dict.fromkeys((*same.tags, *job.tags)))
        batches = (*same.batches, *(each for each in job.batches if each not in same.batches))
        more = job.chain.joined and (same.chain is None or not same.chain.joined)
        if (tags, batches) != (same.tags, same.batches) or same.chain is None or lent or more:
            same.changed_at = now
        same.tags, same.batches = tags, batches
        same.chain = same.chain or Chain(adopted=True)
        same.chain.joined = same.chain.joined or job.chain.joined
        if lent:
            same.chain.source, same.chain.proven = job.chain.source, True
            if waited:
                self.arrive(same, message.output.size, now)
            else:
                same.size = message.output.size if message.output.size is not None else same.size
                if same.status == "dead":
                    self.again(same, now, reset=True, priority=None)
        row = next(row for row, (of, _) in self.kin.items() if of == job.id)
        self.kin[row] = (same.id, lent)
        if job.chain.joined:
            self.to_join.append(row[:3])
        self.leave_family(job)
        del self.jobs[job.id]
        return ("SourceSettledFor", 1, None)

    def arrive(self, job: Job, size: int | None, now: int) -> None:
        """The source of a job that waited for it is there."""
        job.status, job.error, job.changed_at, job.blamed = "pending", None, now, False
        job.size = size if size is not None else job.size
        if job.not_before is not None and job.not_before <= now:
            job.not_before = None
        if job.not_before is None:
            self.keep(job, now)
        self.enter(job)

    def children_of(self, parent: int, attempt: int) -> list[Job]:
        ids = [of for row, (of, _) in self.kin.items() if row[:2] == (parent, attempt) and row[2] >= 0]
        return [self.jobs[each] for each in ids if each in self.jobs]

    def output_is_copied(self, key: str, to: str) -> None:
        _, _, parent, attempt, _ = key.split("/")
        for child in self.children_of(int(parent), int(attempt)) if int(parent) in self.jobs else ():
            if child.chain is not None and child.chain.source == key:
                child.chain.source = to

    def result_is_back(self, job: Job) -> None:
        if job.chain is None or not job.chain.then or job.kept_attempt is None:
            return
        job.chain.stopped = ""
        job.chain.unjoined.clear()
        for step, following in enumerate(job.chain.then):
            stage = (job.id, job.kept_attempt, step)
            if following.join is not None and any(row[:3] == stage for row in self.kin):
                self.to_join.append(stage)

    def children_revoked(self, parent: int, attempt: int, now: int) -> None:
        for child in self.children_of(parent, attempt):
            if child.status == "uploading" and child.waits_for_proof:
                child.status, child.completed_at, child.source_never_came = "cancelled", now, True
                child.error, child.not_before = "cancelled: its source is gone", None
