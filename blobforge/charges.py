"""What attempts have cost a job of its budgets, and what becomes of it when that is given back."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from blobforge.job import Attempt, Job, JobStatus, Outcome, ReleaseCause, RetryPolicy


def charged(job: Job, attempts: Sequence[Attempt]) -> set[int]:
    """The attempts with which the job's budgets are charged still, of its latest ones (the oldest first): the budgets
    may have been given anew since. Where it is not certain, an attempt is not among them: a release for trouble is
    charged only if there were many in a row."""
    tries, losses = job.attempts, job.losses
    found = set()
    for each in reversed(attempts):
        if each.given_back is not None:
            continue
        match each.outcome:
            case None | Outcome.COMPLETED | Outcome.FAILED | Outcome.CANCELLED if tries > 0:
                tries -= 1
                found.add(each.attempt)
            case Outcome.LOST | Outcome.REVOKED if losses > 0:
                losses -= 1
                found.add(each.attempt)
            case Outcome.RELEASED if each.kind == ReleaseCause.TROUBLE:
                losses -= 1
            case _:
                pass
    return found


def give_back(job: Job, attempt: Attempt, *, now: int) -> Job | None:
    """The job without the charge for an attempt, which it is charged with. None: it was not, or the job has come to
    its end another way."""
    if job.status in (JobStatus.COMPLETED, JobStatus.CANCELLED):
        return None
    match attempt.outcome:
        case Outcome.FAILED:
            return replace(job, attempts=job.attempts - 1, updated_at=now)
        case Outcome.LOST:
            return replace(job, losses=job.losses - 1, updated_at=now)
        case _:
            return None


def died_of(before: Job, after: Job, last: Attempt, *, given_back: bool, policy: RetryPolicy) -> bool:
    """Whether it was for what is given back now that the job has died: by its `last` attempt, which was one of these,
    or by spent budgets that are not spent `after` that."""
    if before.status is not JobStatus.DEAD or last.ended_at != before.completed_at:
        return False
    if given_back:
        return True
    if after.attempts >= after.max_attempts or after.losses >= policy.max_losses:
        return False
    if last.outcome is Outcome.LOST:
        return before.losses >= policy.max_losses
    return last.outcome is Outcome.FAILED and before.attempts >= before.max_attempts
