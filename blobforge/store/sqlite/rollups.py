"""What the writes keep for the dashboard beside the counters: causes of failures, depths of the queue, what workers
ask for, and what can be undone. State owned here: a cache of the types that workers have asked for.

All of it is bounded, and none of it is needed to be correct about jobs.
"""

from __future__ import annotations

import apsw

from blobforge import failures
from blobforge.failures import Cause
from blobforge.job import JobStatus
from blobforge.store.figures import HOUR_MS, KEPT, ONLINE, WEEK_MS, WEEKS_KEPT, WORKER_HOURS_KEPT, Backfilling
from blobforge.store.sqlite import sql
from blobforge.worker import Worker

CAUSES_KEPT_MS = 90 * 86_400_000  # without a job that shows it
UNDO_MS = 600_000  # how long an action can be undone
UNDOS_AT_ONCE = 10_000  # forgotten in one transaction, each minute: some 20 ms
LONGEST_EXAMPLE = 1000  # characters
# Ended jobs are not in the queue; the dead wait for a person.
_SAMPLED = frozenset({JobStatus.UPLOADING, JobStatus.PENDING, JobStatus.RUNNING, JobStatus.FAILED, JobStatus.DEAD})


class Rollups:
    """Used inside the transaction that the Store has open."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection
        self._asked: dict[str, set[str]] = {}

    def undone(self) -> None:
        """Something was rolled back: believe nothing that is not read again."""
        self._asked.clear()

    # --- causes of failures

    def failure(self, cause: Cause, example: str, *, now: int) -> int:
        """Count an attempt that failed of this cause; returns the number of the cause, or that of all others."""
        found = self._failure(cause.fingerprint)
        if found is None:
            if self._count_failures() >= failures.MOST_GROUPS:
                cause = Cause(failures.OTHER, "Other", f"all causes beyond the first {failures.MOST_GROUPS:,}")
                found = self._failure(cause.fingerprint)
            if found is None:
                self._db.execute(
                    sql.INSERT_FAILURE,
                    (cause.fingerprint, cause.kind, cause.place, example[:LONGEST_EXAMPLE], now, now),
                )
                return self._db.last_insert_rowid()
        self._db.execute(sql.SEE_FAILURE, (now, example[:LONGEST_EXAMPLE], found))
        return found

    def _count_failures(self) -> int:
        row = self._db.execute(sql.COUNT_FAILURES).fetchone()
        return int(row[0]) if row else 0

    def _failure(self, fingerprint: str) -> int | None:
        row = self._db.execute(sql.FAILURE_BY_FINGERPRINT, (fingerprint,)).fetchone()
        return int(row[0]) if row else None

    # --- what an older database has not kept

    def backfill(self) -> Backfilling | None:
        """What is still to be filled in; None: nothing."""
        row = self._db.execute(sql.BACKFILL).fetchone()
        return Backfilling(row[0], row[1], bool(row[2]), row[3]) if row else None

    def begin_backfill(self, *, until: int) -> None:
        """What ended up to then (ms) has not been counted; a time that was said before stays."""
        self._db.execute(sql.BEGIN_BACKFILL, (until,))

    def backfilled(self, *, next_job: int | None) -> None:
        """All jobs before that one are done; None: all."""
        if next_job is None:
            self._db.execute(sql.END_BACKFILL)
        else:
            self._db.execute(sql.BACKFILLED, (next_job,))

    # --- depths

    def sample_depths(self, *, now: int) -> None:
        """Keep how many jobs of each type and status there are now; the last sample of a slot stands for it."""
        depths: dict[tuple[str, str], int] = {}
        for status, type_, _, n in self._db.execute(sql.JOB_COUNTS):
            if status in _SAMPLED:
                depths[type_, status] = depths.get((type_, status), 0) + n
        online = sum(n for status, n in self._db.execute(sql.WORKER_COUNTS) if status != "offline")
        for step in KEPT:
            slot = now // 1000 // step
            self._db.execute(sql.CLEAR_DEPTHS, (step, slot))
            self._db.execute(sql.SAVE_DEPTH, (step, slot, "", ONLINE, online))
            for (type_, status), n in depths.items():
                self._db.execute(sql.SAVE_DEPTH, (step, slot, type_, status, n))

    # --- workers

    def note_types(self, worker: Worker, types: tuple[str, ...]) -> None:
        """The worker asks for jobs of these types."""
        if types == (worker.type,):
            return
        known = self._asked.get(worker.id)
        if known is None:
            known = self._asked[worker.id] = {row[0] for row in self._db.execute(sql.WORKER_TYPES, (worker.id,))}
        for type_ in types:
            if type_ not in known and type_ != worker.type:
                self._db.execute(sql.ADD_WORKER_TYPE, (worker.id, type_))
                known.add(type_)

    def forget_types(self, worker_id: str) -> None:
        """It starts anew, or is no more."""
        self._db.execute(sql.DELETE_WORKER_TYPES, (worker_id,))
        self._asked.pop(worker_id, None)

    # --- undo

    def save_undo(self, token: str, job_id: int, was: str, became: str, *, now: int) -> None:
        self._db.execute(sql.SAVE_UNDO, (token, job_id, was, became, now))

    def undos(self, token: str, *, limit: int, now: int) -> list[tuple[int, str, str, int]]:
        """(job, what it was, what it became, when) of what can still be undone by this token."""
        found = self._db.execute(sql.UNDOS, (token, now - UNDO_MS, limit))
        return [(job_id, was, became, at) for job_id, was, became, at in found]

    def purge_undos(self, *, now: int) -> None:
        """Forget some of what cannot be undone any more. Few enough to hold up nobody: they come by the million."""
        self._db.execute(sql.PURGE_UNDOS, (now - UNDO_MS, UNDOS_AT_ONCE))

    def delete_undo(self, token: str, job_id: int) -> None:
        self._db.execute(sql.DELETE_UNDO, (token, job_id))

    # --- upkeep

    def purge(self, *, now: int) -> None:
        """Forget what has been kept long enough."""
        for step, seconds in KEPT.items():
            before = (now // 1000 - seconds) // step
            self._db.execute(sql.PURGE_HAPPENINGS, (step, before))
            self._db.execute(sql.PURGE_DEPTHS, (step, before))
        self._db.execute(sql.PURGE_DURATIONS, (now // WEEK_MS - WEEKS_KEPT + 1,))
        self._db.execute(sql.PURGE_WORKER_RATES, (now // HOUR_MS - WORKER_HOURS_KEPT,))
        self._db.execute(sql.FORGET_TYPES)
        self._db.execute(sql.PURGE_FAILURES, (now - CAUSES_KEPT_MS,))
        if self._count_failures() >= failures.MOST_GROUPS:
            self._db.execute(sql.FORGET_FAILURES, (failures.MOST_GROUPS // 4,))
        self._db.execute(sql.FORGET_FAILURE_COUNTS)
