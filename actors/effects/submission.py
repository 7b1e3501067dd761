"""Submitting a job, and the arrival (or not) of its source."""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from actors.effects.avoidance import kept_from
from actors.effects.batches import to_join
from actors.effects.causes import UPLOAD_CAUSE, blamed
from actors.effects.deletions import doubted, spare_source
from actors.effects.newtypes import one_type_too_many
from actors.effects.requirements import lane_for
from actors.effects.times import ready_or_waits, tell_awaited, tell_expiry
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
    Unsent,
)
from actors.works import A_TURN
from blobforge import life
from blobforge.chain import ChainPlace, Step
from blobforge.events import JobCreated, JobFailed, JobUpdated, SourceSettled
from blobforge.job import MOST_PATHS, Job, JobStatus, tagged
from blobforge.objects.keys import source_key
from blobforge.options import Lane
from blobforge.refusals import Refusal, RefusalCode
from blobforge.requirements import words
from blobforge.store.turns import give_up_turn, with_turn
from blobforge.typechain import followed_by


def submit(tx: Transaction, message: Submit) -> Submitted | Refusal:
    """Make the job, or find the one that source, type and options have already."""
    new = message.job
    source = spare_source(tx, new.source_hash, message.source)
    if isinstance(source, Refusal):
        return source
    existing = tx.store.same_job(new.source_hash, new.type, new.options)
    then = _followed_by(tx, new) if existing is None or new.then is not None else ()
    if isinstance(then, Refusal):
        return then
    if existing is None and (refusal := one_type_too_many(tx, new.type)) is not None:
        return refusal
    # Of a job that came of an output, that is the source, whatever is stored under its hash.
    of_output = existing is not None and existing.chain is not None and existing.chain.source is not None
    vanished = source.seen is Seen.ABSENT and not of_output
    anew = existing is None or life.never_started(existing) or (vanished and existing.status is JobStatus.DEAD)
    # Found out only here: a request that comes again gets the answer that it had.
    if anew and new.expires_at is not None and new.expires_at <= tx.now:
        return Refusal(RefusalCode.INVALID, "expires_at: that time is over.", field="expires_at")
    batches = to_join(tx, existing.batches if existing is not None else (), new.batch)
    if isinstance(batches, Refusal):
        return batches
    # Before anything is changed: a refusal behind a change that is written would cost the whole transaction.
    lane = lane_for(tx, new.type, new.requires, new.options, new.group) if existing is None else existing.lane
    if isinstance(lane, Refusal):
        return lane
    announced = new.source_size if existing is None else existing.source_size
    ready = of_output or _source_ready(tx, new.source_hash, announced, source)
    missing = not ready and source.seen is not Seen.PRESENT
    if existing is not None:
        if anew:
            existing = _revive(tx, existing, new, ready=ready)
        elif vanished:
            existing = _await_anew(tx, existing)
        left_out = _name_again(tx, existing, new, batches)
        # What the look says counts: a client that has the file sends it, whatever is known of the job.
        upload = vanished or (missing and existing.status is JobStatus.UPLOADING)
        asked = new.requires is not None or existing.requires is not None
        kept = words(existing.requires) if asked else None
        ignored = _ignored(existing, new, then, anew=anew, now=tx.now)
        told = _told(new, batches)
        return Submitted(existing.id, True, existing.status, new.source_hash, upload, left_out, kept, ignored, told)
    (job,) = tx.store.insert_jobs([with_turn(tx.store, _job(tx, new, lane, batches, then, ready=ready))])
    _tell(tx, job)
    requires = words(job.requires) if job.requires is not None else None
    told = _told(new, batches)
    return Submitted(job.id, False, job.status, new.source_hash, missing, requires=requires, batches=told)


def _followed_by(tx: Transaction, new: NewJob) -> tuple[Step, ...] | Refusal:
    """All that is to follow the job, with what is set for types where the submission says nothing."""
    by_type = tx.store.types.all().then
    if not by_type:
        return new.then or ()
    found = followed_by(new.type, new.options, new.then, by_type)
    if not isinstance(found, str):
        return found
    return Refusal(
        RefusalCode.INVALID, f"then: with what is set for types, {found}. An empty `then` has none.", field="then"
    )


