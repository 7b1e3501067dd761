"""Jobs that wait get another type: as if they had been submitted under that."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from actors.effects.avoidance import claimable
from actors.effects.newtypes import one_type_too_many
from actors.effects.requirements import lane_for
from actors.effects.transaction import Transaction
from actors.messages import Retype
from blobforge import life
from blobforge.canary import is_a_canarys, is_comparison
from blobforge.events import JobUpdated
from blobforge.job import Job, JobStatus, Retyped, no_such_job
from blobforge.operation import KeptChange
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.turns import give_up_turn, with_turn

RETYPED = "type"  # what became of a job that got another type


def retyped(tx: Transaction, message: Retype) -> KeptChange | Refusal | None:
    """None: it has that type."""
    job = tx.store.job(message.job_id)
    if job is None:
        return no_such_job(message.job_id)
    if is_comparison(job.type):
        return is_a_canarys(job.id, job.type)
    if job.type == message.to:
        return None
    changed = _as_type(tx, job, message.to)
    if isinstance(changed, Refusal):
        return changed
    kept = Retyped(job.type, changed.type, job.attempt)
    return KeptChange(job.id, msgspec.json.encode(kept).decode(), RETYPED, tx.now)


def undo_retype(tx: Transaction, job: Job, before: Retyped) -> bool:
    """As it was, unless it has another type since, was started, or its source was submitted anew under the former."""
    if (job.type, job.attempt) != (before.after, before.attempt):
        return False
    return isinstance(_as_type(tx, job, before.before), Job)


def _as_type(tx: Transaction, job: Job, type_: str) -> Job | Refusal:
    changed = life.retype(job, type_, now=tx.now)
    if isinstance(changed, Refusal):
        return changed
    same = tx.store.same_job(job.source_hash, type_, job.options)
    if same is not None:
        return Refusal(
            RefusalCode.JOB_EXISTS,
            f"Job {same.id} ({same.status}) has the source and the options of job {job.id} as type {type_!r} already."
            " Cancel or delete the one that is not needed.",
        )
    if (refusal := one_type_too_many(tx, type_, field="to")) is not None:
        return refusal
    lane = lane_for(tx, type_, job.requires, job.options, job.of_group)
    if isinstance(lane, Refusal):
        return lane
    give_up_turn(tx.store, job)
    changed = with_turn(tx.store, replace(changed, lane=lane))
    tx.store.save_job(job, changed)
    tx.events.append(JobUpdated(changed.id, changed.type, changed.status))
    if changed.status is JobStatus.PENDING and changed.not_before is None:
        claimable(tx, changed)
    return changed
