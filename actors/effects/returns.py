"""Running jobs that go back to the queue at no cost: given back, or taken from a worker that leaves."""

from __future__ import annotations

from actors.effects.step import Step
from blobforge import job as rules
from blobforge.events import JobReady, JobUpdated, LeaseEnded
from blobforge.job import Job, Outcome


def take_back_all(step: Step, worker_id: str, reason: str) -> int:
    """Every job that this worker runs goes back to the queue at no cost; its leases are void. Returns how many."""
    running = step.store.jobs_of_worker(worker_id)
    for job in running:
        returned = rules.take_back(job, now=step.now)
        assert isinstance(returned, Job)
        back_in_queue(step, job, returned, reason)
    return len(running)


def back_in_queue(step: Step, job: Job, returned: Job, reason: str) -> None:
    """Write that `job` is now `returned`, and why its attempt ended."""
    step.store.save_job(job, returned)
    step.end_attempt(job, returned, Outcome.RELEASED, error=reason)
    step.events.append(JobUpdated(job.id, job.type, returned.status))
    step.facts += [LeaseEnded(job.id), JobReady(job.type)]