def _ignored(job: Job, new: NewJob, then: tuple[Step, ...], *, anew: bool, now: int) -> tuple[str, ...]:
    """The names of what this submission says, and the job, which was there, has otherwise: of what says when, where
    and in whose turn it is done. `anew`: it was brought back, with the times of this submission."""
    start = life.later(new.not_before, now=now)
    said = {
        "requires": new.requires not in (None, job.requires),
        "group": new.group not in (None, job.of_group),
        "not_before": not anew and start not in (None, job.start),
        "then": new.then is not None and (job.chain.then if job.chain is not None else ()) != then,
        "expires_at": not anew and new.expires_at not in (None, job.expires_at),
    }
    return tuple(name for name, other in said.items() if other)


def _told(new: NewJob, batches: tuple[int, ...]) -> tuple[int, ...]:
    """The batches that the job is in, where it was submitted for one."""
    return batches if new.batch is not None else ()


def _name_again(tx: Transaction, job: Job, new: NewJob, batches: tuple[int, ...]) -> tuple[str, ...]:
    """The job gets the path, the tags and the batch of this submission, too; those that it has no room for."""
    named, left_out = job, []
    if (path := new.source_path) and not tx.store.has_path(job, path):
        if job.source_path is None:
            named = replace(named, source_path=path)
        elif job.more_paths + 1 < MOST_PATHS:
            named = replace(named, more_paths=job.more_paths + 1)
        else:
            left_out.append(path)
    tags, no_room = tagged(job.tags, new.tags, ())
    if named is not job or tags != job.tags or batches != job.batches:
        named = replace(named, tags=tags if tags != job.tags else job.tags, batches=batches, updated_at=tx.now)
        tx.store.save_job(job, named)
        if named.more_paths != job.more_paths:
            assert path is not None
            tx.store.add_path(named, path)
        tx.events.append(JobUpdated(named.id, named.type, named.status, worker_id=named.worker_id))
    return (*left_out, *no_room)


def _job(
    tx: Transaction, new: NewJob, lane: Lane, batches: tuple[int, ...], then: tuple[Step, ...], *, ready: bool
) -> Job:
    return Job(
        id=0,
        type=new.type,
        status=JobStatus.PENDING if ready else JobStatus.UPLOADING,
        priority=new.priority,
        source_hash=new.source_hash,
        created_at=tx.now,
        updated_at=tx.now,
        max_attempts=new.max_attempts or tx.store.type_settings(new.type).max_attempts or tx.rules.max_attempts,
        source_path=new.source_path,
        source_size=new.source_size if new.source_size is not None else _known_size(tx, new, ready=ready),
        tags=tuple(dict.fromkeys(new.tags)),
        metadata=new.metadata,
        submitter=new.submitter,
        options=new.options,
        requires=new.requires,
        not_before=life.later(new.not_before, now=tx.now),
        expires_at=new.expires_at,
        lane=lane,
        of_group=new.group,
        batches=batches,
        chain=ChainPlace(then) if then else None,
    )


def _known_size(tx: Transaction, new: NewJob, *, ready: bool) -> int | None:
    known = tx.store.file(source_key(new.source_hash)) if ready else None
    return known.size if known is not None else None


def _tell(tx: Transaction, job: Job) -> None:
    tx.events.append(JobCreated(job.id, job.type, job.status))
    _waits(tx, job)


def _source_ready(tx: Transaction, source_hash: str, announced: int | None, source: ObjectSeen) -> bool:
    """Whether the source is known to be in the store, its bytes checked."""
    key = source_key(source_hash)
    if source.seen is Seen.VERIFIED:
        tx.store.record_file(key, size=source.size, sha256=source_hash, now=tx.now, checked=True)
        return True
    if source.seen is Seen.ABSENT:
        # The bucket was emptied behind our back: believe the store, not our memory.
        tx.store.forget_file(key)
        return False
    known = tx.store.file(key)
    return known is not None and known.serves(announced)


def _revive(tx: Transaction, job: Job, new: NewJob, *, ready: bool) -> Job:
    """Its source never came, or it has expired, and now it is submitted again: it waits anew, with the times that are
    said now."""
    revived = life.retry(
        job,
        reset_attempts=True,
        priority=None,
        source_ready=ready,
        avoid=kept_from(tx, job),
        policy=tx.retry_policy(job.type),
        now=tx.now,
    )
    assert isinstance(revived, Job)
    revived = life.timed(revived, not_before=new.not_before, expires_at=new.expires_at, now=tx.now)
    revived = with_turn(tx.store, revived)
    tx.store.save_job(job, revived)
    tx.events.append(JobUpdated(job.id, job.type, revived.status))
    _waits(tx, revived)
    return revived


