"""How attempts end: completed, failed, released, lost."""

from __future__ import annotations

from actors.effects import breaker, chains, claims, outputs, ownfault, quarantine
from actors.effects.accepted import is_copied, record
from actors.effects.acting import acted_on
from actors.effects.causes import LOST_CAUSE, SILENT_CAUSE, blamed
from actors.effects.converters import one_too_many
from actors.effects.returns import back_in_queue, tell_return
from actors.effects.transaction import Transaction
from actors.messages import (
    AttemptFailed,
    Claim,
    Complete,
    Completed,
    ExpireLeases,
    Fail,
    Granted,
    Release,
    Released,
    Seen,
    Silent,
    SomeChanged,
)
from blobforge import failures, life
from blobforge.canary import ordinary
from blobforge.events import (
    JobCompleted,
    JobFailed,
    LeaseEnded,
    LeaseRenewed,
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
                worker = tx.store.worker(message.worker_id)
                assert worker is not None
                return Granted((held,), patience=claims.patience_with(tx, (held,), worker))
    claim = Claim(
        message.caller,
        message.worker_id,
        (ordinary(job.type),),
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
        output_bytes=_bytes(message),
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
            record(tx, job, message.output_key, message.output, said=message.checksum)
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
    breaker.has_completed(tx, job)
    quarantine.has_completed(tx, message.worker_id, job)
    if completed.chain is not None:
        chains.start(tx, completed, message, settled=not is_copied(job, message.output, job.attempt))
    return None


def _bytes(message: Complete) -> int:
    """What its outputs have together, as far as it is known."""
    if message.several is not None:
        return message.several.size
    return (message.output.size or 0) if message.output_key is not None else 0


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
    free = quarantine.is_free(tx, job, message.worker_id) or breaker.is_free(tx, job)
    cause = failures.cause(message.kind, message.error, message.traceback)
    alike = ownfault.failed_alike(tx, job, message.worker_id, cause) if message.retryable and not free else None
    failed = life.fail(
        job,
        worker_id=message.worker_id,
        lease=message.lease,
        error=message.error if alike is None else ownfault.said(message.error, alike),
        retryable=message.retryable and alike is None,
        free=free,
        policy=tx.retry_policy(job.type),
        dice=tx.dice.random(),
        now=tx.now,
    )
    if isinstance(failed, Refusal):
        return failed
    failed = blamed(tx, failed, cause)
    tx.store.save_job(job, failed)
    tx.end_attempt(
        job,
        failed,
        Outcome.FAILED,
        free=free,
        error=message.error,
        kind=message.kind,
        traceback=message.traceback,
        log_tail=message.log_tail,
    )
    error = failed.last_error or message.error
    tx.events.append(JobFailed(job.id, job.type, failed.status, error=error, worker_id=message.worker_id))
    tx.facts.append(LeaseEnded(job.id))
    if failed.not_before is not None:
        tx.waits(failed)
    breaker.has_failed(tx, job, cause=failed.failure, free=free)
    quarantine.has_failed(tx, message.worker_id, job)
    now = tx.store.job(job.id)
    return AttemptFailed(job.id, will_retry=now is not None and now.status is not JobStatus.DEAD)


def release(tx: Transaction, message: Release) -> Released | Refusal:
    """End the attempt that its worker gives back; the job goes back to the queue."""
    job = acted_on(tx, message)
    if isinstance(job, Refusal):
        return job
    reason = message.reason or "its worker gave no reason"
    free = not message.cause.free and quarantine.is_free(tx, job, message.worker_id)
    released = life.release(
        job,
        worker_id=message.worker_id,
        lease=message.lease,
        cause=message.cause,
        reason=reason,
        free=free,
        policy=tx.retry_policy(job.type),
        dice=tx.dice.random(),
        now=tx.now,
    )
    if isinstance(released, Refusal):
        return released
    if released.losses != job.losses:
        released = blamed(tx, released, failures.cause(failures.GIVEN_BACK, reason, None))
    back_in_queue(tx, job, released, reason, message.cause, free=free)
    if not message.cause.free:
        quarantine.gave_back(tx, message.worker_id, job)
    return Released(job.id)


def expire_leases(tx: Transaction, message: ExpireLeases) -> SomeChanged:
    """Expire the leases for which no heartbeat was committed since the reaper last heard of the attempt."""
    return SomeChanged(tx.each(message.leases, _expire_lease))


def _expire_lease(tx: Transaction, silent: Silent) -> bool:
    job = tx.store.job(silent.job_id)
    if job is None or job.attempt != silent.attempt or job.heartbeat_at != silent.beat:
        return False
    own = tx.store.type_settings(job.type).worker_timeout
    if own is not None and own > (tx.rules.patience.lease if silent.lasted is None else silent.lasted):
        # More was set for its type since the last heartbeat: that begins now.
        tx.facts.append(LeaseRenewed(job.id, job.attempt, silent.beat, own))
        return False
    free = quarantine.is_free(tx, job, job.worker_id)
    lost = life.lose(job, policy=tx.retry_policy(job.type), now=tx.now, free=free)
    if isinstance(lost, Refusal):
        return False
    cause = SILENT_CAUSE if life.never_beat(job) else LOST_CAUSE
    lost = blamed(tx, lost, cause)
    tx.store.save_job(job, lost)
    tx.end_attempt(job, lost, Outcome.LOST, free=free, kind=cause.kind, error=lost.last_error)
    tx.facts.append(LeaseEnded(job.id))
    tell_return(tx, lost, worker_id=job.worker_id)
    if job.worker_id is not None:
        quarantine.has_failed(tx, job.worker_id, job, lost=True)
    return True
