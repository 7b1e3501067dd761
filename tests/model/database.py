"""The database as plain data, to be held against the model; and a copy of it that can be put back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

from blobforge.store.database import migrate, open_writer
from blobforge.store.invariants import INVARIANTS
from tests.model.world import Job, World

_JOBS = """
    SELECT id, type, source_hash, status, priority, max_attempts, source_size, attempt, attempts, losses, worker_id,
           lease, completed_at, not_before, last_error, output_key, result, progress,
           CASE status WHEN 'running' THEN heartbeat_at END
      FROM jobs"""
_ATTEMPTS = "SELECT job_id, attempt, worker_id, lease, started_at, ended_at, outcome FROM attempts"
_WORKERS = "SELECT id, type, status, enabled, drain, registered, last_heartbeat, token_id, secret_hash FROM workers"
_FILES = "SELECT key, size, sha256, checked_at IS NOT NULL FROM files"
_DOOMED = "SELECT key, state, due_at, tries, epoch FROM doomed_objects"
_UNDOS = "SELECT token, job_id, was, became, at FROM undos"
_TAGS = "SELECT job_id, tag FROM job_tags"

Row = tuple[Any, ...]


def opened(path: Path | None) -> apsw.Connection:
    """The database on disk as the server opens it; or in memory, with the same schema."""
    if path is not None:
        return open_writer(path)
    connection = apsw.Connection(":memory:")
    connection.execute("PRAGMA foreign_keys=ON")
    migrate(connection)
    return connection


def copied(source: apsw.Connection) -> apsw.Connection:
    """A copy in memory."""
    copy = apsw.Connection(":memory:")
    overwrite(copy, source)
    return copy


def overwrite(target: apsw.Connection, source: apsw.Connection) -> None:
    with target.backup("main", source, "main") as backup:
        backup.step()


def held(db: apsw.Connection) -> dict[str, set[Row]]:
    """What the database holds; of a reason that only people read, that there is one."""
    jobs = {(*row[:14], row[14] is not None, *row[15:]) for row in db.execute(_JOBS)}
    return {
        "jobs": jobs,
        "attempts": set(db.execute(_ATTEMPTS)),
        "workers": set(db.execute(_WORKERS)),
        "files": set(db.execute(_FILES)),
        "doomed": set(db.execute(_DOOMED)),
        "undos": set(db.execute(_UNDOS)),
        "tags": set(db.execute(_TAGS)),
    }


def should_hold(world: World) -> dict[str, set[Row]]:
    """The same of the model."""
    jobs = world.jobs.values()
    return {
        "jobs": {_job(job) for job in jobs},
        "attempts": {
            (job.id, number, each.worker, each.lease, each.started_at, each.ended_at, each.outcome)
            for job in jobs
            for number, each in job.history.items()
        },
        "workers": {
            (each.id, each.type, each.status, each.enabled, each.drain, each.registered, each.seen, each.token,
             each.secret)
            for each in world.workers.values()
        },
        "files": {(key, each.size, each.sha256, int(each.checked)) for key, each in world.files.items()},
        "doomed": {(key, each.state, each.due_at, each.tries, each.epoch) for key, each in world.doomed.items()},
        "undos": {(*key, *undo) for key, undo in world.undos.items()},
        "tags": {(job.id, tag) for job in jobs for tag in job.tags},
    }  # fmt: skip


def _job(job: Job) -> Row:
    return (
        job.id, job.type, job.hash, job.status, job.priority, job.max_attempts, job.size, job.attempt, job.attempts,
        job.losses, job.worker, job.lease, job.completed_at, job.not_before, job.error is not None, job.output,
        job.result, job.progress, job.beat if job.status == "running" else None,
    )  # fmt: skip


def differences(db: apsw.Connection, world: World) -> list[str]:
    """What is in one and not in the other; empty when they are the same."""
    found = []
    are, should = held(db), should_hold(world)
    for table, rows in are.items():
        found += [f"{table}: the database has {row}" for row in rows - should[table]]
        found += [f"{table}: the model has {row}" for row in should[table] - rows]
    return found


def broken(db: apsw.Connection) -> list[str]:
    """Invariants that do not hold, with the first offender of each."""
    found = []
    for invariant in INVARIANTS:
        row = db.execute(invariant.query).fetchone()
        if row is not None:
            found.append(f"{invariant.broken}: {row[0]}")
    return found