def _await_anew(tx: Transaction, job: Job) -> Job:
    """Its source has vanished from the store: it waits for that again, unless it has moved on."""
    waiting = life.await_source(job, now=tx.now)
    if waiting is None:
        return job
    give_up_turn(tx.store, job)
    tx.store.save_job(job, waiting)
    tx.events.append(JobUpdated(waiting.id, waiting.type, waiting.status))
    tell_awaited(tx, waiting)
    return waiting


def _waits(tx: Transaction, job: Job) -> None:
    tell_expiry(tx, job)
    if job.status is JobStatus.PENDING:
        ready_or_waits(tx, job)
    else:
        tell_awaited(tx, job)


def source_arrived(tx: Transaction, message: SourceArrived) -> SourceSettledFor | Refusal:
    if refusal := doubted(tx, message.source_hash, message.epoch):
        return refusal
    tx.store.record_file(
        source_key(message.source_hash),
        size=message.size,
        sha256=message.source_hash if message.verified else None,
        now=tx.now,
        checked=True,
    )
    count = 0
    waiting, following = _waiting(tx, message)
    for job in waiting:
        arrived = _arrived(tx, job, message)
        if arrived is None:
            continue
        if arrived.status is JobStatus.UPLOADING:
            tx.store.save_job(job, arrived)
            tx.events.append(JobUpdated(job.id, job.type, arrived.status))
            continue
        arrived = with_turn(tx.store, arrived)
        tx.store.save_job(job, arrived)
        tx.events.append(JobUpdated(job.id, job.type, arrived.status))
        tx.facts.append(SourceSettled(job.id, job.source_hash))
        ready_or_waits(tx, arrived)
        count += 1
    return SourceSettledFor(count, following)


def _waiting(tx: Transaction, message: SourceArrived | SourceRejected) -> tuple[list[Job], int | None]:
    """As many of the jobs that wait for the source as one turn of the writer treats, and behind which there are more:
    one source may have a job for each of its pages, by their options."""
    jobs = [
        job
        for job in tx.store.jobs_by_hash(message.source_hash)
        if job.status is JobStatus.UPLOADING and job.id > message.after
    ]
    return jobs[:A_TURN], jobs[A_TURN - 1].id if len(jobs) > A_TURN else None


def _arrived(tx: Transaction, job: Job, message: SourceArrived) -> Job | None:
    """Ready, where the bytes were checked; where they were not, only if there are as many as were announced."""
    if not message.verified and job.source_size not in (None, message.size):
        reason = f"the source has {message.size} bytes, and {job.source_size} were announced; upload the right file"
        return life.reject_source(job, reason=reason, now=tx.now)
    avoid = kept_from(tx, job)
    return life.arrive(job, size=message.size, avoid=avoid, policy=tx.retry_policy(job.type), now=tx.now)


def source_rejected(tx: Transaction, message: SourceRejected) -> SourceSettledFor:
    """Say it on every job that waits; they go on waiting for the right bytes until their time is over."""
    tx.store.forget_file(source_key(message.source_hash))
    count = 0
    waiting, following = _waiting(tx, message)
    for job in waiting:
        told = life.reject_source(job, reason=message.reason, now=tx.now)
        if told is None:
            continue
        tx.store.save_job(job, told)
        tx.events.append(JobUpdated(job.id, job.type, told.status))
        count += 1
    return SourceSettledFor(count, following)


def expire_uploads(tx: Transaction, message: ExpireUploads) -> SourceSettledFor:
    return SourceSettledFor(tx.each(message.uploads, partial(_expire_upload, after=message.after)))


def _expire_upload(tx: Transaction, upload: Unsent, *, after: float) -> bool:
    job = tx.store.job(upload.job_id)
    if job is None or upload.since not in (None, job.awaited_since):
        return False
    reason = f"the source was not uploaded within {after:g} seconds"
    if job.last_error:
        reason = f"{reason}; {job.last_error}"
    expired = life.expire_upload(job, reason=reason, now=tx.now)
    if expired is None:
        return False
    expired = blamed(tx, expired, UPLOAD_CAUSE)
    tx.store.save_job(job, expired)
    tx.events.append(JobFailed(job.id, job.type, expired.status, error=reason))
    tx.facts.append(SourceSettled(job.id, job.source_hash))
    return True
