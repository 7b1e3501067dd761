"""Jobs that are not to be started before a time that their submission said: the database has them in that order."""

from __future__ import annotations

from actors.effects.avoidance import claimable, kept_from
from actors.effects.transaction import Transaction
from actors.messages import Started, StartJobs
from blobforge import life
from blobforge.events import JobUpdated
from blobforge.job import Job
from blobforge.store.turns import with_turn


def ready_or_waits(tx: Transaction, job: Job) -> None:
    """Tell of a pending job, as it is saved, that it may be claimed, or when its time comes."""
    if job.not_before is None:
        claimable(tx, job)
    else:
        tx.waits(job)


def start(tx: Transaction, message: StartJobs) -> Started:
    """Make those ready whose time has come, the earliest first."""
    count = tx.each(tx.store.due_starts(tx.now, limit=message.limit), _start)
    following = tx.store.next_start()
    return Started(count, max(0, following - tx.now) / 1000 if following is not None else None)


def _start(tx: Transaction, job: Job) -> bool:
    assert job.not_before is not None
    policy = tx.retry_policy(job.type)
    ready = life.due(job, until=job.not_before, avoid=kept_from(tx, job), policy=policy, now=tx.now)
    if ready is None:
        return False
    ready = with_turn(tx.store, ready)
    tx.store.save_job(job, ready)
    tx.events.append(JobUpdated(ready.id, ready.type, ready.status))
    claimable(tx, ready)
    return True
