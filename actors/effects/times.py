"""What a job waits for as it is saved, to be told, and the times that its submission said: before which it is not to
be started, and at which it is given up that no worker was given. The database has the jobs in the order of these
times."""

from __future__ import annotations

from actors.effects.avoidance import claimable, kept_from
from actors.effects.causes import EXPIRED_CAUSE, blamed
from actors.effects.transaction import Transaction
from actors.messages import HeedTimes, TimesHeeded
from blobforge import life
from blobforge.events import JobFailed, JobUpdated, ManifestMade, ProofAwaited, SourceAwaited, SourceSettled
from blobforge.job import Job, JobStatus
from blobforge.store.turns import give_up_turn, with_turn


def ready_or_waits(tx: Transaction, job: Job) -> None:
    """Tell of a pending job, as it is saved, that it may be claimed, or when its time comes."""
    if job.not_before is None:
        claimable(tx, job)
    else:
        tx.waits(job)


def tell_awaited(tx: Transaction, job: Job) -> None:
    """Tell of a job, as it is saved, that it waits for its source: to be uploaded; of an output, to be read; of a
    stage, to be put into the store, which no client does, and for which it is never too late."""
    if job.chain is not None and job.chain.source is not None:
        tx.facts.append(ProofAwaited(job.id, job.chain.source, job.chain.version))
    elif job.chain is not None and job.chain.joins:
        tx.facts.append(ManifestMade(job.id, job.source_hash))
    else:
        tx.facts.append(SourceAwaited(job.id, job.source_hash, job.awaited_since))


def tell_expiry(tx: Transaction, job: Job) -> None:
    """Tell of a job, as it is saved, when it is given up, if it may come to that."""
    if job.expiry is not None:
        tx.expires(job)


def heed(tx: Transaction, message: HeedTimes) -> TimesHeeded:
    """Give up what has expired, and make those ready whose time has come, the earliest first."""
    due = tx.store.due_expiries(tx.now, limit=message.limit)
    expired = tx.each(due, _expire)
    started = tx.each(tx.store.due_starts(tx.now, limit=message.limit - len(due)), _start)
    following = tx.store.next_time()
    return TimesHeeded(started, expired, max(0, following - tx.now) / 1000 if following is not None else None)


def time_is_over(tx: Transaction, job: Job, until: int) -> bool:
    """The time `until` which the job has waited is over: it is ready, unless it has moved on meanwhile."""
    policy = tx.retry_policy(job.type)
    ready = life.due(job, until=until, avoid=kept_from(tx, job), policy=policy, now=tx.now)
    if ready is None:
        return False
    if job.waits_to_start:
        ready = with_turn(tx.store, ready)
    tx.store.save_job(job, ready)
    tx.events.append(JobUpdated(ready.id, ready.type, ready.status))
    claimable(tx, ready)
    return True


def _start(tx: Transaction, job: Job) -> bool:
    assert job.not_before is not None
    return time_is_over(tx, job, job.not_before)


def _expire(tx: Transaction, job: Job) -> bool:
    what = "its source had not come" if job.status is JobStatus.UPLOADING else "no worker had been given it"
    reason = f"expired: {what} by the time that its submission said"
    expired = life.expire(job, reason=reason, now=tx.now)
    if expired is None:
        return False
    expired = blamed(tx, expired, EXPIRED_CAUSE)
    give_up_turn(tx.store, job)
    tx.store.save_job(job, expired)
    tx.events.append(JobFailed(job.id, job.type, expired.status, error=reason))
    if job.status is JobStatus.UPLOADING:
        tx.facts.append(SourceSettled(job.id, job.source_hash))
    return True
