"""The kept counters. State owned here: what changed about them in the transaction that is open.

Changes are gathered while effects run and written once, just before COMMIT: a batch of a hundred completions adds to
each counter once. An effect that is rolled back to its savepoint takes its share with it (`mark`, `undo_to`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import apsw

from blobforge.forecast import bucket_of
from blobforge.job import Job, JobStatus, Outcome
from blobforge.store import sql
from blobforge.worker import WorkerStatus

HOUR_MS = 3_600_000
WEEK_MS = 7 * 86_400_000
SUBMITTED = "submitted"  # beside the outcomes of attempts
# The widths of the slots that happenings and depths are kept in, and for how long each (seconds): a little more than
# what a chart of that width shows (1 h, 24 h, 7 d).
KEPT = {60: 2 * 3600, 900: 26 * 3600, 3600: 8 * 86_400}
_FAILING = frozenset({JobStatus.FAILED, JobStatus.DEAD})


class Counters:
    """Used by the Store that has the transaction open."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection
        # (kind, key, +1 or -1), in the order in which they happened.
        self._changes: list[tuple[str, tuple[Any, ...], int]] = []

    def job(self, job: Job, change: int) -> None:
        """There is one more (+1) or one less (-1) such job, as it stands."""
        self._changes.append(("job", (job.status, job.type, job.priority), change))
        if job.failure is not None and job.status in _FAILING:
            self._changes.append(("failure", (job.failure, job.status), change))

    def worker(self, status: WorkerStatus, change: int) -> None:
        self._changes.append(("worker", (status,), change))

    def submitted(self, job: Job) -> None:
        self._changes.append(("happening", (job.created_at // 1000, job.type, SUBMITTED), +1))

    def ended(self, type_: str, worker_id: str, outcome: Outcome, *, ran_ms: int, now: int) -> None:
        """An attempt ended."""
        if outcome is Outcome.COMPLETED:
            self._changes.append(("duration", (now // WEEK_MS, type_, bucket_of(ran_ms)), +1))
        self._changes.append(("happening", (now // 1000, type_, outcome), +1))
        self._changes.append(("worker rate", (now // HOUR_MS, worker_id, outcome), +1))

    def mark(self) -> int:
        """Where to go back to."""
        return len(self._changes)

    def undo_to(self, mark: int) -> None:
        del self._changes[mark:]

    def write(self) -> None:
        """Write all changes of the transaction, each counter once."""
        totals: Counter[tuple[str, tuple[Any, ...]]] = Counter()
        for kind, key, change in self._changes:
            totals[kind, key] += change
        for (kind, key), n in totals.items():
            if n:
                self._write(kind, key, n)

    def _write(self, kind: str, key: tuple[Any, ...], n: int) -> None:
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
