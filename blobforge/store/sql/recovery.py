"""What outlives a restore: numbers that are never given again, and the record of drills; and how a restored copy
loses its mark.

How far numbers are moved on is decided by the effect (`actors/effects/recovery.py`).
"""

from __future__ import annotations

from blobforge.job import Job
from blobforge.store.figures import Drill
from blobforge.store.sql import rows, sql
from blobforge.store.sql.running import Statements
from blobforge.store.workingset import WorkingSet

_NUMBERED = (
    "jobs", "tokens", "users", "audit", "backup_drills", "operations", "batches", "canaries", "webhooks",
    "deliveries",
)  # fmt: skip


class Recovery:
    """Used inside the transaction that the Store has open."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    def restored_at(self) -> int | None:
        return self._state()[0]

    def running(self, *, limit: int) -> list[Job]:
        self._working.settle()
        return self._working.known([rows.job(row) for row in self._do.rows(sql.SOME_RUNNING, (limit,))])

    def seconds_lost(self, *, now: int) -> int:
        with self._do.patience():
            return max(0, now - self._number(sql.NEWEST_RECORD)) // 1000

    def settle(self, *, ids: int, attempts: int, now: int) -> None:
        self._working.forget()
        with self._do.patience():  # with all jobs, which are looked through
            self._do.rows(sql.VOID_LATE_LEASES, (now,))
            highest = max(self._number(sql.HIGHEST_ATTEMPT), self._state()[1])
        self._do.rows(sql.FORGET_INSTANCES)  # the processes that live may have registered since
        for table in _NUMBERED:  # of which there may have been the first since
            self._do.rows(sql.SEED_IDS, (table, table))
        self._do.rows(sql.SKIP_IDS, (ids,))
        self._do.rows(sql.END_RECOVERY, (highest + attempts,))

    def record_drill(self, drill: Drill, *, kept: int) -> None:
        self._do.rows(
            sql.INSERT_DRILL, (drill.started_at, drill.ended_at, int(drill.ok), drill.proven_until, drill.detail)
        )
        self._do.rows(sql.TRIM_DRILLS, (kept,))

    def _state(self) -> tuple[int | None, int]:
        row = self._do.row(sql.RECOVERY)
        assert row is not None
        return row[0], row[1]

    def _number(self, statement: str) -> int:
        return self._do.number(statement)
