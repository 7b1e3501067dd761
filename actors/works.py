"""What bulk actions do to a job, at once or as an operation: which jobs one is for, and by which message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from msgspec.structs import replace

from actors.messages import (
    Cancel,
    CancelChildren,
    CancelFamilies,
    CancelJobs,
    ChangeTags,
    DeleteBatch,
    DeleteJob,
    DeleteJobs,
    JoinStages,
    PrioritiseJobs,
    RemoveWorkers,
    RequireJobs,
    Retry,
    RetryJobs,
    Retype,
    RetypeJobs,
    SetPriority,
    SetRequirements,
    StartChildren,
    TagJobs,
    TakeBackJobs,
    UndoJobs,
    Work,
)
from blobforge.access import Scope
from blobforge.job import Job, JobStatus, tagged
from blobforge.life import Verb, allowed, may_be_retyped
from blobforge.store.filters import JobFilter
from blobforge.worker import WorkerFilter, WorkerStatus

JobItem = Retry | Cancel | SetPriority | Retype | SetRequirements | ChangeTags | DeleteJob
# Changed in one turn of the writer: some 20 ms, so that claims beside it stay fast.
A_TURN = 200
DELETED_A_TURN = 50  # each takes several times as long as a change: attempts, tags and files go along
# What the scope `submit` may; all other verbs are an administrator's, also those that only a newer release knows.
OF_SUBMITTERS = frozenset({"retry", "cancel", "cancel-families", "priority", "retype", "requires", "tags", "undo"})
WORKERS_A_TURN = 50  # of which some run jobs, that go back along with it


def chosen_workers(work: RemoveWorkers) -> WorkerFilter | None:
    """Which workers go, by what they are when their turn has come. None: those that are named, whatever they are.

    By a filter only those go that are offline, or in the status that is named, and none that is disabled: its removal
    would let it register again."""
    if work.workers is not None:
        return None
    return replace(work.chosen, status=work.chosen.status or WorkerStatus.OFFLINE, enabled=True)


def pages_of_workers(chosen: Iterable[tuple[str, int]]) -> tuple[tuple[str, ...], ...]:
    """Workers, with how many jobs each runs, as many to a page as one turn removes along with what goes back."""
    pages: list[list[str]] = []
    room = 0
    for worker_id, running in chosen:
        if room < 1 + running or len(pages[-1]) == WORKERS_A_TURN:
            pages.append([])
            room = A_TURN
        pages[-1].append(worker_id)
        room -= 1 + running
    return tuple(map(tuple, pages))


def touches(work: Work, job: Job) -> bool:
    """Whether the job, as it is, would be changed."""
    match work:
        case RetryJobs():
            left = {JobStatus.COMPLETED} if not work.completed_too else set[JobStatus]()
            left |= {JobStatus.FAILED} if work.ended_only else set()
            return allowed(Verb.RETRY, job.status) and job.status not in left
        case CancelJobs():
            return allowed(Verb.CANCEL, job.status)
        case CancelFamilies():
            return allowed(Verb.CANCEL, job.status) or starts_jobs(job)
        case PrioritiseJobs():
            return job.priority != work.priority
        case RetypeJobs():
            return job.type != work.to and may_be_retyped(job)
        case RequireJobs():
            return job.requires != work.requires
        case TagJobs():
            return tagged(job.tags, work.add, work.remove) != (job.tags, [])
        case DeleteJobs():
            return job.status is not JobStatus.RUNNING
        case DeleteBatch():
            return work.batch_id in job.batches
        case UndoJobs() | StartChildren() | CancelChildren() | JoinStages():
            return True
        case TakeBackJobs():
            return job.status is JobStatus.RUNNING and job.worker_id in work.workers
        case _:
            assert_never(work)


def starts_jobs(job: Job) -> bool:
    """Whether jobs may have come of it."""
    return job.chain is not None and bool(job.chain.then)


def ran_then(work: TakeBackJobs, job: Job, then: int) -> bool:
    """Whether one of the workers runs the job, and did so when they left (ms)."""
    return touches(work, job) and job.started_at is not None and job.started_at <= then


def still_chosen(job: Job, by: JobFilter) -> bool:
    """Whether a job that was chosen by the filter matches it as it is now: it may have been made anew since."""
    return by.matches(job, named=job.more_paths > 0)


def item(work: Work, job_id: int, undo: str = "") -> JobItem:
    """What is asked of the writer for one job. `undo`: see Cancel."""
    match work:
        case RetryJobs():
            return Retry(job_id, work.reset_attempts, work.priority, undo, work.compare)
        case CancelJobs() | CancelFamilies():
            return Cancel(job_id, undo, work.reason)
        case PrioritiseJobs():
            return SetPriority(job_id, work.priority, undo)
        case RetypeJobs():
            return Retype(job_id, work.to, undo)
        case RequireJobs():
            return SetRequirements(job_id, work.requires, undo)
        case TagJobs():
            return ChangeTags(job_id, work.add, work.remove, undo)
        case DeleteJobs():
            return DeleteJob(job_id, work.objects)
        case UndoJobs() | TakeBackJobs() | DeleteBatch() | StartChildren() | CancelChildren() | JoinStages():
            raise ValueError(f"{type(work).__name__} is no message about a job")
        case _:
            assert_never(work)


def scope_of(verb: str) -> Scope:
    """What its asker must be allowed."""
    return Scope.SUBMIT if verb in OF_SUBMITTERS else Scope.ADMIN


def a_turn(work: Work) -> int:
    return DELETED_A_TURN if isinstance(work, DeleteJobs | DeleteBatch) else A_TURN
