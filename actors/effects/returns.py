"""Running jobs that go back to the queue without an attempt being charged: given back, or taken from a worker."""

from __future__ import annotations

from actors.effects.transaction import Transaction
from blobforge import life
from blobforge.events import JobFailed, JobReady, JobUpdated, LeaseEnded
from blobforge.job import Job, JobStatus, Outcome, ReleaseCause


def take_back_all(step: Transaction, worker_id: str, reason: str) -> int:
    """Every job that this worker runs goes back to the queue at no cost; its leases are void. Returns how many."""
    running = step.store.jobs_of_worker(worker_id)
    for job in running:
        returned = life.take_back(job, now=step.now)
        assert isinstance(returned, Job)
        back_in_queue(step, job, returned, reason)
    return len(running)


def back_in_queue(step: Transaction, job: Job, returned: Job, reason: str, cause: ReleaseCause | None = None) -> None:
    """Write that `job` is now `returned`, and why its attempt ended; `cause` is what its worker said."""
    step.store.save_job(job, returned)
    step.end_attempt(job, returned, Outcome.RELEASED, kind=cause, error=reason)
    step.facts.append(LeaseEnded(job.id))
    if returned.status is JobStatus.DEAD:
        step.events.append(
            JobFailed(job.id, job.type, returned.status, error=returned.last_error or "", worker_id=job.worker_id)
        )
        return
    step.events.append(JobUpdated(job.id, job.type, returned.status))
    if returned.not_before is None:
        step.facts.append(JobReady(job.type, job.id, job.priority, job.lane))
    else:
        step.waits(returned)
