"""Jobs whose attempt came to nothing: how they go back to the queue at no cost, and what is told of any of them."""

from __future__ import annotations

from collections.abc import Sequence

from actors.effects.beginning import SERVER, put_on_record
from actors.effects.causes import blamed
from actors.effects.transaction import Transaction
from actors.messages import OperationPlan, TakeBackJobs
from actors.works import A_TURN
from blobforge import failures, life
from blobforge.events import JobFailed, JobReady, JobUpdated, LeaseEnded
from blobforge.job import Job, JobStatus, Outcome, ReleaseCause


def take_back_all(tx: Transaction, workers: Sequence[str], reason: str, *, died: bool = False) -> int:
    """Every job that these workers run goes back to the queue; its leases are void. Returns how many. `died`: their
    processes have ended without a word, which is free only some times in a row.

    Where they are more than one turn of the writer has room for, they go back a page at a turn, as an operation.
    """
    running = tx.store.running_on(workers, limit=A_TURN + 1)
    if len(running) > A_TURN:
        put_on_record(tx, OperationPlan(TakeBackJobs(tuple(workers), reason, died)), SERVER)
        return 0
    for job in running:
        take_back(tx, job, reason, died=died)
    return len(running)


def take_back(tx: Transaction, job: Job, reason: str, *, died: bool = False) -> None:
    """A running job goes back to the queue; see `take_back_all`."""
    if died:
        _left_behind(tx, job, reason)
        return
    returned = life.take_back(job, now=tx.now)
    assert isinstance(returned, Job)
    back_in_queue(tx, job, returned, reason)


def _left_behind(tx: Transaction, job: Job, reason: str) -> None:
    worker = tx.store.worker(job.worker_id) if job.worker_id is not None else None
    free = worker is not None and worker.quarantine is not None
    returned = life.left_behind(job, policy=tx.retry_policy(job.type), now=tx.now, free=free)
    assert isinstance(returned, Job)
    if returned.losses != job.losses:
        returned = blamed(tx, returned, failures.cause(failures.GIVEN_BACK, reason, None))
    back_in_queue(tx, job, returned, reason, ReleaseCause.TROUBLE, free=free)


def back_in_queue(
    tx: Transaction, job: Job, returned: Job, reason: str, cause: ReleaseCause | None = None, *, free: bool = False
) -> None:
    """Write that `job` is now `returned`, and why its attempt ended; `cause` is what its worker said. `free`: its
    worker is in quarantine."""
    tx.store.save_job(job, returned)
    tx.end_attempt(job, returned, Outcome.RELEASED, free=free, kind=cause, error=reason)
    tx.facts.append(LeaseEnded(job.id))
    tell_return(tx, returned, worker_id=job.worker_id)


def tell_return(tx: Transaction, job: Job, *, worker_id: str | None = None) -> None:
    """Tell what became of a job whose attempt came to nothing, as it is now: it is ready, waits, or is dead."""
    if job.status is JobStatus.DEAD:
        tx.events.append(JobFailed(job.id, job.type, job.status, error=job.last_error or "", worker_id=worker_id))
        return
    tx.events.append(JobUpdated(job.id, job.type, job.status))
    if job.not_before is None:
        tx.facts.append(JobReady(job.type, job.id, job.priority, job.lane, job.turn))
    else:
        tx.waits(job)
