"""What people do to jobs (retry, cancel, reprioritise), and the end of a back-off."""

from __future__ import annotations

from msgspec.structs import replace

from actors.effects.attempts import no_such_job
from actors.effects.step import Step
from actors.messages import Cancel, Expired, JobChanged, Retry, SetPriority, WakeRetries
from blobforge import job as rules
from blobforge.events import JobReady, JobUpdated, LeaseEnded, SourceAwaited, SourceSettled
from blobforge.job import Job, JobStatus, Outcome
from blobforge.objects.keys import source_key
from blobforge.refusals import Refusal


def retry(step: Step, message: Retry) -> JobChanged | Refusal:
    job = step.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    source = step.store.file(source_key(job.source_hash))
    again = rules.retry(
        job,
        reset_attempts=message.reset_attempts,
        priority=message.priority,
        source_ready=source is not None and source.checked_at is not None,
        now=step.now,
    )
    if isinstance(again, Refusal):
        return again
    _save(step, job, again)
    if again.status is JobStatus.PENDING:
        step.facts.append(JobReady(job.type))
    else:
        step.facts.append(SourceAwaited(job.id, job.source_hash))
    return JobChanged(job.id, again.status)


def cancel(step: Step, message: Cancel) -> JobChanged | Refusal:
    """At once, a running job too: its lease is void, and its worker learns it from the next heartbeat."""
    job = step.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    cancelled = rules.cancel(job, now=step.now)
    if isinstance(cancelled, Refusal):
        return cancelled
    _save(step, job, cancelled)
    if job.status is JobStatus.RUNNING:
        step.store.end_attempt(cancelled, Outcome.CANCELLED, now=step.now, error="the job was cancelled")
        step.facts.append(LeaseEnded(job.id))
    if job.status is JobStatus.UPLOADING:
        step.facts.append(SourceSettled(job.id, job.source_hash))
    return JobChanged(job.id, cancelled.status)


def set_priority(step: Step, message: SetPriority) -> JobChanged | Refusal:
    """Counts from the next claim on; for a job that runs or has ended, from its next retry on."""
    job = step.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    if job.priority != message.priority:
        _save(step, job, replace(job, priority=message.priority, updated_at=step.now))
    return JobChanged(job.id, job.status)


def wake_retries(step: Step, message: WakeRetries) -> Expired:
    count = 0
    for timer in message.retries:
        job = step.store.job(timer.job_id)
        if job is None or job.attempt != timer.attempt:
            continue
        ready = rules.due(job, now=step.now)
        if ready is None:
            continue
        _save(step, job, ready)
        step.facts.append(JobReady(job.type))
        count += 1
    return Expired(count)


def _save(step: Step, before: Job, after: Job) -> None:
    step.store.save_job(before, after)
    step.events.append(JobUpdated(after.id, after.type, after.status, worker_id=after.worker_id))
