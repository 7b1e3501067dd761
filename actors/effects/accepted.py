"""Accepted outputs: on record once seen, kept beyond the reach of URLs, and revoked where they are not there."""

from __future__ import annotations

from msgspec.structs import replace

from actors.effects import chains
from actors.effects.causes import REVOKED_CAUSE, blamed
from actors.effects.deletions import doom
from actors.effects.returns import tell_return
from actors.effects.transaction import Transaction
from actors.messages import (
    ObjectSeen,
    OutputChecked,
    OutputsKept,
    Seen,
    SomeChanged,
)
from blobforge import life
from blobforge.canary import is_comparison
from blobforge.events import (
    ObjectsDoomed,
    OutputAccepted,
)
from blobforge.job import Job, JobStatus, Outcome
from blobforge.objects.keys import output_of


def record(
    tx: Transaction, job: Job, key: str, seen: ObjectSeen, *, said: str | None, attempt: int | None = None
) -> None:
    """Remember what was seen of an accepted output, and have it kept unless nothing can write over it. `attempt`: the
    one that it is of, where the job may have begun another since."""
    attempt = attempt if attempt is not None else job.attempt
    keeping = is_copied(job, seen, attempt)
    tx.store.record_file(
        key,
        size=seen.size,
        sha256=seen.sha256 or said,
        now=tx.now,
        checked=True,
        job_id=job.id,
        attempt=attempt,
        etag=seen.etag,
        version=seen.version,
        keeping=keeping,
    )
    if keeping:
        tx.facts.append(OutputAccepted(job.id, attempt, key, seen.size, seen.sha256 or said, seen.etag))


def is_copied(job: Job, seen: ObjectSeen, attempt: int) -> bool:
    """Whether the accepted output is to be served from a copy: a URL to upload it may still write over it."""
    return seen.version is None and not (job.write_once and attempt == job.attempt)


def output_checked(tx: Transaction, message: OutputChecked) -> SomeChanged:
    """The object store answers again: the output is there, with the bytes that the worker said, or the completion
    is revoked and the job redone."""
    known = tx.store.file(message.key)
    if known is None or known.checked_at is not None:
        # Revoked, or removed with its job, while we looked; or another server has found it, and it was copied since.
        return SomeChanged(0)
    said, found = known.sha256, message.output.sha256
    if message.output.seen is not Seen.ABSENT and (said is None or found is None or said == found):
        job = tx.store.job(message.job_id)
        if job is not None and (weighed := life.weighed(job, message.attempt, message.key, message.output.size)):
            record(tx, job, message.key, message.output, said=said, attempt=message.attempt)
            if weighed != job:
                tx.store.save_job(job, weighed)
        return SomeChanged(0)
    return SomeChanged(_revoked(tx, message.job_id, message.attempt, message.key))


def outputs_kept(tx: Transaction, message: OutputsKept) -> SomeChanged:
    """From now on the copy is served. The original goes when the URLs to fetch and to upload it have expired."""
    for each in message.kept:
        if tx.store.file(each.key) is None:  # removed with its job while it was copied
            doom(tx, each.to, again=False)
        else:
            tx.store.keep_file(each.key, each.to)
            chains.output_kept(tx, tx.store.job(output_of(each.key).job_id), each.key, each.to)
            doom(tx, each.key, again=False, due_at=tx.now + tx.rules.url_lifetime_ms)
    if message.kept:
        tx.facts.append(ObjectsDoomed())
    return SomeChanged(sum(_revoked(tx, each.job_id, each.attempt, each.key) for each in message.lost))


def _revoked(tx: Transaction, job_id: int, attempt: int, key: str) -> int:
    """The output is not there, or not the one that was accepted: the job is redone. How many were (0 or 1)."""
    tx.store.forget_file(key)
    tx.store.drop_result(job_id, attempt)
    job = tx.store.job(job_id)
    if job is None:
        return 0
    revoked = life.revoke(job, attempt=attempt, policy=tx.retry_policy(job.type), now=tx.now)
    if revoked is None:
        if (without := life.forget_result(job, attempt=attempt, now=tx.now)) is not None:
            tx.store.save_job(job, without)
            if job.kept_attempt == attempt:
                _former_is_back(tx, without)
        return 0
    if is_comparison(job.type):  # one try
        revoked = replace(revoked, status=JobStatus.DEAD, started_at=job.started_at, completed_at=tx.now)
    revoked = blamed(tx, revoked, REVOKED_CAUSE)
    tx.store.save_job(job, revoked)
    _former_is_back(tx, revoked)
    chains.output_revoked(tx, job, attempt)
    tx.end_attempt(job, revoked, Outcome.REVOKED, kind=REVOKED_CAUSE.kind, error=revoked.last_error)
    tell_return(tx, revoked)
    return 1


def _former_is_back(tx: Transaction, job: Job) -> None:
    """The job, as it was just saved, has the result again that another one had replaced, if it has any."""
    if job.kept_attempt is not None:
        tx.store.superseded.restored(job.id, job.kept_attempt)
        chains.result_is_back(tx, job, job.kept_attempt)
