"""A document that failed the same way on two sound workers is its own fault: where its type says so, it is dead then,
and does not burn the rest of its tries."""

from __future__ import annotations

from actors.effects.avoidance import LOOKED_AT
from actors.effects.transaction import Transaction
from blobforge import quarantine
from blobforge.failures import Cause
from blobforge.job import Job

OF_EACH = 200  # of the latest attempts of each worker are looked at


def failed_alike(tx: Transaction, job: Job, worker_id: str, cause: Cause) -> str | None:
    """The sound worker that has failed the job of this cause before, as its present worker does, which is sound, too.
    None: there is none, or the type does not ask for it. `job` is as it is while it runs."""
    if job.failure is None or not tx.store.type_settings(job.type).own_fault:
        return None
    number = tx.store.cause(cause.fingerprint)
    others = [each for each in tx.store.failed_by(job.id, among=LOOKED_AT) if each != worker_id]
    if number is None or not others:
        return None
    past = tx.store.past.of([worker_id, *others], job.type, since=0, most=OF_EACH)
    if not quarantine.completes_others(past[worker_id], job.id):
        return None
    for other in sorted(others):
        known = tx.store.worker(other)
        if known is not None and known.quarantine is not None:
            continue
        if quarantine.has_failed_soundly(past[other], job.id, cause=str(number)):
            return other
    return None


def said(error: str, other: str) -> str:
    """Why such a job is dead."""
    return f"its own fault ({other} failed it the same way, and both complete others): {error}"
