"""What is kept for the dashboard beside the counters: depths of the queue, and what can be undone; and how long all
of it is kept.

All of it is bounded, and none of it is needed to be correct about jobs.
"""

from __future__ import annotations

from blobforge import failures
from blobforge.job import JobStatus
from blobforge.store.figures import HOUR_MS, KEPT, ONLINE, WEEK_MS, WEEKS_KEPT, WORKER_HOURS_KEPT, Backfilling
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.statements import Statements
from blobforge.store.workingset import WorkingSet

CAUSES_KEPT_MS = 90 * 86_400_000  # without a job that shows it
UNDO_MS = 600_000  # how long an action can be undone
UNDOS_AT_ONCE = 10_000  # forgotten in one transaction, each minute: some 20 ms
# Ended jobs are not in the queue; the dead wait for a person.
_SAMPLED = frozenset({JobStatus.UPLOADING, JobStatus.PENDING, JobStatus.RUNNING, JobStatus.FAILED, JobStatus.DEAD})


class Rollups:
    """Used inside the transaction that the Store has open."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    # --- what an older database has not kept

    def backfill(self) -> Backfilling | None:
        """What is still to be filled in; None: nothing."""
        row = self._do.row(sql.BACKFILL)
        return Backfilling(row[0], row[1], bool(row[2]), row[3]) if row else None

    def begin_backfill(self, *, until: int) -> None:
        """What ended up to then (ms) has not been counted; a time that was said before stays."""
        self._do.rows(sql.BEGIN_BACKFILL, (until,))

    def backfilled(self, *, next_job: int | None) -> None:
        """All jobs before that one are done; None: all."""
        if next_job is None:
            self._do.rows(sql.END_BACKFILL)
        else:
            self._do.rows(sql.BACKFILLED, (next_job,))

    # --- depths

    def sample_depths(self, *, now: int) -> None:
        """Keep how many jobs of each type and status there are now; the last sample of a slot stands for it."""
        self._working.settle()
        depths: dict[tuple[str, str], int] = {}
        for status, type_, _, n in self._do.rows(sql.JOB_COUNTS):
            if status in _SAMPLED:
                depths[type_, status] = depths.get((type_, status), 0) + n
        online = sum(n for status, n in self._do.rows(sql.WORKER_COUNTS) if status != "offline")
        for step in KEPT:
            slot = now // 1000 // step
            self._do.rows(sql.CLEAR_DEPTHS, (step, slot))
            self._do.rows(sql.SAVE_DEPTH, (step, slot, "", ONLINE, online))
            for (type_, status), n in depths.items():
                self._do.rows(sql.SAVE_DEPTH, (step, slot, type_, status, n))

    # --- undo

    def undos(self, token: str, *, limit: int, now: int) -> list[tuple[int, str, str, int]]:
        """(job, what it was, what it became, when) of what can still be undone by this token."""
        self._working.settle()
        found = self._do.rows(sql.UNDOS, (token, now - UNDO_MS, limit))
        return [(job_id, was, became, at) for job_id, was, became, at in found]

    def purge_undos(self, *, now: int) -> None:
        """Forget some of the undos that are too old. Few enough to hold up no other message: they come by the
        million."""
        self._do.rows(sql.PURGE_UNDOS, (now - UNDO_MS, UNDOS_AT_ONCE))

    def delete_undo(self, token: str, job_id: int) -> None:
        self._do.rows(sql.DELETE_UNDO, (token, job_id))

    # --- upkeep

    def purge(self, *, now: int) -> None:
        """Forget what has been kept long enough."""
        self._working.forget()
        for step, seconds in KEPT.items():
            before = (now // 1000 - seconds) // step
            self._do.rows(sql.PURGE_HAPPENINGS, (step, before))
            self._do.rows(sql.PURGE_DEPTHS, (step, before))
        self._do.rows(sql.PURGE_DURATIONS, (now // WEEK_MS - WEEKS_KEPT + 1,))
        self._do.rows(sql.PURGE_WORKER_RATES, (now // HOUR_MS - WORKER_HOURS_KEPT,))
        self._do.rows(sql.FORGET_TYPES)
        self._do.rows(sql.PURGE_FAILURES, (now - CAUSES_KEPT_MS,))
        if self._do.number(sql.COUNT_FAILURES) >= failures.MOST_GROUPS:
            self._do.rows(sql.FORGET_FAILURES, (failures.MOST_GROUPS // 4,))
        self._do.rows(sql.FORGET_FAILURE_COUNTS)
