"""By how much the kept counters move in a transaction, made of what has changed just before it is written.

Each counter is written once, whatever moved it, and in sorted order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from blobforge.batch import GONE
from blobforge.canary import is_comparison
from blobforge.forecast import bucket_of
from blobforge.job import Job, JobStatus, Outcome
from blobforge.store.figures import (
    CAUSE,
    FRESH,
    HOUR_MS,
    KEPT,
    NARROWEST,
    QUEUED,
    RAN,
    SPLITS_KEPT,
    SUBMITTED,
    WEEK,
    WEEK_MS,
    WEEKS_KEPT,
    WORKER_HOURS_KEPT,
)
from blobforge.worker import Worker, WorkerStatus

K = TypeVar("K", bound=Hashable)
COUNTERS: Final = (
    "jobs", "tags", "batches", "converters", "deferred", "failures", "workers", "happenings",
    "worker_rates",
)  # fmt: skip
# Bytes of one source that count, so that no number of jobs makes a sum that the database cannot hold: a client may
# announce what it will.
MOST_COUNTED: Final = 2**40
_WEIGHED = frozenset({"jobs", "tags"})
_FAILING = frozenset({JobStatus.FAILED, JobStatus.DEAD})
_SOURCELESS = frozenset({JobStatus.DEAD, JobStatus.CANCELLED})  # in which a job may have ended without its source


class Ended(msgspec.Struct, frozen=True):
    """An attempt ended at `at` (ms), after `ran` ms. `counted_late`: it was not counted when it did, which is now.
    `stood` (ms): how long its job had stood in the queue, where that is known and not counted yet; `cause`: the
    number of that of its failure."""

    type: str
    worker_id: str
    outcome: Outcome
    ran: int
    at: int
    counted_late: int | None = None
    stood: int | None = None
    cause: int | None = None


class Weight(NamedTuple):
    """How many jobs, and how many bytes their sources and their results have."""

    n: int = 0
    source_bytes: int = 0
    output_bytes: int = 0

    def plus(self, other: Weight, change: int) -> Weight:
        return Weight(
            self.n + other.n * change,
            self.source_bytes + other.source_bytes * change,
            self.output_bytes + other.output_bytes * change,
        )


_NOTHING = Weight()


class Tallies(msgspec.Struct):
    """`jobs` by (status, type, priority) and `tags` by (tag,): how many, and the bytes of sources and of results; the
    others are numbers alone. `batches` by (batch, status, type), where a status is also GONE; `converters` by
    (converter, status, type, priority); `deferred`, the jobs that are not to be started yet, by (type, priority);
    `failures` by (cause, status); `workers` by (status,); `happenings` by (step, slot, type, what); `worker_rates`
    by (hour, worker, outcome). `splits` by (slot of the narrowest width, type, what, part) are fresh, until they are
    `spread` (by the same) to each width, of the type and of all (''), and to the week of `durations`, by (week, type,
    bucket), which alone is counted late. These three are one kind.

    `hours`: the first and the last id that was made in each hour.
    """

    jobs: dict[tuple[JobStatus, str, int], Weight] = {}
    tags: dict[tuple[str], Weight] = {}
    batches: dict[tuple[int, str, str], int] = {}
    converters: dict[tuple[str, JobStatus, str, int], int] = {}
    deferred: dict[tuple[str, int], int] = {}
    failures: dict[tuple[int, JobStatus], int] = {}
    workers: dict[tuple[WorkerStatus], int] = {}
    happenings: dict[tuple[int, int, str, str], int] = {}
    durations: dict[tuple[int, str, int], int] = {}
    worker_rates: dict[tuple[int, str, str], int] = {}
    splits: dict[tuple[int, str, str, int], int] = {}
    spread: dict[tuple[int, str, str, int], int] = {}
    hours: dict[int, tuple[int, int]] = {}

    def count(self, jobs: Sequence[Job], change: int) -> None:
        """These jobs are there as they are now (+1), or are so no longer (-1)."""
        alike = _alike([
            (job.status, job.type, job.priority, job.not_before is not None and job.waits_to_start, job.failure,
             job.made_by, _source_bytes(job), job.output_bytes, job.batches)
            for job in jobs
        ])  # fmt: skip
        for (status, type_, priority, deferred, failure, made_by, source, output, batches), n in alike.items():
            key = (status, type_, priority)
            # A job that was not weighed has no bytes here yet.
            weight = Weight(n) if output is None else Weight(n, n * source, n * output)
            self.jobs[key] = self.jobs.get(key, _NOTHING).plus(weight, change)
            if made_by is not None:
                made = (made_by, *key)
                self.converters[made] = self.converters.get(made, 0) + n * change
            for batch in batches:
                of_batch = (batch, status, type_)
                self.batches[of_batch] = self.batches.get(of_batch, 0) + n * change
            if deferred:
                self.deferred[type_, priority] = self.deferred.get((type_, priority), 0) + n * change
            if failure is not None and status in _FAILING:
                cause = (failure, status)
                self.failures[cause] = self.failures.get(cause, 0) + n * change

    def tagged(self, before: Job | None, after: Job | None) -> None:
        """The same of the job's tags, which count no job whose bytes are not counted yet."""
        if before is not None and after is not None and _tagged(before) == _tagged(after):
            return
        for job, change in ((before, -1), (after, +1)):
            if job is not None and job.output_bytes is not None:
                weight = Weight(1, _source_bytes(job), job.output_bytes)
                for tag in job.tags:
                    self.tags[tag,] = self.tags.get((tag,), _NOTHING).plus(weight, change)

    def gone(self, batch: int, type_: str) -> None:
        """A job of the batch is deleted, which remembers how many were."""
        key = (batch, GONE, type_)
        self.batches[key] = self.batches.get(key, 0) + 1

    def worker(self, before: Worker | None, after: Worker | None) -> None:
        """The same of a worker."""
        if before is not None:
            self.workers[before.status,] = self.workers.get((before.status,), 0) - 1
        if after is not None:
            self.workers[after.status,] = self.workers.get((after.status,), 0) + 1

    def made(self, jobs: Sequence[Job], *, submitted: bool) -> None:
        """Jobs are there under their ids; each was made in its hour, and now if they were `submitted`."""
        for job in jobs:
            hour = job.created_at // HOUR_MS
            first, last = self.hours.get(hour, (job.id, job.id))
            self.hours[hour] = (min(first, job.id), max(last, job.id))
        if submitted:
            for (at, type_), n in _alike([(job.created_at, job.type) for job in jobs]).items():
                if is_comparison(type_):
                    continue
                self._happened(at, type_, SUBMITTED, n)

    def ended(self, attempts: Sequence[Ended]) -> None:
        """Attempts ended; of one that is counted late only what is kept as long as that."""
        for ended, n in _alike(attempts).items():
            if is_comparison(ended.type):
                continue
            late, week, hour = ended.counted_late, ended.at // WEEK_MS, ended.at // HOUR_MS
            if ended.outcome is Outcome.COMPLETED and late is not None and week > late // WEEK_MS - WEEKS_KEPT:
                duration = (week, ended.type, bucket_of(ended.ran))
                self.durations[duration] = self.durations.get(duration, 0) + n
            if late is None or hour >= late // HOUR_MS - WORKER_HOURS_KEPT:
                rate = (hour, ended.worker_id, ended.outcome)
                self.worker_rates[rate] = self.worker_rates.get(rate, 0) + n
            if late is None:
                self._happened(ended.at, ended.type, ended.outcome, n)
                self._split(ended, n)

    def moved(self) -> list[tuple[str, list[tuple[Any, ...]]]]:
        """Each kind of counters that has moved, by its name here: keys and by how much, in sorted order."""
        moved: list[tuple[str, list[tuple[Any, ...]]]] = []
        for name in COUNTERS:
            counted: dict[tuple[Any, ...], Any] = getattr(self, name)
            if not counted:
                continue
            if name in _WEIGHED:
                moved.append((name, [(*key, *weight) for key, weight in sorted(counted.items()) if any(weight)]))
            else:
                moved.append((name, [(*key, n) for key, n in sorted(counted.items()) if n]))
        if self.splits or self.durations or self.spread:
            moved.append(("splits", self._splits()))
        if self.hours:
            moved.append(("hours", [(hour, *span) for hour, span in sorted(self.hours.items())]))
        return moved

    def _splits(self) -> list[tuple[int, int, str, str, int, int]]:
        """(step, slot, type, what, part, n), in sorted order."""
        found = {(FRESH, *key): n for key, n in self.splits.items()}
        found |= {(WEEK, week, of, RAN, bucket): n for (week, of, bucket), n in self.durations.items()}
        for (slot, type_, what, part), n in self.spread.items():
            at = slot * NARROWEST
            keys = [(step, at // step, of, what, part) for step in SPLITS_KEPT for of in (type_, "")]
            if what == RAN:
                keys.append((WEEK, at // WEEK, type_, RAN, part))
            for key in keys:
                found[key] = found.get(key, 0) + n
        return [(*key, n) for key, n in sorted(found.items())]

    def _happened(self, at: int, type_: str, what: str, n: int) -> None:
        for step in KEPT:
            key = (step, at // 1000 // step, type_, what)
            self.happenings[key] = self.happenings.get(key, 0) + n

    def _split(self, ended: Ended, n: int) -> None:
        slot, type_ = ended.at // 1000 // NARROWEST, ended.type
        if ended.stood is not None:
            queued = (slot, type_, QUEUED, bucket_of(ended.stood))
            self.splits[queued] = self.splits.get(queued, 0) + n
        if ended.outcome is Outcome.COMPLETED:
            ran = (slot, type_, RAN, bucket_of(ended.ran))
            self.splits[ran] = self.splits.get(ran, 0) + n
        if ended.cause is not None:
            cause = (slot, type_, CAUSE, ended.cause)
            self.splits[cause] = self.splits.get(cause, 0) + n


def _alike(things: Sequence[K]) -> Mapping[K, int]:
    """How many there are of each. A Counter of one costs several times what counting it does."""
    return Counter(things) if len(things) > 1 else dict.fromkeys(things, 1)


def _source_bytes(job: Job) -> int:
    """What its source has; what is only announced is not kept."""
    if job.status is JobStatus.UPLOADING or (job.sourceless and job.status in _SOURCELESS):
        return 0
    return min(job.source_size or 0, MOST_COUNTED)


def _tagged(job: Job) -> tuple[tuple[str, ...], int, int | None]:
    return job.tags, _source_bytes(job), job.output_bytes
