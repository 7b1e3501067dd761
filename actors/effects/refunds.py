"""What a machine in quarantine has cost is given back, once: the tries and losses of the jobs that it failed.

A job that has died by it alone comes back, and is tried again elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from actors.effects.jobs import again
from actors.effects.transaction import Transaction
from blobforge import charges
from blobforge.job import Attempt, Job
from blobforge.quarantine import EndedAttempt

LOOKED_AT = 100  # of a job's latest attempts


def give_back(tx: Transaction, failed: Iterable[EndedAttempt]) -> None:
    """The charges for these attempts, as far as their jobs are still charged with them."""
    of: dict[int, set[int]] = {}
    for each in failed:
        of.setdefault(each.job_id, set()).add(each.attempt)
    for job_id, numbers in sorted(of.items()):
        job = tx.store.job(job_id)
        if job is not None:
            _give_back(tx, job, tx.store.attempts(job_id, limit=LOOKED_AT), numbers)


def _give_back(tx: Transaction, job: Job, attempts: Sequence[Attempt], numbers: set[int]) -> None:
    charged = charges.charged(job, attempts)
    after, returned = job, set[int]()
    for attempt in attempts:
        if attempt.attempt not in numbers & charged:
            continue
        less = charges.give_back(after, attempt, now=tx.now)
        if less is not None:
            after = less
            returned.add(attempt.attempt)
    if not returned:
        return
    tx.store.save_job(job, after)
    for number in sorted(returned):
        tx.store.past.give_back(job.id, number, now=tx.now)
    last = attempts[-1]
    policy = tx.retry_policy(job.type)
    if charges.died_of(job, after, last, given_back=last.attempt in returned, policy=policy):
        again(tx, after, reset_attempts=False, priority=None)
