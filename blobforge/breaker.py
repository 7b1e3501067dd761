"""Whether a whole type of jobs is broken: failures in a row, of one cause, of different documents on most workers.

Then it is neither the document nor the machine, and the type is paused, with one job let through now and then.
docs/fleet.md explains it.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from blobforge.job import Job
from blobforge.jobtype import TypeSettings
from blobforge.spans import due_in

SERVER = "server"  # the name by which a breaker pauses its type
HIGHEST = 100  # failures in a row that may be asked for: all of them are given back in one transaction
KEPT_TIMES = 2  # so many times as many failures as are asked for are kept of a row, the latest
LONGEST_MS = 7 * 86_400_000  # of a row: completions are counted by the hour for a day longer
FIRST_PAUSE_MS = 60_000  # before the first job that is let through; each that fails doubles it
LONGEST_PAUSE_MS = 3_600_000
OTHERS_FIRST_MS = 3_600_000  # what may be let through is left so long to machines that are in no quarantine
HOUR_MS = 3_600_000
MOST_NAMED = 3  # workers

CompletedByHour = Mapping[int, int]  # jobs of a type that were completed, by hour since the epoch


class FailedAttempt(msgspec.Struct, frozen=True, array_like=True):
    """`fresh`: its job had not failed before the row began."""

    job_id: int
    attempt: int
    worker_id: str
    fresh: bool


class RowOfFailures(msgspec.Struct, frozen=True, omit_defaults=True):
    """Failures of one `cause` (its number) in a row, since `since` (ms), when so many were `completed` in that hour.

    Once it has paused the type: `probe_at` is when the next job is let through, `probe` the last one that was (job,
    attempt), and `failed` how many of these have failed. `overruled`: the type was resumed by hand, and this cause
    pauses it no more until a job is completed.
    """

    cause: int
    since: int
    completed: int = 0
    failures: tuple[FailedAttempt, ...] = ()
    probe_at: int | None = None
    probe: tuple[int, int] | None = None
    failed: int = 0
    overruled: bool = False

    @property
    def hour(self) -> int:
        """From this one on it is of interest what was completed."""
        return self.since // HOUR_MS

    @property
    def workers(self) -> list[str]:
        """Those that failed, each once."""
        return list(dict.fromkeys(each.worker_id for each in self.failures))


def goes_on(row: RowOfFailures, completed: int, *, now: int) -> bool:
    """Whether the row is still of interest, where so many jobs of the type were completed from its hour on. Not where
    that cannot be known: it is too long ago, or of an hour that is still to come, since the clock was set back, and
    completions are counted by the hour."""
    return now - row.since <= LONGEST_MS and row.hour <= now // HOUR_MS and completed == row.completed


def limit(settings: TypeSettings, default: int) -> int:
    """How many failures in a row pause the type; 0: none do."""
    return default if settings.breaker is None else settings.breaker


def is_open(settings: TypeSettings) -> bool:
    """Whether the type is paused by its breaker."""
    return settings.paused and settings.paused_by == SERVER


def after_failure(
    row: RowOfFailures | None, job: Job, *, cause: int, completed: CompletedByHour, most: int, now: int
) -> RowOfFailures:
    """The row once `job` has failed, as it was while it ran: one more of it, or the first one of another."""
    assert job.worker_id is not None
    if row is not None and row.cause == cause and goes_on(row, _since(completed, row.hour), now=now):
        if row.overruled:
            return row
    else:
        row = RowOfFailures(cause, now, _since(completed, now // HOUR_MS))
    fresh = job.failure is None or any(each.fresh and each.job_id == job.id for each in row.failures)
    failed = (*row.failures, FailedAttempt(job.id, job.attempt, job.worker_id, fresh))
    return replace(row, failures=failed[-KEPT_TIMES * most :])


def may_trip(row: RowOfFailures, *, most: int) -> bool:
    """Whether there are enough failures, of enough documents: a document that fails each of its tries, and one that
    had failed before, say nothing about its type."""
    fresh = [each.job_id for each in row.failures if each.fresh]
    return len(fresh) >= most and 2 * len(set(fresh)) > most


def trips(row: RowOfFailures, *, most: int, online: int) -> bool:
    """Whether the type is to be paused, when so many workers for it are `online` and sound: most of them have failed,
    or, where there are many, as many as so few failures can show."""
    return may_trip(row, most=most) and 2 * len(row.workers) > min(most, online)


def tripped(row: RowOfFailures, *, now: int) -> RowOfFailures:
    """The row of a type that is paused for it; what it has cost is given back, and not of interest any more."""
    return replace(row, failures=(), probe_at=now + FIRST_PAUSE_MS)


def overruled(row: RowOfFailures, completed: CompletedByHour, *, now: int) -> RowOfFailures:
    return RowOfFailures(row.cause, now, _since(completed, now // HOUR_MS), overruled=True)


def let_through(row: RowOfFailures, job: Job, *, now: int) -> RowOfFailures:
    """The row when this job, as it was started, was let through."""
    return replace(row, probe=(job.id, job.attempt), probe_at=now + _pause(row.failed))


def after_probe(row: RowOfFailures, *, now: int) -> RowOfFailures:
    """The job that was let through has failed: the next one is after a longer pause."""
    return replace(row, failed=row.failed + 1, probe_at=now + _pause(row.failed + 1))


def probe_in(row: RowOfFailures, *, now: int) -> int | None:
    """In how long (ms) the next job may be let through, once the row has paused the type; None: it has not."""
    return due_in(row.probe_at, now=now, longest=_pause(row.failed)) if row.probe_at is not None else None


def is_left_to_others(row: RowOfFailures, *, now: int) -> bool:
    """Whether a machine in quarantine is not to have what may be let through, as long as others are there: it would
    fail that, whether the type is well or not. The others may be busy for long, or have nothing of what the jobs
    require, and a paused type has no other trial for the machine: so they are given an hour to take it."""
    if row.probe_at is None:
        return True
    longest = _pause(row.failed) + OTHERS_FIRST_MS
    return due_in(row.probe_at + OTHERS_FIRST_MS, now=now, longest=longest) > 0


def _pause(failed: int) -> int:
    return min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS << min(failed, 16))


def _since(completed: CompletedByHour, hour: int) -> int:
    return sum(n for at, n in completed.items() if at >= hour)


def reason(row: RowOfFailures, cause: str) -> str:
    """Why the type is paused, in words, for people."""
    documents = len({each.job_id for each in row.failures})
    names = row.workers
    named = ", ".join(names[:MOST_NAMED])
    if len(names) > MOST_NAMED:
        named += f" and {len(names) - MOST_NAMED} more"
    return (
        f"{len(row.failures)} attempts in a row failed with {cause}, of {documents} documents on {named}, and none "
        "was completed in between"
    )
