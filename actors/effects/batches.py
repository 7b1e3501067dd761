"""Batches: made, closed, and ended in the transaction in which the last of their jobs does."""

from __future__ import annotations

from msgspec.structs import replace

from actors.effects import webhooks, wide
from actors.effects.transaction import Transaction
from actors.messages import BatchOpened, BatchStands, CloseBatch, DeleteBatch, LeaveBatch, MakeBatch, OperationPlan
from blobforge.batch import JobBatch, closed, joined, judged, no_such_batch
from blobforge.events import BatchEnded, JobUpdated
from blobforge.job import Job
from blobforge.refusals import Refusal, RefusalCode
from blobforge.webhook import batch_ended


def make(tx: Transaction, message: MakeBatch) -> BatchOpened | Refusal:
    """A new one. Of those that are open each has a name of its own, so that many can go on with one by its name."""
    batch = JobBatch(0, message.name, tx.now, message.metadata, message.submitter)
    if message.closed:
        batch = judged(closed(batch, now=tx.now), now=tx.now)
    elif (same := tx.store.batches.open_named(message.name)) is not None:
        detail = f"Batch {same} is open, and is called {message.name}. Go on with it, or close it."
        return Refusal(RefusalCode.BATCH_EXISTS, detail, field="name")
    if message.callback is not None:
        to = webhooks.endpoint_of(tx, message.callback)
        if isinstance(to, Refusal):
            return to
        batch = replace(batch, callback_to=to, callback=message.callback.sealed)
    number = tx.store.batches.add(batch)
    if batch.ended_at is not None:
        _has_ended(tx, replace(batch, id=number))
    return BatchOpened(number, message.name)


def close(tx: Transaction, message: CloseBatch) -> BatchStands | Refusal:
    batch = tx.store.batch(message.batch_id)
    return no_such_batch(message.batch_id) if batch is None else BatchStands(_close(tx, batch))


def _close(tx: Transaction, batch: JobBatch) -> JobBatch:
    after = closed(batch, now=tx.now)
    if after is not batch:
        tx.store.save_batch(after)
        tx.store.batch_changed(batch.id)
    return after


def close_for(tx: Transaction, batch_id: int, plan: OperationPlan) -> Refusal | None:
    """What is about to be done to all of a batch is done to all that it will ever have. It is not forgotten while it
    has jobs that have not ended."""
    batch = tx.store.batch(batch_id)
    if batch is None:
        return no_such_batch(batch_id)
    if isinstance(plan.work, DeleteBatch) and (batch.unfinished or wide.starting_more(tx, [batch_id])):
        open_ = f"jobs have not ended ({batch.unfinished:,})" if batch.unfinished else "jobs are still to be started"
        detail = f"Of batch {batch.id} ({batch.name}) {open_}. Cancel it first."
        return Refusal(RefusalCode.BATCH_RUNNING, detail)
    _close(tx, batch)
    return None


def to_join(tx: Transaction, batches: tuple[int, ...], batch_id: int | None) -> tuple[int, ...] | Refusal:
    """The batches of a job that is in these, once it was submitted for that one."""
    if batch_id is None:
        return batches
    batch = tx.store.batch(batch_id)
    return no_such_batch(batch_id, field="batch") if batch is None else joined(batches, batch)


def settle(tx: Transaction) -> None:
    """At the end of each message: the batches of which it was the last job have ended, and tell it."""
    found = [(batch, judged(batch, now=tx.now)) for batch in tx.store.batches_changed()]
    ending = [after.id for batch, after in found if after is not batch and after.ended_at is not None]
    waiting = wide.starting_more(tx, ending) if ending else ()
    for batch, after in found:
        if after is batch or batch.id in waiting:
            continue  # what is still to be made of its jobs comes to it
        tx.store.save_batch(after)
        if after.ended_at is not None:
            _has_ended(tx, after)


def _has_ended(tx: Transaction, batch: JobBatch) -> None:
    tx.events.append(BatchEnded(batch.id, batch.endings))
    if batch.callback_to is not None or tx.is_wanted(batch_ended(batch)):
        tx.tell_webhooks(batch_ended(batch, tx.store.batches.counts(batch.id)), ended=batch)


def leave(tx: Transaction, job: Job, message: LeaveBatch) -> None:
    """The job is not in the batch any more."""
    left = tuple(each for each in job.batches if each != message.batch_id)
    tx.store.save_job(job, replace(job, batches=left, updated_at=tx.now))
    tx.events.append(JobUpdated(job.id, job.type, job.status, worker_id=job.worker_id))
