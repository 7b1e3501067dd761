"""How attempts end: completed, failed, released, lost, or revoked when an accepted output is not there after all."""

from __future__ import annotations

from msgspec.structs import replace

from actors.effects import claims, outputs, retention
from actors.effects.acting import acted_on
from actors.effects.causes import LOST_CAUSE, REVOKED_CAUSE, SILENT_CAUSE, blamed
from actors.effects.converters import one_too_many
from actors.effects.returns import back_in_queue
from actors.effects.transaction import Transaction
from actors.messages import (
    AttemptFailed,
    Claim,
    Complete,
    Completed,
    Expired,
    ExpireLeases,
    Fail,
    Granted,
    ObjectSeen,
    OutputChecked,
    OutputsKept,
    Release,
    Released,
    Seen,
    Silent,
)
from blobforge import failures, life
from blobforge.events import (
    JobCompleted,
    JobFailed,
    JobReady,
    JobUpdated,
    LeaseEnded,
    ObjectsDoomed,
    OutputAccepted,
    OutputUnchecked,
)
from blobforge.job import LARGEST_RESULT, Job, JobStatus, Outcome
from blobforge.objects.keys import shared_source
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.files import SupersededResult


def complete(tx: Transaction, message: Complete) -> Completed | Refusal:
    """Accept the work of the attempt that holds the job, once its output is there."""
    job = acted_on(tx, message)
    if isinstance(job, Refusal):
        return job
    again = life.completed_already(
        job, worker_id=message.worker_id, lease=message.lease, output_key=message.output_key
    )
    if not again:
        refusal = _accept(tx, message, job)
        if refusal is not None:
            return refusal
    return Completed(job.id, _claim_next(tx, message, job, again=again) if message.claim_next else None)


def _claim_next(tx: Transaction, message: Complete, job: Job, *, again: bool) -> Granted:
    """The next job of the same type, for the same worker; for a repetition, the one that it was given."""
    if again and message.lease is not None:
        for held in tx.store.jobs_of_worker(message.worker_id):
            if held.lease == claims.lease_after(message.lease, held.id, held.attempt):
                return Granted((held,))
    claim = Claim(
        message.caller,
        message.worker_id,
        (job.type,),
        instance=message.instance,
        write_once=job.write_once,
        accepts=message.accepts,
        converter=message.converter,
    )
    following = claims.claim(tx, claim, after=message.lease)
    # The completion stands whatever becomes of the claim behind it.
    return following if isinstance(following, Granted) else Granted(idle=True)


def _accept(tx: Transaction, message: Complete, job: Job) -> Refusal | None:
    size = len(message.result.encode()) if message.result is not None else 0
    aside = size > LARGEST_RESULT
    completed = life.complete(
        job,
        worker_id=message.worker_id,
        lease=message.lease,
        last=None if job.status is JobStatus.RUNNING else tx.store.attempt(job.id, job.attempt),
        output_key=message.output_key,
        result=None if aside else message.result,
        result_size=size if aside else None,
        output_bytes=message.several.size if message.several is not None else message.output.size or 0,
        converter=message.converter,
        compare_for=tx.rules.compare_ms,
        now=tx.now,
    )
    if isinstance(completed, Refusal):
        return completed
    if (refusal := one_too_many(tx, message.converter, known=job.converter)) is not None:
        return refusal
    if message.several is not None:
        if refusal := outputs.not_chosen(tx, job, message.several):
            return refusal
    elif message.output_key is not None:
        if refusal := _output_refused(message, job):
            return refusal
        if message.output.seen in {Seen.VERIFIED, Seen.PRESENT}:
            _record(tx, job, message.output_key, message.output, said=message.checksum)
        else:
            tx.store.record_file(
                message.output_key,
                size=message.output.size,
                sha256=message.output.sha256 or message.checksum,
                now=tx.now,
                checked=False,
                job_id=job.id,
                attempt=job.attempt,
            )
            tx.facts.append(OutputUnchecked(job.id, job.attempt, message.output_key))
    tx.store.save_job(job, completed)
    if job.kept_attempt is not None and job.output_key is not None and shared_source(job.output_key) is None:
        former = SupersededResult(job.id, job.kept_attempt, job.output_key, job.output_bytes)
        tx.store.superseded.add(former, at=tx.now)
    tx.store.keep_result(job, message.result if aside else None)
    tx.end_attempt(job, completed, Outcome.COMPLETED)
    tx.events.append(JobCompleted(job.id, job.type, completed.status, worker_id=message.worker_id))
    tx.facts.append(LeaseEnded(job.id))
    return None


