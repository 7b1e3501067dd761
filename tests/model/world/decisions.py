"""What people do to jobs, and what time does to those that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.model.world.batches import OVER
from tests.model.world.labels import set_called
from tests.model.world.things import UNDO_MS, Job, No, is_compared
from tests.model.world.turns import Turns

BY_RETRY = (
    "status", "priority", "attempt", "attempts", "losses", "worker", "lease", "completed_at", "not_before",
    "expires_at", "progress", "kept_attempt", "releases", "source_never_came", "expired", "made_by",
    "compare", "compare_until", "error",
)  # fmt: skip


class Decisions(Turns):
    def again(
        self,
        job: Job,
        now: int,
        *,
        reset: bool,
        priority: int | None,
        compare: bool = False,
        times: tuple[int | None, int | None] = (None, None),
    ) -> Any:
        if job.status in ("uploading", "pending", "running"):
            return No("job-not-retryable")
        if job.status == "cancelled" and str(job.error).startswith("cancelled: "):
            job.error = None
        self.leave(job)
        asked_before = job.compare and job.status != "completed"
        if job.status == "completed" and (job.output, job.result) != (None, None):
            job.kept_attempt = job.attempt
        if job.kept_attempt is None:
            job.made_by = None
        job.compare = job.kept_attempt is not None and (compare or asked_before)
        job.compare_until = None
        of_output = job.chain is not None and job.chain.source is not None
        ready = not job.waits_for_proof if of_output else self.ready(job.hash, job.size)
        job.status = "pending" if ready else "uploading"
        job.priority = priority or job.priority
        if reset:
            job.attempts = job.losses = job.releases = 0
        job.worker = job.lease = job.completed_at = job.progress = None
        if job.kept_attempt is None:
            job.replaced = None
        job.not_before = job.expires_at = None
        job.source_never_came = job.expired = False
        job.changed_at = now
        if job.status == "pending":
            self.keep(job, now)
        job.timed(*times, now)
        self.enter(job)
        return ("JobChanged", job.id, job.status, "")

    def keep(self, job: Job, now: int) -> None:
        """From those that have failed it, if another worker is there."""
        failed = sorted(
            {
                each.worker
                for each in job.history.values()
                if each.outcome == "failed" or (each.outcome == "released" and each.kind == "trouble")
            }
        )
        job.avoid, job.avoid_until = (), None
        if failed and self.another(job.type, failed, job.requires):
            job.avoid, job.avoid_until = tuple(failed), now + self.rules.avoid_ms

    def retry(self, job_id: int, reset: bool, priority: int | None, undo: str, compare: bool, now: int) -> Any:
        job = self.jobs.get(job_id)
        if job is None:
            return No("no-such-job")
        if is_compared(job.type):
            return No("job-of-canary")
        before = {name: getattr(job, name) for name in BY_RETRY}
        answer = self.again(job, now, reset=reset, priority=priority, compare=compare)
        if isinstance(answer, No):
            return answer
        if undo and (undo, job_id) not in self.undos:
            self.undos[undo, job_id] = ("{", job.status, now)
            self.retried[undo, job_id] = before
        return (*answer[:3], undo)

    def cancel(self, job_id: int, undo: str, now: int, reason: str | None = None) -> Any:
        job = self.jobs.get(job_id)
        if job is None:
            return No("no-such-job")
        if job.status in ("completed", "dead", "cancelled"):
            return No("job-ended")
        self.leave(job)
        if job.status == "running":
            job.end("cancelled", now)
        if undo and (undo, job_id) not in self.undos:
            start = job.not_before if job.deferred or job.status == "uploading" else None
            timed = (start, job.expiry) != (None, None)
            self.undos[undo, job_id] = ("{" if timed else job.status, "cancelled", now)
            self.times_before[undo, job_id] = start, job.expiry
        job.source_never_came = job.status == "uploading"
        job.status, job.completed_at = "cancelled", now
        job.error = f"cancelled: {reason}" if reason else job.error
        job.lease = job.worker = job.not_before = job.avoid_until = None
        job.avoid, job.releases = (), 0
        return ("JobChanged", job_id, "cancelled", undo)

    def set_priority(self, job_id: int, priority: int, undo: str, now: int) -> Any:
        job = self.jobs.get(job_id)
        if job is None:
            return No("no-such-job")
        if is_compared(job.type):
            return No("job-of-canary")
        if job.priority == priority:
            return ("JobChanged", job_id, job.status, "")
        if undo:
            self.undos.setdefault((undo, job_id), (str(job.priority), str(priority), now))
        self.leave(job)
        job.priority = priority
        self.enter(job)
        job.changed_at = now
        return ("JobChanged", job_id, job.status, undo)

    def hurry(self, limit: int, now: int) -> Any:
        """All that is ready of the types that promise it at once: everything was changed before."""
        at_once = {type_ for type_, each in self.set_for.items() if each[11] == 1}
        aged = [
            job
            for _, job in sorted(self.jobs.items())
            if job.type in at_once and job.status == "pending" and job.priority > 1 and not job.avoid
            and job.not_before is None
        ]  # fmt: skip
        for job in aged[:limit]:
            self.leave(job)
            job.priority, job.changed_at = 1, now
            self.enter(job)
        return ("Hurried", len(aged[:limit]), len(aged) > limit)

    def retype(self, job_id: int, to: str, undo: str, now: int) -> Any:
        job = self.jobs.get(job_id)
        if job is None:
            return No("no-such-job")
        if is_compared(job.type):
            return No("job-of-canary")
        if job.type == to:
            return ("JobChanged", job_id, job.status, "")
        was = job.type
        if (refused := self.as_type(job, to, now)) is not None:
            return refused
        if undo and (undo, job_id) not in self.undos:
            self.undos[undo, job_id] = ("{", "type", now)
            self.retyped[undo, job_id] = (was, to, job.attempt)
        return ("JobChanged", job_id, job.status, undo)

    def as_type(self, job: Job, to: str, now: int) -> No | None:
        """A job that waits, as if it had been submitted under that type; but for its tries."""
        if job.status not in ("pending", "uploading", "failed") or job.kept_attempt is not None:
            return No("job-not-waiting")
        identity = (job.hash, to, job.options)
        if any((each.hash, each.type, each.options) == identity for each in self.jobs.values()):
            return No("job-exists")
        if self.one_type_too_many(to):
            return No("invalid")
        if (refused := self.take_set(to, set_called(job.requires, job.group))) is not None:
            return refused
        self.leave(job)
        job.type, job.lease, job.avoid, job.avoid_until, job.changed_at = to, None, (), None, now
        self.enter(job)
        return None

    def change_tags(self, job_id: int, add: tuple[str, ...], remove: tuple[str, ...], undo: str, now: int) -> Any:
        job = self.jobs.get(job_id)
        if job is None:
            return No("no-such-job")
        if is_compared(job.type):
            return No("job-of-canary")
        before = job.tags
        job.tags = tuple(dict.fromkeys((*(tag for tag in before if tag not in remove), *add)))
        if job.tags == before:
            return ("JobChanged", job_id, job.status, "")
        if undo and (undo, job_id) not in self.undos:
            self.undos[undo, job_id] = ("{", "tags", now)
            gone = [tag for tag in before if tag not in job.tags]
            self.retagged[undo, job_id] = ([tag for tag in job.tags if tag not in before], gone)
        job.changed_at = now
        return ("JobChanged", job_id, job.status, undo)

    def undo(self, token: str, limit: int, further: bool, now: int) -> Any:
        found = sorted(
            job_id for (kept, job_id), (*_, at) in self.undos.items() if kept == token and at >= now - UNDO_MS
        )
        found = found[:limit]
        if not found and not further:
            return No("no-such-undo")
        changed = 0
        for job_id in found:
            was, became, at = self.undos.pop((token, job_id))
            job = self.jobs.get(job_id)
            if job is None or is_compared(job.type):
                continue
            if became == "tags":
                added, gone = self.retagged.pop((token, job_id))
                tags = tuple(dict.fromkeys((*(tag for tag in job.tags if tag not in added), *gone)))
                changed += tags != job.tags
                job.changed_at = now if tags != job.tags else job.changed_at
                job.tags = tags
                continue
            if became == "type":
                was, to, attempt = self.retyped.pop((token, job_id))
                if (job.type, job.attempt) == (to, attempt):
                    changed += self.as_type(job, was, now) is None
                continue
            if became == "requires":
                was_required, since = self.required.pop((token, job_id))
                if job.requires == since and self.take_set(job.type, set_called(was_required, job.group)) is None:
                    job.requires, job.changed_at = was_required, now
                    changed += 1
                continue
            if became == "cancelled":
                times = self.times_before.pop((token, job_id))
                if job.status == "cancelled" and job.completed_at == at:
                    self.again(job, now, reset=False, priority=None, times=times)
                    changed += 1
            elif became in ("pending", "uploading"):
                before = self.retried[token, job_id]
                said = before["error"] and not str(before["error"]).startswith("cancelled: ")
                gone = said and not job.error  # by a cancellation with a reason, and its undo
                if job.status == became and (job.attempt, job.changed_at) == (before["attempt"], at) and not gone:
                    self.leave(job)
                    vars(job).update(before)
                    if job.replaced is None and job.compare_until is not None:
                        job.compare, job.compare_until = False, None
                    self.enter(job)
                    job.avoid, job.avoid_until = (), None
                    changed += 1
                    if job.status in OVER and job.chain is not None and job.chain.joined:
                        # Its stage may have ended by that.
                        self.to_join += [row[:3] for row, (of, _) in self.kin.items() if of == job_id and row[2] >= 0]
            elif str(job.priority) == became:
                self.leave(job)
                job.priority = int(was)
                self.enter(job)
                job.changed_at = now
                changed += 1
        return ("Undone", len(found), changed, len(found) == limit)

    def purge_undos(self, now: int) -> None:
        for key in [key for key, (*_, at) in self.undos.items() if at < now - UNDO_MS]:
            del self.undos[key]

    def wake(self, due: Sequence[tuple[int, int]], now: int) -> Any:
        count = 0
        for job_id, until in due:
            job = self.jobs.get(job_id)
            if job is None or job.status not in ("failed", "pending"):
                continue
            if job.not_before == until:
                deferred = job.deferred
                job.status, job.not_before = "pending", None
                self.keep(job, now)
                if deferred:
                    self.enter(job)
                count += 1
            elif job.not_before is None and job.avoid_until == until:
                job.avoid, job.avoid_until = (), None
                count += 1
        return ("SomeChanged", count)
