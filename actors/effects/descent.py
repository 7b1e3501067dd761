"""A job that comes of another one: what it is handed down, and how it is written and told of."""

from __future__ import annotations

from actors.effects.newtypes import one_type_too_many
from actors.effects.requirements import lane_for
from actors.effects.transaction import Transaction
from blobforge.chain import ChainPlace
from blobforge.events import JobCreated
from blobforge.job import Job, JobStatus
from blobforge.refusals import Refusal
from blobforge.store.turns import with_turn


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