def _output_refused(message: Complete, job: Job) -> Refusal | None:
    """The output must be at the key that this attempt was given, with the bytes that the worker says."""
    given = job.upload_key
    if message.output_key != given:
        detail = f"Attempt {job.attempt} of job {job.id} writes to {given!r}, not to {message.output_key!r}."
    elif message.output.seen is Seen.ABSENT:
        detail = f"There is no object {given!r}. Upload it to the attempt's upload_url first, then complete."
    elif message.checksum and message.output.sha256 and message.checksum != message.output.sha256:
        detail = f"The object {given!r} has SHA-256 {message.output.sha256}, not {message.checksum}."
    else:
        return None
    return Refusal(RefusalCode.OUTPUT_MISSING, detail)


def fail(tx: Transaction, message: Fail) -> AttemptFailed | Refusal:
    """End the attempt with the error that its worker reports; the job waits for its next try, or is dead."""
    job = acted_on(tx, message)
    if isinstance(job, Refusal):
        return job
    failed = life.fail(
        job,
        worker_id=message.worker_id,
        lease=message.lease,
        error=message.error,
        retryable=message.retryable,
        policy=tx.rules.retry,
        dice=tx.dice.random(),
        now=tx.now,
    )
    if isinstance(failed, Refusal):
        return failed
    failed = blamed(tx, failed, failures.cause(message.kind, message.error, message.traceback))
    tx.store.save_job(job, failed)
    tx.end_attempt(
        job,
        failed,
        Outcome.FAILED,
        error=message.error,
        kind=message.kind,
        traceback=message.traceback,
        log_tail=message.log_tail,
    )
    tx.events.append(JobFailed(job.id, job.type, failed.status, error=message.error, worker_id=message.worker_id))
    tx.facts.append(LeaseEnded(job.id))
    if failed.not_before is None:
        return AttemptFailed(job.id, will_retry=False)
    tx.waits(failed)
    return AttemptFailed(job.id, will_retry=True)


def release(tx: Transaction, message: Release) -> Released | Refusal:
    """End the attempt that its worker gives back; the job goes back to the queue."""
    job = acted_on(tx, message)
    if isinstance(job, Refusal):
        return job
    reason = message.reason or "its worker gave no reason"
    released = life.release(
        job,
        worker_id=message.worker_id,
        lease=message.lease,
        cause=message.cause,
        reason=reason,
        policy=tx.rules.retry,
        dice=tx.dice.random(),
        now=tx.now,
    )
    if isinstance(released, Refusal):
        return released
    if released.losses != job.losses:
        released = blamed(tx, released, failures.cause(failures.GIVEN_BACK, reason, None))
    back_in_queue(tx, job, released, reason, message.cause)
    return Released(job.id)


def expire_leases(tx: Transaction, message: ExpireLeases) -> Expired:
    """Expire the leases for which no heartbeat was committed since the reaper last heard of the attempt."""
    return Expired(tx.each(message.leases, _expire_lease))


def _expire_lease(tx: Transaction, silent: Silent) -> bool:
    job = tx.store.job(silent.job_id)
    if job is None or job.attempt != silent.attempt or job.heartbeat_at != silent.beat:
        return False
    lost = life.lose(job, policy=tx.rules.retry, now=tx.now)
    if isinstance(lost, Refusal):
        return False
    cause = SILENT_CAUSE if life.never_beat(job) else LOST_CAUSE
    lost = blamed(tx, lost, cause)
    tx.store.save_job(job, lost)
    tx.end_attempt(job, lost, Outcome.LOST, kind=cause.kind, error=lost.last_error)
    tx.facts.append(LeaseEnded(job.id))
    if lost.status is JobStatus.PENDING:
        tx.events.append(JobUpdated(job.id, job.type, lost.status))
        tx.facts.append(JobReady(job.type, job.id, job.priority, job.lane))
    else:
        tx.events.append(
            JobFailed(job.id, job.type, lost.status, error=lost.last_error or "", worker_id=job.worker_id)
        )
    return True


