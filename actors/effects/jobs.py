"""What people do to jobs (retry, cancel, reprioritise), and what time does: the end of a wait."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from actors.effects.avoidance import claimable, kept_from
from actors.effects.periodic import UNDO_MS
from actors.effects.transaction import Transaction
from actors.messages import Cancel, Expired, JobChanged, Retry, SetPriority, Undo, Undone, WakeJobs
from blobforge import life
from blobforge.events import JobUpdated, LeaseEnded, SourceAwaited, SourceSettled
from blobforge.job import BeforeRetry, Job, JobStatus, Outcome, no_such_job
from blobforge.objects.keys import source_key
from blobforge.refusals import Refusal, RefusalCode


def retry(step: Transaction, message: Retry) -> JobChanged | Refusal:
    job = step.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    changed = _again(step, job, reset_attempts=message.reset_attempts, priority=message.priority)
    if isinstance(changed, Refusal):
        return changed
    was = msgspec.json.encode(life.before_retry(job)).decode()
    return _changed(step, changed, message.undo, was=was, became=changed.status)


def _again(step: Transaction, job: Job, *, reset_attempts: bool, priority: int | None) -> Job | Refusal:
    source = step.store.file(source_key(job.source_hash))
    again = life.retry(
        job,
        reset_attempts=reset_attempts,
        priority=priority,
        source_ready=source is not None and source.serves(job.source_size),
        avoid=kept_from(step, job),
        policy=step.rules.retry,
        now=step.now,
    )
    if isinstance(again, Refusal):
        return again
    _save(step, job, again)
    if again.status is JobStatus.PENDING:
        claimable(step, again)
    else:
        step.facts.append(SourceAwaited(job.id, job.source_hash))
    return again


def cancel(step: Transaction, message: Cancel) -> JobChanged | Refusal:
    """At once, a running job too: its lease is void, and its worker learns it from the next heartbeat."""
    job = step.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    cancelled = life.cancel(job, now=step.now)
    if isinstance(cancelled, Refusal):
        return cancelled
    _save(step, job, cancelled)
    if job.status is JobStatus.RUNNING:
        step.end_attempt(job, cancelled, Outcome.CANCELLED, error="the job was cancelled")
        step.facts.append(LeaseEnded(job.id))
    if job.status is JobStatus.UPLOADING:
        step.facts.append(SourceSettled(job.id, job.source_hash))
    return _changed(step, cancelled, message.undo, was=job.status, became=cancelled.status)


def set_priority(step: Transaction, message: SetPriority) -> JobChanged | Refusal:
    """Counts from the next claim on; for a job that runs or has ended, from its next retry on."""
    job = step.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    if job.priority == message.priority:
        return JobChanged(job.id, job.status)
    _save(step, job, replace(job, priority=message.priority, updated_at=step.now))
    return _changed(step, job, message.undo, was=str(job.priority), became=str(message.priority))


def _changed(step: Transaction, job: Job, undo: str, *, was: str, became: str) -> JobChanged:
    if undo:
        step.store.save_undo(undo, job.id, was, became, now=step.now)
    return JobChanged(job.id, job.status, undo)


def undo(step: Transaction, message: Undo) -> Undone | Refusal:
    """Put back what an action has changed, as far as nothing has happened to it since.

    A cancelled job goes back into the queue, whatever it was before: one that ran starts again from the beginning.
    """
    found = step.store.rollups.undos(message.token, since=step.now - UNDO_MS, limit=message.limit)
    if not found and not message.further:
        return Refusal(
            RefusalCode.NO_SUCH_UNDO, "There is nothing to undo: it was undone already, or ten minutes have passed."
        )
    for job_id, *_ in found:
        step.store.rollups.delete_undo(message.token, job_id)
    changed = step.each(found, _put_back)
    return Undone(len(found), changed, more=len(found) == message.limit)


def _put_back(step: Transaction, changed: tuple[int, str, str, int]) -> bool:
    job_id, was, became, at = changed
    job = step.store.job(job_id)
    if job is None:
        return False
    if became == JobStatus.CANCELLED:
        # The moment tells this cancellation from a later one.
        if job.status is not JobStatus.CANCELLED or job.completed_at != at:
            return False
        return isinstance(_again(step, job, reset_attempts=False, priority=None), Job)
    if became in (JobStatus.PENDING, JobStatus.UPLOADING):
        return _undo_retry(step, job, msgspec.json.decode(was, type=BeforeRetry), at)
    if str(job.priority) != became:
        return False
    _save(step, job, replace(job, priority=int(was), updated_at=step.now))
    return True


def _undo_retry(step: Transaction, job: Job, before: BeforeRetry, retried_at: int) -> bool:
    restored = life.undo_retry(job, before, retried_at=retried_at, now=step.now)
    if restored is None:
        return False
    _save(step, job, restored)
    if job.status is JobStatus.UPLOADING:
        step.facts.append(SourceSettled(job.id, job.source_hash))
    if restored.waits_until is not None:
        step.waits(restored)
    return True


def wake(step: Transaction, message: WakeJobs) -> Expired:
    count = 0
    for timer in message.due:
        job = step.store.job(timer.job_id)
        if job is None:
            continue
        awake = life.due(job, until=timer.until, avoid=kept_from(step, job), policy=step.rules.retry, now=step.now)
        if awake is None:
            continue
        _save(step, job, awake)
        claimable(step, awake)
        count += 1
    return Expired(count)


def _save(step: Transaction, before: Job, after: Job) -> None:
    step.store.save_job(before, after)
    step.events.append(JobUpdated(after.id, after.type, after.status, worker_id=after.worker_id))
