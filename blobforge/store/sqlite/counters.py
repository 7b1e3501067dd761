"""The kept counters, and which ids each hour has made. State owned here: what changed about them in the transaction
that is open.

Changes are gathered while effects run and written once, just before COMMIT: a batch of a hundred completions adds to
each counter once. An effect that is rolled back to its savepoint takes its share with it (`part`, `undo_part`).
"""

from __future__ import annotations

from typing import Any

import apsw

from blobforge.forecast import bucket_of
from blobforge.job import Job, JobStatus, Outcome
from blobforge.store.figures import HOUR_MS, KEPT, SUBMITTED, WEEK_MS, WEEKS_KEPT, WORKER_HOURS_KEPT
from blobforge.store.sqlite import sql
from blobforge.worker import WorkerStatus

_FAILING = frozenset({JobStatus.FAILED, JobStatus.DEAD})


class _Changes:
    """`counts`: by how much each counter, (kind, its key), has changed. `hours`: the first and last id of each."""

    __slots__ = ("counts", "hours")

    def __init__(self) -> None:
        self.counts: dict[tuple[Any, ...], int] = {}
        self.hours: dict[int, tuple[int, int]] = {}

    def add(self, key: tuple[Any, ...], n: int) -> None:
        self.counts[key] = self.counts.get(key, 0) + n

    def made(self, hour: int, first: int, last: int) -> None:
        known = self.hours.get(hour)
        self.hours[hour] = (first, last) if known is None else (min(first, known[0]), max(last, known[1]))

    def take_in(self, other: _Changes) -> None:
        for key, n in other.counts.items():
            self.add(key, n)
        for hour, (first, last) in other.hours.items():
            self.made(hour, first, last)


class Counters:
    """Used by the Store that has the transaction open."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection
        self._now = _Changes()
        self._outer: list[_Changes] = []  # of the transaction, and of the savepoints around the one that is open

    def job(self, job: Job, change: int) -> None:
        """There is one more (+1) or one less (-1) such job, as it stands."""
        self._now.add(("job", job.status, job.type, job.priority), change)
        if job.failure is not None and job.status in _FAILING:
            self._now.add(("failure", job.failure, job.status), change)

    def worker(self, status: WorkerStatus, change: int) -> None:
        self._now.add(("worker", status), change)

    def submitted(self, job: Job) -> None:
        """A new job is there, under its id."""
        self._now.add(("happening", job.created_at // 1000, job.type, SUBMITTED), +1)
        self.made(job)

    def made(self, job: Job) -> None:
        """A job is there under its id, and was made in its hour."""
        self._now.made(job.created_at // HOUR_MS, job.id, job.id)

    def ended(self, type_: str, worker_id: str, outcome: Outcome, *, ran_ms: int, now: int) -> None:
        """An attempt ended."""
        if outcome is Outcome.COMPLETED:
            self._now.add(("duration", now // WEEK_MS, type_, bucket_of(ran_ms)), +1)
        self._now.add(("happening", now // 1000, type_, outcome), +1)
        self._now.add(("worker rate", now // HOUR_MS, worker_id, outcome), +1)

    def ended_long_ago(self, type_: str, worker_id: str, outcome: Outcome, *, ran_ms: int, at: int, now: int) -> None:
        """An attempt that was not counted when it ended, as far as such are kept."""
        if outcome is Outcome.COMPLETED and at // WEEK_MS > now // WEEK_MS - WEEKS_KEPT:
            self._now.add(("duration", at // WEEK_MS, type_, bucket_of(ran_ms)), +1)
        if at // HOUR_MS >= now // HOUR_MS - WORKER_HOURS_KEPT:
            self._now.add(("worker rate", at // HOUR_MS, worker_id, outcome), +1)

    # --- with the Store's transactions and savepoints

    def begin(self) -> None:
        """A transaction begins: nothing has changed in it."""
        self._now = _Changes()
        self._outer.clear()

    def part(self) -> None:
        """A savepoint begins."""
        self._outer.append(self._now)
        self._now = _Changes()

    def keep_part(self) -> None:
        part, self._now = self._now, self._outer.pop()
        self._now.take_in(part)

    def undo_part(self) -> None:
        self._now = self._outer.pop()

    def write(self) -> None:
        """Write all changes of the transaction, each counter once."""
        for (kind, *key), n in self._now.counts.items():
            if n:
                self._write(kind, key, n)
        for hour, (first, last) in self._now.hours.items():
            self._db.execute(sql.NOTE_HOUR, (hour, first, last))

    def _write(self, kind: str, key: list[Any], n: int) -> None:
        match kind:
            case "job" if n > 0:
                self._db.execute(sql.ADD_JOB_COUNT, (*key, n))
            case "job":
                self._db.execute(sql.TAKE_JOB_COUNT, (-n, *key))
            case "failure" if n > 0:
                self._db.execute(sql.ADD_FAILURE_COUNT, (*key, n))
            case "failure":
                self._db.execute(sql.TAKE_FAILURE_COUNT, (-n, *key))
            case "worker" if n > 0:
                self._db.execute(sql.ADD_WORKER_COUNT, (*key, n))
            case "worker":
                self._db.execute(sql.TAKE_WORKER_COUNT, (-n, *key))
            case "duration":
                self._db.execute(sql.ADD_DURATION, (*key, n))
            case "worker rate":
                self._db.execute(sql.ADD_WORKER_RATE, (*key, n))
            case _:
                second, type_, what = key
                for step in KEPT:
                    self._db.execute(sql.ADD_HAPPENING, (step, second // step, type_, what, n))
