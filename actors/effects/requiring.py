"""What jobs require of their workers is changed, and changed back."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from actors.effects.avoidance import claimable
from actors.effects.requirements import lane_for
from actors.effects.transaction import Transaction
from blobforge.canary import is_a_canarys, is_comparison
from blobforge.events import JobUpdated
from blobforge.job import Job, JobStatus, no_such_job
from blobforge.operation import KeptChange
from blobforge.refusals import Refusal

REQUIRED = "requires"  # what became of a job whose requirements were changed


class RequirementsChanged(msgspec.Struct, frozen=True):
    """What a job required before a change, and since: kept for an undo."""

    before: str | None
    after: str | None


def required(tx: Transaction, job_id: int, requires: str | None) -> KeptChange | Refusal | None:
    """None: it requires just that. Counts from the next claim on; for a job that runs or has ended, from its next
    retry on."""
    job = tx.store.job(job_id)
    if job is None:
        return no_such_job(job_id)
    if is_comparison(job.type):
        return is_a_canarys(job.id, job.type)
    if job.requires == requires:
        return None
    lane = lane_for(tx, job.type, requires, job.options, job.of_group)
    if isinstance(lane, Refusal):
        return lane
    moved = replace(job, requires=requires, lane=lane, updated_at=tx.now)
    tx.store.save_job(job, moved)
    tx.events.append(JobUpdated(moved.id, moved.type, moved.status, worker_id=moved.worker_id))
    if moved.status is JobStatus.PENDING and moved.not_before is None:
        claimable(tx, moved)
    was = msgspec.json.encode(RequirementsChanged(job.requires, requires)).decode()
    return KeptChange(job.id, was, REQUIRED, tx.now)


def undo_requirements(tx: Transaction, job: Job, changed: RequirementsChanged) -> bool:
    """As they were, unless they were changed since."""
    return job.requires == changed.after and isinstance(required(tx, job.id, changed.before), KeptChange)
