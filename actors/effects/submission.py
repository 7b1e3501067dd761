"""Submitting a job, and the arrival (or not) of its source."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from actors.effects.avoidance import claimable, kept_from
from actors.effects.causes import UPLOAD_CAUSE, blamed
from actors.effects.retention import doubted, spare_source
from actors.effects.transaction import Transaction
from actors.messages import (
    ExpireUploads,
    NewJob,
    ObjectSeen,
    Seen,
    SourceArrived,
    SourceRejected,
    SourceSettledFor,
    Submit,
    Submitted,
)
from blobforge import life
from blobforge.events import JobCreated, JobFailed, JobUpdated, SourceAwaited, SourceSettled
from blobforge.job import MOST_PATHS, Job, JobStatus, tagged
from blobforge.objects.keys import source_key
from blobforge.refusals import Refusal, RefusalCode


def submit(step: Transaction, message: Submit) -> Submitted | Refusal:
    """Make the job, or find the one that source, type and options have already."""
    new = message.job
    source = spare_source(step, new.source_hash, message.source)
    if isinstance(source, Refusal):
        return source
    existing = step.store.same_job(new.source_hash, new.type, new.options)
    if existing is None and not step.store.knows_type(new.type) and step.store.count_types() >= step.rules.max_types:
        # Lists and statistics cost as much as there are types: these are kinds of work, not labels.
        return Refusal(
            RefusalCode.INVALID,
            f"There are {step.rules.max_types} job types already (BLOBFORGE_MAX_TYPES). Use tags to tell jobs apart.",
            field="type",
        )
    announced = new.source_size if existing is None else existing.source_size
    ready = _source_ready(step, new.source_hash, announced, source)
    missing = not ready and source.seen is not Seen.PRESENT
    if existing is not None:
        vanished = source.seen is Seen.ABSENT
        if life.source_never_came(existing) or (vanished and existing.status is JobStatus.DEAD):
            existing = _revive(step, existing, ready=ready)
        elif vanished and (waiting := life.await_source(existing, now=step.now)) is not None:
            step.store.save_job(existing, waiting)
            step.events.append(JobUpdated(waiting.id, waiting.type, waiting.status))
            step.facts.append(SourceAwaited(waiting.id, waiting.source_hash))
            existing = waiting
        left_out = _name_again(step, existing, new)
        # What the look says counts: a client that has the file sends it, whatever is known of the job.
        upload = vanished or (missing and existing.status is JobStatus.UPLOADING)
        return Submitted(existing.id, True, existing.status, new.source_hash, upload, left_out)
    (job,) = step.store.insert_jobs([_job(step, new, ready=ready)])
    _tell(step, job)
    return Submitted(job.id, False, job.status, new.source_hash, missing)


def _name_again(step: Transaction, job: Job, new: NewJob) -> tuple[str, ...]:
    """The job gets the path and the tags of this submission, too; those that it has no room for."""
    named, left_out = job, []
    if (path := new.source_path) and not step.store.has_path(job, path):
        if job.source_path is None:
            named = replace(named, source_path=path)
        elif job.more_paths + 1 < MOST_PATHS:
            named = replace(named, more_paths=job.more_paths + 1)
        else:
            left_out.append(path)
    tags, no_room = tagged(job.tags, new.tags, ())
    if named is not job or tags != job.tags:
        named = replace(named, tags=tags if tags != job.tags else job.tags, updated_at=step.now)
        step.store.save_job(job, named)
        if named.more_paths != job.more_paths:
            assert path is not None
            step.store.add_path(named, path)
        step.events.append(JobUpdated(named.id, named.type, named.status, worker_id=named.worker_id))
    return (*left_out, *no_room)


def _job(step: Transaction, new: NewJob, *, ready: bool) -> Job:
    return Job(
        id=0,
        type=new.type,
        status=JobStatus.PENDING if ready else JobStatus.UPLOADING,
        priority=new.priority,
        source_hash=new.source_hash,
        created_at=step.now,
        updated_at=step.now,
        max_attempts=new.max_attempts or step.rules.max_attempts,
        source_path=new.source_path,
        source_size=new.source_size if new.source_size is not None else _known_size(step, new, ready=ready),
        tags=tuple(dict.fromkeys(new.tags)),
        metadata=new.metadata,
        submitter=new.submitter,
        options=new.options,
    )


def _known_size(step: Transaction, new: NewJob, *, ready: bool) -> int | None:
    known = step.store.file(source_key(new.source_hash)) if ready else None
    return known.size if known is not None else None


def _tell(step: Transaction, job: Job) -> None:
    step.events.append(JobCreated(job.id, job.type, job.status))
    _waits(step, job)


def _source_ready(step: Transaction, source_hash: str, announced: int | None, source: ObjectSeen) -> bool:
    """Whether the source is known to be in the store, its bytes checked."""
    key = source_key(source_hash)
    if source.seen is Seen.VERIFIED:
        step.store.record_file(key, size=source.size, sha256=source_hash, now=step.now, checked=True)
        return True
    if source.seen is Seen.ABSENT:
        # The bucket was emptied behind our back: believe the store, not our memory.
        step.store.forget_file(key)
        return False
    known = step.store.file(key)
    return known is not None and known.serves(announced)


def _revive(step: Transaction, job: Job, *, ready: bool) -> Job:
    """Its source never came, and now it is submitted again: it waits anew."""
    revived = life.retry(
        job,
        reset_attempts=True,
        priority=None,
        source_ready=ready,
        avoid=kept_from(step, job),
        policy=step.rules.retry,
        now=step.now,
    )
    assert isinstance(revived, Job)
    step.store.save_job(job, revived)
    step.events.append(JobUpdated(job.id, job.type, revived.status))
    _waits(step, revived)
    return revived


def _waits(step: Transaction, job: Job) -> None:
    if job.status is JobStatus.PENDING:
        claimable(step, job)
    else:
        step.facts.append(SourceAwaited(job.id, job.source_hash))


def source_arrived(step: Transaction, message: SourceArrived) -> SourceSettledFor | Refusal:
    if refusal := doubted(step, message.source_hash, message.epoch):
        return refusal
    step.store.record_file(
        source_key(message.source_hash),
        size=message.size,
        sha256=message.source_hash if message.verified else None,
        now=step.now,
        checked=True,
    )
    count = 0
    for job in step.store.jobs_by_hash(message.source_hash):
        arrived = _arrived(step, job, message)
        if arrived is None:
            continue
        if arrived.status is JobStatus.UPLOADING:
            step.store.save_job(job, arrived)
            step.events.append(JobUpdated(job.id, job.type, arrived.status))
            continue
        step.store.save_job(job, arrived)
        step.events.append(JobUpdated(job.id, job.type, arrived.status))
        step.facts.append(SourceSettled(job.id, job.source_hash))
        claimable(step, arrived)
        count += 1
    return SourceSettledFor(count)


def _arrived(step: Transaction, job: Job, message: SourceArrived) -> Job | None:
    """Ready, where the bytes were checked; where they were not, only if there are as many as were announced."""
    if not message.verified and job.source_size not in (None, message.size):
        reason = f"the source has {message.size} bytes, and {job.source_size} were announced; upload the right file"
        return life.reject_source(job, reason=reason, now=step.now)
    avoid = kept_from(step, job)
    return life.arrive(job, size=message.size, avoid=avoid, policy=step.rules.retry, now=step.now)


def source_rejected(step: Transaction, message: SourceRejected) -> SourceSettledFor:
    """Say it on every job that waits; they go on waiting for the right bytes until their time is over."""
    step.store.forget_file(source_key(message.source_hash))
    count = 0
    for job in step.store.jobs_by_hash(message.source_hash):
        told = life.reject_source(job, reason=message.reason, now=step.now)
        if told is None:
            continue
        step.store.save_job(job, told)
        step.events.append(JobUpdated(job.id, job.type, told.status))
        count += 1
    return SourceSettledFor(count)


def expire_uploads(step: Transaction, message: ExpireUploads) -> SourceSettledFor:
    return SourceSettledFor(step.each(message.job_ids, partial(_expire_upload, after=message.after)))


def _expire_upload(step: Transaction, job_id: int, *, after: float) -> bool:
    job = step.store.job(job_id)
    if job is None:
        return False
    reason = f"the source was not uploaded within {after:g} seconds"
    if job.last_error:
        reason = f"{reason}; {job.last_error}"
    expired = life.expire_upload(job, reason=reason, now=step.now)
    if expired is None:
        return False
    expired = blamed(step, expired, UPLOAD_CAUSE)
    step.store.save_job(job, expired)
    step.events.append(JobFailed(job.id, job.type, expired.status, error=reason))
    step.facts.append(SourceSettled(job.id, job.source_hash))
    return True
