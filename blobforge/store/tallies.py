"""By how much the kept counters move in a transaction, made of what has changed just before it is written.

Each counter is written once, whatever moved it, and in sorted order.
"""

from __future__ import annotations

import msgspec

from blobforge.forecast import bucket_of
from blobforge.job import Job, JobStatus, Outcome
from blobforge.store.figures import HOUR_MS, KEPT, SUBMITTED, WEEK_MS, WEEKS_KEPT, WORKER_HOURS_KEPT
from blobforge.worker import Worker, WorkerStatus

_FAILING = frozenset({JobStatus.FAILED, JobStatus.DEAD})


class Ended(msgspec.Struct):
    """An attempt ended at `at` (ms), after `ran` ms. `counted_late`: it was not counted when it did, which is now."""

    type: str
    worker_id: str
    outcome: Outcome
    ran: int
    at: int
    counted_late: int | None = None


class Tallies(msgspec.Struct):
    """`jobs` by (status, type, priority); `failures` by (cause, status); `workers` by (status,); `happenings` by
    (step, slot, type, what); `durations` by (week, type, bucket); `worker_rates` by (hour, worker, outcome).

    `hours`: the first and the last id that was made in each hour.
    """

    jobs: dict[tuple[JobStatus, str, int], int] = {}
    failures: dict[tuple[int, JobStatus], int] = {}
    workers: dict[tuple[WorkerStatus], int] = {}
    happenings: dict[tuple[int, int, str, str], int] = {}
    durations: dict[tuple[int, str, int], int] = {}
    worker_rates: dict[tuple[int, str, str], int] = {}
    hours: dict[int, tuple[int, int]] = {}

    def job(self, before: Job | None, after: Job | None) -> None:
        """A job is another than it was; None: it was not there, or is no more."""
        if before is not None:
            self._job(before, -1)
        if after is not None:
            self._job(after, +1)

    def _job(self, job: Job, change: int) -> None:
        key = (job.status, job.type, job.priority)
        self.jobs[key] = self.jobs.get(key, 0) + change
        if job.failure is not None and job.status in _FAILING:
            cause = (job.failure, job.status)
            self.failures[cause] = self.failures.get(cause, 0) + change

    def worker(self, before: Worker | None, after: Worker | None) -> None:
        """The same of a worker."""
        if before is not None:
            self.workers[before.status,] = self.workers.get((before.status,), 0) - 1
        if after is not None:
            self.workers[after.status,] = self.workers.get((after.status,), 0) + 1

    def made(self, job: Job, *, submitted: bool) -> None:
        """A job is there under its id; it was made in its hour, and now if it was `submitted`."""
        hour = job.created_at // HOUR_MS
        first, last = self.hours.get(hour, (job.id, job.id))
        self.hours[hour] = (min(first, job.id), max(last, job.id))
        if submitted:
            self._happened(job.created_at, job.type, SUBMITTED)

    def ended(self, ended: Ended) -> None:
        """An attempt ended; of one that is counted late only what is kept as long as that."""
        late, week, hour = ended.counted_late, ended.at // WEEK_MS, ended.at // HOUR_MS
        if ended.outcome is Outcome.COMPLETED and (late is None or week > late // WEEK_MS - WEEKS_KEPT):
            duration = (week, ended.type, bucket_of(ended.ran))
            self.durations[duration] = self.durations.get(duration, 0) + 1
        if late is None or hour >= late // HOUR_MS - WORKER_HOURS_KEPT:
            rate = (hour, ended.worker_id, ended.outcome)
            self.worker_rates[rate] = self.worker_rates.get(rate, 0) + 1
        if late is None:
            self._happened(ended.at, ended.type, ended.outcome)

    def _happened(self, at: int, type_: str, what: str) -> None:
        for step in KEPT:
            key = (step, at // 1000 // step, type_, what)
            self.happenings[key] = self.happenings.get(key, 0) + 1