def _record(tx: Transaction, job: Job, key: str, seen: ObjectSeen, *, said: str | None) -> None:
    """Remember what was seen of an accepted output, and have it kept unless nothing can write over it."""
    keeping = seen.version is None and not job.write_once
    tx.store.record_file(
        key,
        size=seen.size,
        sha256=seen.sha256 or said,
        now=tx.now,
        checked=True,
        job_id=job.id,
        attempt=job.attempt,
        etag=seen.etag,
        version=seen.version,
        keeping=keeping,
    )
    if keeping:
        tx.facts.append(OutputAccepted(job.id, job.attempt, key, seen.size, seen.sha256 or said, seen.etag))


def output_checked(tx: Transaction, message: OutputChecked) -> Expired:
    """The object store answers again: the output is there, with the bytes that the worker said, or the completion
    is revoked and the job redone."""
    known = tx.store.file(message.key)
    if known is None:
        return Expired(0)  # revoked, or removed with its job, while we looked
    said, found = known.sha256, message.output.sha256
    if message.output.seen is not Seen.ABSENT and (said is None or found is None or said == found):
        job = tx.store.job(message.job_id)
        if job is not None and job.result_attempt == message.attempt and job.output_key == message.key:
            _record(tx, job, message.key, message.output, said=said)
            if job.output_bytes is not None and message.output.size not in (None, job.output_bytes):
                tx.store.save_job(job, replace(job, output_bytes=message.output.size))
        return Expired(0)
    return Expired(_revoked(tx, message.job_id, message.attempt, message.key))


def outputs_kept(tx: Transaction, message: OutputsKept) -> Expired:
    """From now on the copy is served. The original goes when the URLs to fetch and to upload it have expired."""
    for each in message.kept:
        if tx.store.file(each.key) is None:  # removed with its job while it was copied
            retention.doom(tx, each.to, again=False)
        else:
            tx.store.keep_file(each.key, each.to)
            retention.doom(tx, each.key, again=False, due_at=tx.now + tx.rules.url_lifetime_ms)
    if message.kept:
        tx.facts.append(ObjectsDoomed())
    return Expired(sum(_revoked(tx, each.job_id, each.attempt, each.key) for each in message.lost))


def _revoked(tx: Transaction, job_id: int, attempt: int, key: str) -> int:
    """The output is not there, or not the one that was accepted: the job is redone. How many were (0 or 1)."""
    tx.store.forget_file(key)
    tx.store.drop_result(job_id, attempt)
    job = tx.store.job(job_id)
    revoked = life.revoke(job, attempt=attempt, policy=tx.rules.retry, now=tx.now) if job is not None else None
    if job is None or revoked is None:
        if job is not None and (without := life.forget_result(job, attempt=attempt, now=tx.now)) is not None:
            tx.store.save_job(job, without)
        return 0
    revoked = blamed(tx, revoked, REVOKED_CAUSE)
    tx.store.save_job(job, revoked)
    if revoked.kept_attempt is not None:
        tx.store.superseded.restored(job.id, revoked.kept_attempt)
    tx.end_attempt(job, revoked, Outcome.REVOKED, kind=REVOKED_CAUSE.kind, error=revoked.last_error)
    if revoked.status is JobStatus.PENDING:
        tx.events.append(JobUpdated(job.id, job.type, revoked.status))
        tx.facts.append(JobReady(job.type, job.id, job.priority, job.lane))
    else:
        tx.events.append(JobFailed(job.id, job.type, revoked.status, error=revoked.last_error or ""))
    return 1
