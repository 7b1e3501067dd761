"""What outlives a restore: the mark on a copy that came out of a backup, numbers that are never given again, and
the record of drills.

A copy is marked before it is put in place, and the mark goes in the transaction that voids its leases: whatever
happens in between, no server goes on as if nothing had been lost.

How far numbers are moved on is decided by the effect (`actors/effects/recovery.py`).
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from blobforge.job import Job
from blobforge.store.errors import Damaged, DatabaseError
from blobforge.store.figures import Drill
from blobforge.store.sqlite import rows, sql
from blobforge.store.sqlite.check import check
from blobforge.store.sqlite.database import open_writer
from blobforge.store.sqlite.statements import Statements
from blobforge.store.workingset import WorkingSet


class Recovery:
    """Used inside the transaction that the Store has open."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    def restored_at(self) -> int | None:
        """When (ms) this database was restored, if that has not been settled yet."""
        return self._state()[0]

    def running(self) -> list[Job]:
        """Every job that holds a lease."""
        self._working.settle()
        return self._working.known([rows.job(row) for row in self._do.rows(sql.ALL_RUNNING)])

    def seconds_lost(self, *, now: int) -> int:
        """How long before `now` (ms) the newest record is: to be asked before anything is written."""
        return max(0, now - self._number(sql.NEWEST_RECORD)) // 1000

    def settle(self, *, ids: int, attempts: int, now: int) -> None:
        """Void the leases that lost attempts could still complete with, move all numbers of jobs and of attempts on
        by so many, and take the mark off."""
        self._working.forget()
        self._do.rows(sql.VOID_LATE_LEASES, (now,))
        self._do.rows(sql.FORGET_INSTANCES)  # the processes that live may have registered since
        self._do.rows(sql.SEED_IDS, ("jobs", "jobs"))
        self._do.rows(sql.SKIP_IDS, (ids,))
        highest = max(self._number(sql.HIGHEST_ATTEMPT), self._state()[1])
        self._do.rows(sql.END_RECOVERY, (highest + attempts,))

    def record_drill(self, drill: Drill, *, kept: int) -> None:
        """Record it, and keep so many of the latest ones."""
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


def prepare(path: Path, *, now: int) -> None:
    """Migrate the copy, mark it as restored at `now` (ms), check all of it, and have it on the disk.

    Afterwards it is one file with nothing beside it. Raises Damaged, or DatabaseError (a newer schema, a full disk).
    """
    try:
        connection = open_writer(path)
    except DatabaseError as error:
        if isinstance(error.__cause__, (apsw.CorruptError, apsw.NotADBError)):
            raise Damaged(f"SQLite says: {error.__cause__}.") from error
        raise
    try:
        connection.execute(sql.MARK_RESTORED, (now,))
        connection.execute(sql.CHECKPOINT).fetchall()
    except apsw.Error as error:
        raise DatabaseError(f"cannot prepare the restored database {path}: {error}") from error
    finally:
        connection.close()
    findings = check(path)
    if findings:
        more = f" (and {len(findings) - 3} more findings)" if len(findings) > 3 else ""
        raise Damaged(" ".join(findings[:3]) + more)
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
