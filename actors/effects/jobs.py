"""What people do to jobs (retry, cancel, reprioritise, retype, tag), and what time does: the end of a wait."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from actors.effects.avoidance import kept_from
from actors.effects.periodic import UNDO_MS
from actors.effects.requiring import REQUIRED, RequirementsChanged, required, undo_requirements
from actors.effects.retyping import RETYPED, retyped, undo_retype
from actors.effects.times import ready_or_waits, tell_awaited, tell_expiry, time_is_over
from actors.effects.transaction import Transaction
from actors.messages import (
    Cancel,
    ChangeTags,
    JobChanged,
    Retry,
    Retype,
    SetPriority,
    SetRequirements,
    SomeChanged,
    Undo,
    Undone,
    WakeJobs,
)
from blobforge import life
from blobforge.canary import is_a_canarys, is_comparison
from blobforge.events import JobUpdated, LeaseEnded, SourceSettled
from blobforge.job import (
    MOST_TAGS,
    BeforeCancel,
    BeforeRetry,
    Job,
    JobStatus,
    Outcome,
    Retyped,
    TagsChanged,
    no_such_job,
    tagged,
)
from blobforge.objects.keys import source_key
from blobforge.operation import KeptChange
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.turns import give_up_turn, with_turn

RETAGGED = "tags"  # what became of a job whose tags were changed


def found(tx: Transaction, job_id: int) -> Job | Refusal:
    """The job, which may be changed."""
    job = tx.store.job(job_id)
    if job is None:
        return no_such_job(job_id)
    return is_a_canarys(job_id, job.type) if is_comparison(job.type) else job


def retry(tx: Transaction, message: Retry) -> JobChanged | Refusal:
    return _answered(tx, message, retried(tx, message))


def retried(tx: Transaction, message: Retry) -> KeptChange | Refusal:
    job = found(tx, message.job_id)
    if isinstance(job, Refusal):
        return job
    changed = again(
        tx, job, reset_attempts=message.reset_attempts, priority=message.priority, compare=message.compare
    )
    if isinstance(changed, Refusal):
        return changed
    return KeptChange(job.id, msgspec.json.encode(life.before_retry(job)).decode(), changed.status, tx.now)


def again(
    tx: Transaction, job: Job, *, reset_attempts: bool, priority: int | None, compare: bool = False,
    before: BeforeCancel | None = None,
) -> Job | Refusal:  # fmt: skip
    """The job is tried again, and that is told. `before`: with the times that it had then."""
    again = life.retry(
        job,
        reset_attempts=reset_attempts,
        priority=priority,
        source_ready=_source_is_there(tx, job),
        avoid=kept_from(tx, job),
        policy=tx.retry_policy(job.type),
        now=tx.now,
        compare=compare,
    )
    if isinstance(again, Refusal):
        return again
    if before is not None:
        again = life.timed(again, not_before=before.not_before, expires_at=before.expires_at, now=tx.now)
    give_up_turn(tx.store, job)
    again = with_turn(tx.store, again)
    _save(tx, job, again)
    tell_expiry(tx, again)
    if again.status is JobStatus.PENDING:
        ready_or_waits(tx, again)
    else:
        tell_awaited(tx, again)
    return again


def _source_is_there(tx: Transaction, job: Job) -> bool:
    if job.chain is not None and job.chain.source is not None:
        return job.chain.proven
    source = tx.store.file(source_key(job.source_hash))
    return source is not None and source.serves(job.source_size)


def cancel(tx: Transaction, message: Cancel) -> JobChanged | Refusal:
    return _answered(tx, message, cancelled(tx, message))


def cancelled(tx: Transaction, message: Cancel) -> KeptChange | Refusal:
    """At once, a running job too: its lease is void, and its worker learns it from the next heartbeat."""
    job = tx.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    ended = life.cancel(job, reason=message.reason, now=tx.now)
    if isinstance(ended, Refusal):
        return ended
    give_up_turn(tx.store, job)
    _save(tx, job, ended)
    if job.status is JobStatus.RUNNING:
        tx.end_attempt(job, ended, Outcome.CANCELLED, error=f"the job was cancelled{_because(message)}")
        tx.facts.append(LeaseEnded(job.id))
    if job.status is JobStatus.UPLOADING:
        tx.facts.append(SourceSettled(job.id, job.source_hash))
    before = BeforeCancel(job.status, job.start, job.expiry)
    timed = (before.not_before, before.expires_at) != (None, None)
    was = msgspec.json.encode(before).decode() if timed else job.status
    return KeptChange(job.id, was, ended.status, tx.now)


def _because(message: Cancel) -> str:
    return f": {message.reason}" if message.reason else ""


def set_priority(tx: Transaction, message: SetPriority) -> JobChanged | Refusal:
    return _answered(tx, message, prioritised(tx, message))


def prioritised(tx: Transaction, message: SetPriority) -> KeptChange | Refusal | None:
    """None: it has that priority. Counts from the next claim on; for a job that runs or has ended, from its next
    retry on."""
    job = found(tx, message.job_id)
    if isinstance(job, Refusal):
        return job
    if job.priority == message.priority:
        return None
    _reprioritise(tx, job, message.priority)
    return KeptChange(job.id, str(job.priority), str(message.priority), tx.now)


def retype(tx: Transaction, message: Retype) -> JobChanged | Refusal:
    return _answered(tx, message, retyped(tx, message))


def set_requirements(tx: Transaction, message: SetRequirements) -> JobChanged | Refusal:
    return _answered(tx, message, required(tx, message.job_id, message.requires))


def change_tags(tx: Transaction, message: ChangeTags) -> JobChanged | Refusal:
    return _answered(tx, message, retagged(tx, message))


def retagged(tx: Transaction, message: ChangeTags) -> KeptChange | Refusal | None:
    """None: tags that are there already, or are not there, are as they should be."""
    job = found(tx, message.job_id)
    if isinstance(job, Refusal):
        return job
    tags, no_room = tagged(job.tags, message.add, message.remove)
    if no_room:
        return Refusal(
            RefusalCode.INVALID,
            f"Job {job.id} would have more than {MOST_TAGS} tags: {', '.join(no_room[:5])} is too many. Remove some.",
            field="add",
        )
    if tags == job.tags:
        return None
    _save(tx, job, replace(job, tags=tags, updated_at=tx.now))
    changed = TagsChanged([tag for tag in tags if tag not in job.tags], [tag for tag in job.tags if tag not in tags])
    return KeptChange(job.id, msgspec.json.encode(changed).decode(), RETAGGED, tx.now)


def _answered(
    tx: Transaction,
    message: Retry | Cancel | SetPriority | Retype | SetRequirements | ChangeTags,
    done: KeptChange | Refusal | None,
) -> JobChanged | Refusal:
    """The job as it is now, and what an undo needs kept where it is asked for; None: nothing was to be changed."""
    if isinstance(done, Refusal):
        return done
    job = tx.store.job(message.job_id)
    assert job is not None
    if done is None:
        return JobChanged(job.id, job.status)
    if message.undo:
        tx.store.save_undo(message.undo, done.job_id, done.was, done.became, now=done.at)
    return JobChanged(job.id, job.status, message.undo)


def undo(tx: Transaction, message: Undo) -> Undone | Refusal:
    """Put back what an action has changed, as far as nothing has happened to it since.

    A cancelled job goes back into the queue, whatever it was before: one that ran starts again from the beginning,
    and times that its submission said hold again.
    """
    found = tx.store.undos(message.token, since=tx.now - UNDO_MS, limit=message.limit)
    if not found and not message.further:
        return Refusal(
            RefusalCode.NO_SUCH_UNDO, "There is nothing to undo: it was undone already, or ten minutes have passed."
        )
    for job_id, *_ in found:
        tx.store.delete_undo(message.token, job_id)
    changed = tx.each([KeptChange(*each) for each in found], put_back)
    return Undone(len(found), changed, more=len(found) == message.limit)


def put_back(tx: Transaction, changed: KeptChange) -> bool:
    """As it was; whether nothing has happened to it that forbids that."""
    was, became, at = changed.was, changed.became, changed.at
    job = tx.store.job(changed.job_id)
    if job is None or is_comparison(job.type):
        return False
    if became == JobStatus.CANCELLED:
        # The moment tells this cancellation from a later one.
        if job.status is not JobStatus.CANCELLED or job.completed_at != at:
            return False
        before = msgspec.json.decode(was, type=BeforeCancel) if was.startswith("{") else None
        return isinstance(again(tx, job, reset_attempts=False, priority=None, before=before), Job)
    if became in (JobStatus.PENDING, JobStatus.UPLOADING):
        # Its source may have come in the very millisecond of the retry, by which `at` would tell.
        return job.status == became and _undo_retry(tx, job, msgspec.json.decode(was, type=BeforeRetry), at)
    if became == RETAGGED:
        return _undo_tags(tx, job, msgspec.json.decode(was, type=TagsChanged))
    if became == RETYPED:
        return undo_retype(tx, job, msgspec.json.decode(was, type=Retyped))
    if became == REQUIRED:
        return undo_requirements(tx, job, msgspec.json.decode(was, type=RequirementsChanged))
    if str(job.priority) != became:
        return False
    _reprioritise(tx, job, int(was))
    return True


def _reprioritise(tx: Transaction, job: Job, priority: int) -> None:
    give_up_turn(tx.store, job)
    _save(tx, job, with_turn(tx.store, replace(job, priority=priority, updated_at=tx.now)))


def _undo_tags(tx: Transaction, job: Job, changed: TagsChanged) -> bool:
    """Of what was added and removed, that which is still so."""
    tags, no_room = tagged(job.tags, changed.removed, changed.added)
    if no_room or tags == job.tags:
        return False
    _save(tx, job, replace(job, tags=tags, updated_at=tx.now))
    return True


def _undo_retry(tx: Transaction, job: Job, before: BeforeRetry, retried_at: int) -> bool:
    restored = life.undo_retry(job, before, retried_at=retried_at, now=tx.now)
    if restored is None:
        return False
    give_up_turn(tx.store, job)
    restored = with_turn(tx.store, restored)
    _save(tx, job, restored)
    tx.restored.add(job.id)
    if job.status is JobStatus.UPLOADING:
        tx.facts.append(SourceSettled(job.id, job.source_hash))
    if restored.waits_until is not None:
        tx.waits(restored)
    return True


def wake(tx: Transaction, message: WakeJobs) -> SomeChanged:
    waited = ((tx.store.job(timer.job_id), timer.until) for timer in message.due)
    return SomeChanged(sum(time_is_over(tx, job, until) for job, until in waited if job is not None))


def _save(tx: Transaction, before: Job, after: Job) -> None:
    tx.store.save_job(before, after)
    tx.events.append(JobUpdated(after.id, after.type, after.status, worker_id=after.worker_id))
