"""A filled database as an older release left it: the migrations up to a version, and rows as that one wrote them."""

from __future__ import annotations

import json
from pathlib import Path

import apsw

from blobforge.store.sqlite.database import migrate, migrations
from tests.fixtures.local import EPOCH_MS
from tests.store.making import hash_of

JOBS = 240
DAY_MS = 86_400_000
STATUSES = ("completed", "failed", "dead", "pending", "cancelled", "uploading", "dead", "failed")
TRACEBACK = 'Traceback (most recent call last):\n  File "convert.py", line 7, in pages\nValueError: no page {n}\n'


def make(path: Path, version: int, *, jobs: int = JOBS) -> None:
    """Write the database. Times are of the days before virtual time begins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = apsw.Connection(str(path))
    migrate(db, migrations()[:version])
    db.execute("BEGIN")
    db.execute(
        "INSERT INTO workers (id, type, status, created_at, updated_at, registered, last_heartbeat)"
        " VALUES ('w1', 'pdf', 'offline', ?, ?, 1, ?)",
        (EPOCH_MS - 9 * DAY_MS, EPOCH_MS - DAY_MS, EPOCH_MS - DAY_MS),
    )
    db.execute("INSERT INTO worker_counts VALUES ('offline', 1)")
    for number in range(1, jobs + 1):
        _job(db, number)
    db.execute(
        "INSERT INTO job_counts (status, type, priority, n) SELECT status, type, priority, count(*) FROM jobs"
        " GROUP BY 1, 2, 3"
    )
    if version >= 5:
        db.execute("INSERT INTO job_hours SELECT created_at / 3600000, min(id), max(id) FROM jobs GROUP BY 1")
    db.execute("COMMIT")
    db.execute("PRAGMA journal_mode=WAL").fetchall()
    db.close()


def _job(db: apsw.Connection, number: int) -> None:
    status = STATUSES[number % len(STATUSES)]
    at = EPOCH_MS - 8 * 3_600_000 + number * 1000
    ran = status not in ("pending", "uploading")
    lost = status == "dead" and number % 3 == 0
    said = {"failed": f"no page {number}", "dead": "worker w1 was lost" if lost else f"no page {number}"}.get(status)
    ended = at + 60_000 if status in ("completed", "dead", "cancelled") else None
    db.execute(
        "INSERT INTO jobs (id, type, status, priority, source_hash, created_at, updated_at, max_attempts,"
        " source_path, tags, attempts, losses, attempt, worker_id, started_at, completed_at, not_before, last_error)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, 3, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            number, "pdf" if number % 5 else "scan", status, 1 + number % 5, hash_of(f"old {number}"), at,
            at + 60_000, f"in/{number}.pdf", json.dumps(["old"]), int(ran and not lost), int(lost), int(ran),
            "w1" if status == "completed" else None, at if ran else None, ended,
            EPOCH_MS + 3_600_000 if status == "failed" else None, said,
        ),
    )  # fmt: skip
    db.execute("INSERT INTO job_tags VALUES ('old', ?)", (number,))
    if ran:
        outcome = "lost" if lost else "failed" if said else status
        told = ("ValueError", said, TRACEBACK.format(n=number)) if outcome == "failed" else (None, said, None)
        db.execute(
            "INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at, ended_at, outcome, kind, error,"
            " traceback) VALUES (?, 1, 'w1', ?, ?, ?, ?, ?, ?, ?)",
            (number, f"lease {number}", at, at + 60_000, outcome, *told),
        )
