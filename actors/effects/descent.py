"""A job that comes of another one: what it is handed down, how it is written and told of, and where none comes."""

from __future__ import annotations

import msgspec

from actors.effects.newtypes import one_type_too_many
from actors.effects.requirements import lane_for
from actors.effects.transaction import Transaction
from actors.messages import CancelJobs, OperationPlan
from blobforge.chain import ChainPlace
from blobforge.events import JobCreated
from blobforge.job import Job, JobStatus
from blobforge.refusals import Refusal
from blobforge.store.filters import JobFilter
from blobforge.store.turns import with_turn

_decode_plan = msgspec.json.Decoder(OperationPlan).decode


def descend(
    tx: Transaction,
    parent: Job,
    *,
    type_: str,
    options: str | None,
    status: JobStatus,
    source_hash: str,
    source_path: str | None,
    source_size: int | None,
    place: ChainPlace,
) -> Job | Refusal:
    """The new job, with the parent's priority, tags, group, batches and submitter. A Refusal where there can be no
    job of this type; nothing is written then."""
    lane = one_type_too_many(tx, type_) or lane_for(tx, type_, None, options, parent.of_group)
    if isinstance(lane, Refusal):
        return lane
    job = Job(
        id=0,
        type=type_,
        status=status,
        priority=parent.priority,
        source_hash=source_hash,
        created_at=tx.now,
        updated_at=tx.now,
        max_attempts=tx.store.type_settings(type_).max_attempts or tx.rules.max_attempts,
        source_path=source_path,
        source_size=source_size,
        tags=parent.tags,
        submitter=parent.submitter,
        options=options,
        lane=lane,
        of_group=parent.of_group,
        batches=parent.batches,
        chain=place,
    )
    (job,) = tx.store.insert_jobs([with_turn(tx.store, job)])
    tx.events.append(JobCreated(job.id, job.type, job.status))
    return job


def cancelled_with(tx: Transaction, parent: Job) -> int | None:
    """The batch of the job that is being cancelled: nothing comes to it any more, or it would not come to its end."""
    return next((batch for batch in parent.batches if _is_cancelled(tx, batch)), None)


def _is_cancelled(tx: Transaction, batch_id: int) -> bool:
    if batch_id in tx.cancelling:
        return True
    return any(cancels(_decode_plan(text)) == batch_id for text in tx.store.operations.cancelling(batch_id))


def cancels(plan: OperationPlan) -> int | None:
    """The batch of which all jobs that have not ended are cancelled by this."""
    batch = plan.filter.batch
    whole = isinstance(plan.work, CancelJobs) and plan.ids is None and plan.filter == JobFilter(batch=batch)
    return batch if whole else None
