"""What people do to jobs (retry, cancel, reprioritise), and what time does: the end of a wait."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from actors.effects.avoidance import claimable, kept_from
from actors.effects.periodic import UNDO_MS
from actors.effects.transaction import Transaction
from actors.messages import Cancel, ChangeTags, Expired, JobChanged, Retry, SetPriority, Undo, Undone, WakeJobs
from blobforge import life
from blobforge.events import JobUpdated, LeaseEnded, SourceAwaited, SourceSettled
from blobforge.job import MOST_TAGS, BeforeRetry, Job, JobStatus, Outcome, TagsChanged, no_such_job, tagged
from blobforge.objects.keys import source_key
from blobforge.operation import KeptChange
from blobforge.refusals import Refusal, RefusalCode

RETAGGED = "tags"  # what became of a job whose tags were changed


def retry(step: Transaction, message: Retry) -> JobChanged | Refusal:
    return _answered(step, message, retried(step, message))


def retried(step: Transaction, message: Retry) -> KeptChange | Refusal:
    job = step.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    changed = _again(
        step, job, reset_attempts=message.reset_attempts, priority=message.priority, compare=message.compare
    )
    if isinstance(changed, Refusal):
        return changed
    return KeptChange(job.id, msgspec.json.encode(life.before_retry(job)).decode(), changed.status, step.now)


def _again(
    step: Transaction, job: Job, *, reset_attempts: bool, priority: int | None, compare: bool = False
) -> Job | Refusal:
    source = step.store.file(source_key(job.source_hash))
    again = life.retry(
        job,
        reset_attempts=reset_attempts,
        priority=priority,
        source_ready=source is not None and source.serves(job.source_size),
        avoid=kept_from(step, job),
        policy=step.rules.retry,
        now=step.now,
        compare=compare,
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
    return _answered(step, message, cancelled(step, message))


def cancelled(step: Transaction, message: Cancel) -> KeptChange | Refusal:
    """At once, a running job too: its lease is void, and its worker learns it from the next heartbeat."""
    job = step.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    ended = life.cancel(job, now=step.now)
    if isinstance(ended, Refusal):
        return ended
    _save(step, job, ended)
    if job.status is JobStatus.RUNNING:
        step.end_attempt(job, ended, Outcome.CANCELLED, error="the job was cancelled")
        step.facts.append(LeaseEnded(job.id))
    if job.status is JobStatus.UPLOADING:
        step.facts.append(SourceSettled(job.id, job.source_hash))
    return KeptChange(job.id, job.status, ended.status, step.now)


def set_priority(step: Transaction, message: SetPriority) -> JobChanged | Refusal:
    return _answered(step, message, prioritised(step, message))


def prioritised(step: Transaction, message: SetPriority) -> KeptChange | Refusal | None:
    """None: it has that priority. Counts from the next claim on; for a job that runs or has ended, from its next
    retry on."""
    job = step.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    if job.priority == message.priority:
        return None
    _save(step, job, replace(job, priority=message.priority, updated_at=step.now))
    return KeptChange(job.id, str(job.priority), str(message.priority), step.now)


def change_tags(step: Transaction, message: ChangeTags) -> JobChanged | Refusal:
    return _answered(step, message, retagged(step, message))


def retagged(step: Transaction, message: ChangeTags) -> KeptChange | Refusal | None:
    """None: tags that are there already, or are not there, are as they should be."""
    job = step.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    tags, no_room = tagged(job.tags, message.add, message.remove)
    if no_room:
        return Refusal(
            RefusalCode.INVALID,
            f"Job {job.id} would have more than {MOST_TAGS} tags: {', '.join(no_room[:5])} is too many. Remove some.",
            field="add",
        )
    if tags == job.tags:
        return None
    _save(step, job, replace(job, tags=tags, updated_at=step.now))
    changed = TagsChanged([tag for tag in tags if tag not in job.tags], [tag for tag in job.tags if tag not in tags])
    return KeptChange(job.id, msgspec.json.encode(changed).decode(), RETAGGED, step.now)


def _answered(
    step: Transaction, message: Retry | Cancel | SetPriority | ChangeTags, done: KeptChange | Refusal | None
) -> JobChanged | Refusal:
    """The job as it is now, and what an undo needs kept where it is asked for; None: nothing was to be changed."""
    if isinstance(done, Refusal):
        return done
    job = step.store.job(message.job_id)
    assert job is not None
    if done is None:
        return JobChanged(job.id, job.status)
    if message.undo:
        step.store.save_undo(message.undo, done.job_id, done.was, done.became, now=done.at)
    return JobChanged(job.id, job.status, message.undo)


def undo(step: Transaction, message: Undo) -> Undone | Refusal:
    """Put back what an action has changed, as far as nothing has happened to it since.

    A cancelled job goes back into the queue, whatever it was before: one that ran starts again from the beginning.
    """
    found = step.store.undos(message.token, since=step.now - UNDO_MS, limit=message.limit)
    if not found and not message.further:
        return Refusal(
            RefusalCode.NO_SUCH_UNDO, "There is nothing to undo: it was undone already, or ten minutes have passed."
        )
    for job_id, *_ in found:
        step.store.delete_undo(message.token, job_id)
    changed = step.each([KeptChange(*each) for each in found], put_back)
    return Undone(len(found), changed, more=len(found) == message.limit)


def put_back(step: Transaction, changed: KeptChange) -> bool:
    """As it was; whether nothing has happened to it that forbids that."""
    was, became, at = changed.was, changed.became, changed.at
    job = step.store.job(changed.job_id)
    if job is None:
        return False
    if became == JobStatus.CANCELLED:
        # The moment tells this cancellation from a later one.
        if job.status is not JobStatus.CANCELLED or job.completed_at != at:
            return False
        return isinstance(_again(step, job, reset_attempts=False, priority=None), Job)
    if became in (JobStatus.PENDING, JobStatus.UPLOADING):
        return _undo_retry(step, job, msgspec.json.decode(was, type=BeforeRetry), at)
    if became == RETAGGED:
        return _undo_tags(step, job, msgspec.json.decode(was, type=TagsChanged))
    if str(job.priority) != became:
        return False
    _save(step, job, replace(job, priority=int(was), updated_at=step.now))
    return True


def _undo_tags(step: Transaction, job: Job, changed: TagsChanged) -> bool:
    """Of what was added and removed, that which is still so."""
    tags, no_room = tagged(job.tags, changed.removed, changed.added)
    if no_room or tags == job.tags:
        return False
    _save(step, job, replace(job, tags=tags, updated_at=step.now))
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
