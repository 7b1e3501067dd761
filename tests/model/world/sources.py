"""Submissions, and sources that arrive, turn out wrong, or never come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tests.model.world.batches import Batches
from tests.model.world.decisions import Decisions
from tests.model.world.labels import set_called
from tests.model.world.things import Chain, File, Job, No, source_of


class Sources(Decisions, Batches):
    def submit(self, job: Any, source: Any, new_id: int | None, now: int) -> Any:
        key = source_of(job.source_hash)
        seen, size = source.seen, source.size
        doom = self.doomed.get(key)
        if doom is not None:
            if doom.state == "deleting":
                return No("being-removed")
            if source.epoch < doom.epoch:
                seen, size = "unknown", None
        identity = (job.source_hash, job.type, job.options)
        found = next((j for j in self.jobs.values() if (j.hash, j.type, j.options) == identity), None)
        then = ()
        if found is None or job.then is not None:
            then = self.whole_chain(job.type, job.options, job.then, self.following())
            if then is None:
                return No("invalid")
        if found is None and self.one_type_too_many(job.type):
            return No("invalid")
        of_output = found is not None and found.chain is not None and found.chain.source is not None
        if of_output:
            seen = "of an output"
        anew = found is None or (
            found.status == "dead" and (found.source_never_came or found.expired or seen == "absent")
        )
        if anew and job.expires_at is not None and job.expires_at <= now:
            return No("invalid")
        batches = self.joined(found.batches if found is not None else (), job.batch)
        if isinstance(batches, No):
            return batches
        told = batches if job.batch is not None else ()
        if found is None and (refused := self.take_set(job.type, set_called(job.requires, job.group))) is not None:
            return refused
        if seen == "verified":
            self.files[key] = File(size, job.source_hash, True)
        elif seen == "absent":
            self.files.pop(key, None)
        ready = of_output or self.ready(job.source_hash, found.size if found is not None else job.source_size)
        missing = not ready and seen != "present"
        if found is not None:
            if anew:
                self.again(found, now, reset=True, priority=None, times=(job.not_before, job.expires_at))
            elif seen == "absent" and found.status == "pending" and found.lease is None:
                self.leave(found)
                found.not_before = None if found.releases else found.not_before
                found.status, found.changed_at = "uploading", now
                found.avoid, found.avoid_until = (), None
            if not set(job.tags) <= set(found.tags):
                found.tags = tuple(dict.fromkeys((*found.tags, *job.tags)))
                found.changed_at = now
            if batches != found.batches:
                found.batches, found.changed_at = batches, now
            asked = seen == "absent" or (missing and found.status == "uploading")
            both = (found.requires, job.requires)
            kept = tuple(json.loads(found.requires or "[]")) if both != (None, None) else None
            ignored = self.ignored(found, job, then, anew, now)
            return ("Submitted", found.id, True, found.status, asked, (), kept, ignored, told)
        assert new_id is not None, "a job should have been made"
        assert new_id not in self.given_ids, "an id was given again"
        assert new_id > max(self.jobs, default=0)
        self.given_ids.add(new_id)
        made = Job(
            new_id, job.type, job.source_hash, "pending" if ready else "uploading", job.priority,
            job.max_attempts or self.max_attempts(job.type),
            self.files[key].size if ready and job.source_size is None else job.source_size,
            tuple(dict.fromkeys(job.tags)),
            job.options,
            job.requires,
            job.group,
        )  # fmt: skip
        made.batches = batches
        made.chain = Chain(then) if then else None
        made.timed(job.not_before, job.expires_at, now)
        self.enter(made)
        self.jobs[new_id] = made
        requires = tuple(json.loads(made.requires)) if made.requires else None
        return ("Submitted", new_id, False, made.status, missing, (), requires, (), told)

    def ignored(self, found: Job, said: Any, then: Any, anew: bool, now: int) -> tuple[str, ...]:
        start = found.not_before if found.deferred or found.status == "uploading" else None
        others = {
            "requires": (said.requires, found.requires),
            "group": (said.group, found.group),
            "not_before": (said.not_before if (said.not_before or 0) > now and not anew else None, start),
            "then": (then if said.then is not None else None, found.chain.then if found.chain is not None else ()),
            "expires_at": (said.expires_at if not anew else None, found.expires_at),
        }
        return tuple(name for name, (wanted, kept) in others.items() if wanted is not None and wanted != kept)

    def source_arrived(self, source_hash: str, size: int, verified: bool, epoch: int, now: int) -> Any:
        doom = self.doomed.get(source_of(source_hash))
        if doom is not None and (doom.state == "deleting" or epoch < doom.epoch):
            return No("being-removed")
        self.files[source_of(source_hash)] = File(size, source_hash if verified else None, True)
        count = 0
        for job in self.waiting_for(source_hash):
            if not verified and job.size is not None and job.size != size:
                job.error, job.changed_at = True, now
                continue
            job.status, job.size, job.error, job.changed_at = "pending", size, None, now
            job.blamed = False
            if job.not_before is not None and job.not_before <= now:
                job.not_before = None
            if job.not_before is None:
                self.keep(job, now)
            self.enter(job)
            count += 1
        return ("SourceSettledFor", count, None)

    def heed_times(self, limit: int, now: int) -> Any:
        over = sorted((job.expiry, job.id) for job in self.jobs.values() if job.expiry is not None)
        over = [each for each in over if each[0] <= now][:limit]
        for _, job_id in over:
            job = self.jobs[job_id]
            self.leave(job)
            job.source_never_came = job.status == "uploading"
            job.status, job.completed_at, job.error, job.expired = "dead", now, True, True
            job.blamed = True
            job.not_before = job.avoid_until = None
            job.avoid = ()
        waiting = sorted(
            (job.not_before, job.id) for job in self.jobs.values() if job.deferred and job.not_before is not None
        )
        due = [each for each in waiting if each[0] <= now][: limit - len(over)]
        for _, job_id in due:
            job = self.jobs[job_id]
            job.not_before, job.changed_at = None, now
            self.keep(job, now)
            self.enter(job)
        left = [each for each, _ in waiting[len(due) :]]
        left += [job.expiry for job in self.jobs.values() if job.expiry is not None]
        return ("TimesHeeded", len(due), len(over), max(0, min(left) - now) / 1000 if left else None)

    def source_rejected(self, source_hash: str, now: int) -> Any:
        self.files.pop(source_of(source_hash), None)
        jobs = list(self.waiting_for(source_hash))
        for job in jobs:
            job.error, job.changed_at = True, now
        return ("SourceSettledFor", len(jobs), None)

    def expire_uploads(self, ids: Sequence[int], now: int) -> Any:
        count = 0
        for id_ in ids:
            job = self.jobs.get(id_)
            if job is not None and job.status == "uploading":
                job.status, job.completed_at, job.error, job.source_never_came = "dead", now, True, True
                job.blamed = True
                job.not_before = None
                count += 1
        return ("SourceSettledFor", count, None)

    def waiting_for(self, source_hash: str) -> Iterator[Job]:
        return (job for job in self.jobs.values() if job.hash == source_hash and job.status == "uploading")
