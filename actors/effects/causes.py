"""Each failure is counted under its cause, and the job says which that is."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from actors.effects.transaction import Transaction
from blobforge import failures
from blobforge.canary import is_comparison
from blobforge.failures import EXPIRED, OUTPUT_MISSING, SOURCE_MISSING, WORKER_LOST, WORKER_SILENT, Cause, made_of
from blobforge.job import Job

# What no worker reports.
LOST_CAUSE: Final = made_of(WORKER_LOST, "the worker fell silent past its lease")
# It has not sent one heartbeat for the attempt: most likely it is one that sends none while it converts.
SILENT_CAUSE: Final = made_of(WORKER_SILENT, "silent while it worked; raise BLOBFORGE_WORKER_TIMEOUT")
REVOKED_CAUSE: Final = made_of(OUTPUT_MISSING, "the output that was reported is not in the store")
EXPIRED_CAUSE: Final = made_of(EXPIRED, "no worker was given the job before it expired")
UPLOAD_CAUSE: Final = made_of(SOURCE_MISSING, "the source was not uploaded in time")


def blamed(tx: Transaction, job: Job, cause: Cause) -> Job:
    """The job, not yet saved, with the cause of what `last_error` says. A comparison's failures are counted nowhere
    but in its canary."""
    if is_comparison(job.type):
        return job
    return replace(job, failure=count(tx, cause, job.last_error or "", now=tx.now))


def count(tx: Transaction, cause: Cause, example: str, *, now: int) -> int:
    """Count an attempt that failed of this cause; returns the number of the cause, or that of all others."""
    number = tx.store.cause(cause.fingerprint)
    if number is None and tx.store.count_causes() >= failures.MOST_GROUPS:
        cause = Cause(failures.OTHER, "Other", f"all causes beyond the first {failures.MOST_GROUPS:,}")
        number = tx.store.cause(cause.fingerprint)
    if number is None:
        number = tx.store.add_cause(cause)
    tx.store.see_cause(number, example, now=now)
    return number
