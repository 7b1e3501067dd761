"""The database as plain data, to be held against the model; and a copy of it that can be put back."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import apsw

from blobforge.job import LARGEST_RESULT
from blobforge.store.sqlite.database import migrate, open_writer
from blobforge.store.sqlite.invariants import INVARIANTS
from tests.model.world import World
from tests.model.world.things import INSTALLATION, Job

_JOBS = """
    SELECT id, type, source_hash, status, priority, max_attempts, source_size, attempt, attempts, losses, worker_id,
           lease, completed_at, not_before, last_error IS NOT NULL, output_key,
           coalesce(result, (SELECT r.result FROM results AS r WHERE r.job_id = jobs.id AND r.attempt =
                             CASE status WHEN 'completed' THEN jobs.attempt ELSE kept_attempt END)), progress,
           CASE status WHEN 'running' THEN heartbeat_at END, kept_attempt, replaced, releases, avoid, avoid_until
      FROM jobs"""
# Of an attempt that was lost or revoked, the words are the coordinator's own.
_ATTEMPTS = """
    SELECT job_id, attempt, worker_id, lease, started_at, ended_at, outcome,
           CASE outcome WHEN 'failed' THEN error END, CASE WHEN outcome IN ('failed', 'released') THEN kind END
      FROM attempts"""
_WORKERS = """
    SELECT id, type, status, enabled, drain, registered, last_heartbeat, token_id, secret_hash, instance, contested_at
      FROM workers"""
_FILES = "SELECT key, size, sha256, checked_at IS NOT NULL, keeping, kept FROM files"
_DOOMED = "SELECT key, state, due_at, tries, epoch, again FROM doomed_objects"
_UNDOS = "SELECT token, job_id, CASE WHEN was LIKE '{%' THEN '{' ELSE was END, became, at FROM undos"
_TAGS = "SELECT job_id, tag FROM job_tags"
_JOB_COUNTS = "SELECT status, type, priority, n FROM job_counts WHERE n > 0"
_WORKER_COUNTS = "SELECT status, n FROM worker_counts WHERE n > 0"
_TOKENS = "SELECT id, name, hash, scopes = 'admin', origin = 'start', last_used_at FROM tokens"
_USERS = "SELECT id, issuer, subject, name, groups, is_admin, last_login_at FROM users"
_SESSIONS = "SELECT hash, user_id, token_id, seen_at, checked_at, expires_at FROM sessions"
_KEPT = "SELECT subject, key, fingerprint, created_at FROM idempotency"
_AUDITS = "SELECT at, actor, action, subject FROM audit ORDER BY id"
_DRILLS = "SELECT started_at, ok FROM backup_drills ORDER BY id"

Row = tuple[Any, ...]


@cache
def _empty() -> apsw.Connection:
    """A database with the schema, and nothing in it: copying it is quicker than migrating anew."""
    connection = apsw.Connection(":memory:")
    migrate(connection)
    connection.execute("INSERT INTO installation (one, id) VALUES (1, ?)", (INSTALLATION,))
    return connection


def opened(path: Path | None) -> apsw.Connection:
    """The database on disk as the server opens it; or in memory, with the same schema."""
    if path is not None:
        connection = open_writer(path)
        connection.execute("UPDATE installation SET id = ?", (INSTALLATION,))
        return connection
    connection = copied(_empty())
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def copied(source: apsw.Connection) -> apsw.Connection:
    """A copy in memory."""
    copy = apsw.Connection(":memory:")
    overwrite(copy, source)
    return copy


def overwrite(target: apsw.Connection, source: apsw.Connection) -> None:
    with target.backup("main", source, "main") as backup:
        backup.step()


def held(db: apsw.Connection) -> dict[str, Any]:
    """What the database holds: rows, in no order but for those that are a log."""
    return {
        "jobs": set(db.execute(_JOBS)),
        "attempts": set(db.execute(_ATTEMPTS)),
        "workers": set(db.execute(_WORKERS)),
        "files": set(db.execute(_FILES)),
        "doomed": set(db.execute(_DOOMED)),
        "undos": set(db.execute(_UNDOS)),
        "tags": set(db.execute(_TAGS)),
        "job counts": set(db.execute(_JOB_COUNTS)),
        "worker counts": set(db.execute(_WORKER_COUNTS)),
        "tokens": set(db.execute(_TOKENS)),
        "users": set(db.execute(_USERS)),
        "sessions": set(db.execute(_SESSIONS)),
        "kept answers": set(db.execute(_KEPT)),
        "audit": list(db.execute(_AUDITS)),
        "drills": list(db.execute(_DRILLS)),
    }


def should_hold(world: World) -> dict[str, Any]:
    """The same of the model."""
    jobs = world.jobs.values()
    job_counts = Counter((job.status, job.type, job.priority) for job in jobs)
    worker_counts = Counter(worker.status for worker in world.workers.values())
    return {
        "jobs": {_job(job) for job in jobs},
        "attempts": {
            (job.id, number, each.worker, each.lease, each.started_at, each.ended_at, each.outcome, each.error,
             each.kind)
            for job in jobs
            for number, each in job.history.items()
        },
        "workers": {
            (each.id, each.type, each.status, each.enabled, each.drain, each.registered, each.seen, each.token,
             each.secret, each.instance, each.contested_at)
            for each in world.workers.values()
        },
        "files": {
            (key, each.size, each.sha256, int(each.checked), int(each.keeping), each.kept)
            for key, each in world.files.items()
        },
        "doomed": {
            (key, each.state, each.due_at, each.tries, each.epoch, int(each.again))
            for key, each in world.doomed.items()
        },
        "undos": {(*key, *undo) for key, undo in world.undos.items()},
        "tags": {(job.id, tag) for job in jobs for tag in job.tags},
        "job counts": {(*key, n) for key, n in job_counts.items()},
        "worker counts": set(worker_counts.items()),
        "tokens": {
            (id_, each.name, each.hash, each.admin, each.of_the_start, each.used_at)
            for id_, each in world.tokens.items()
        },
        "users": {
            (each.id, *who, each.name, json.dumps(each.groups, separators=(",", ":")), each.admin, each.last_login_at)
            for who, each in world.people.items()
        },
        "sessions": {
            (hash_, each.user, each.token, each.seen_at, each.checked_at, each.expires_at)
            for hash_, each in world.sessions.items()
        },
        "kept answers": {(*key, each.fingerprint, each.at) for key, each in world.kept.items()},
        "audit": [tuple(each) for each in world.audits],
        "drills": world.drills,
    }  # fmt: skip


def _job(job: Job) -> Row:
    return (
        job.id, job.type, job.hash, job.status, job.priority, job.max_attempts, job.size, job.attempt, job.attempts,
        job.losses, job.worker, job.lease, job.completed_at, job.not_before, job.error is not None, job.output,
        job.result, job.progress, job.beat if job.status == "running" else None, job.kept_attempt, _replaced(job),
        job.releases, json.dumps(job.avoid, separators=(",", ":")) if job.avoid else None, job.avoid_until,
    )  # fmt: skip


def _replaced(job: Job) -> str | None:
    if job.replaced is None:
        return None
    said = dict(zip(("attempt", "output_key", "result"), job.replaced, strict=True))
    if isinstance(result := said["result"], str) and len(result) > LARGEST_RESULT:
        said |= {"result": None, "size": len(result)}
    return json.dumps(said, separators=(",", ":"), ensure_ascii=False)


def differences(db: apsw.Connection, world: World) -> list[str]:
    """What is in one and not in the other; empty when they are the same."""
    are, should = held(db), should_hold(world)
    if are == should:
        return []
    found = []
    for table, rows in are.items():
        found += [f"{table}: the database has {row}" for row in rows if row not in should[table]]
        found += [f"{table}: the model has {row}" for row in should[table] if row not in rows]
    return found or ["the logs are in another order"]


def broken(db: apsw.Connection) -> list[str]:
    """Invariants that do not hold, with the first offender of each."""
    found = []
    for invariant in INVARIANTS:
        row = db.execute(invariant.query).fetchone()
        if row is not None:
            found.append(f"{invariant.broken}: {row[0]}")
    return found
