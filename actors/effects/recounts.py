"""Counters that servers of an older release have not kept are made right, without holding up a turn.

All jobs are counted beside the turns, on a snapshot (`actors/recounter.py`). What the counters lacked there is added
here, page by page: servers of this release move counters by exact differences, so that what was committed since the
snapshot stays right. A server of an older release that writes meanwhile makes all of it void, and so does another
recount that is begun. A counter that was too low may have been kept from falling below zero meanwhile: so a recount
is over only where a later one finds nothing.
"""

from __future__ import annotations

import structlog
from msgspec.structs import replace

from actors.effects.backfill import bytes_of_result
from actors.effects.transaction import Transaction
from actors.messages import BeginRecount, CorrectCounts, CountsCorrected, RecountBegun

log = structlog.get_logger("blobforge.writer")


def begin(tx: Transaction, message: BeginRecount) -> RecountBegun:
    """While a server of an older release writes, all would be wrong again at once."""
    older = tx.store.older_wrote
    if older is None or message.older != older:
        return RecountBegun(older)
    return RecountBegun(older, tx.store.begin_recount())


def correct(tx: Transaction, message: CorrectCounts) -> CountsCorrected:
    if tx.store.older_wrote != message.older or tx.store.recount != message.recount:
        return CountsCorrected(holds=False)
    jobs = sum(_weigh(tx, job_id) for job_id in message.unweighed)
    tx.store.move_counters(message.lacking)
    for batch, _, _ in message.lacking.batches:  # one may have ended without being told
        tx.store.batch_changed(batch)
    if message.done:
        tx.store.counted()
        tx.store.texts.indexed(upto=0)  # tags and paths may have changed without a word: it is made anew
        log.info("counted anew what servers of an older release have not kept", upto=message.older)
    return CountsCorrected(holds=True, jobs=jobs)


def _weigh(tx: Transaction, job_id: int) -> bool:
    """Count the bytes of a job's result; whether they were others."""
    job = tx.store.job(job_id)
    if job is None or (found := bytes_of_result(tx, job)) == job.output_bytes:
        return False
    tx.store.save_job(job, replace(job, output_bytes=found))
    return True
