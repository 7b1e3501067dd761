"""Reads cost no more when there are more jobs: the steps of SQLite are counted on 20,000 of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from actors.messages import (
    Sample,
)
from blobforge.job import JobStatus
from blobforge.store.filters import JobFilter
from blobforge.store.lists import NEWEST, Cursor
from blobforge.store.sqlite.database import open_reader
from blobforge.store.sqlite.reader import Reader
from blobforge.timerange import Slots
from blobforge.worker import WorkerFilter
from tests.store.making import T0, Book, fail_one


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 jobs, most of them completed, by two workers, some dead of one of two causes."""
    folder = tmp_path_factory.mktemp("large")
    book = Book(folder / "x.db")
    book.register("w1", "w2")
    fail_one(book, "a", "one cause", retryable=False)
    fail_one(book, "b", "another cause", retryable=False)
    book.do(Sample())
    _multiply(book.db, 20_000, book.now)
    book.close()
    return folder / "x.db"


def _multiply(db: apsw.Connection, jobs: int, now: int) -> None:
    """Rows as the effects would write them; through the effects they would take a minute."""
    db.execute(
        """
        WITH RECURSIVE n (i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
        INSERT INTO jobs (id, type, status, priority, source_hash, created_at, updated_at, max_attempts, source_path,
                          worker_id, failure, attempt, completed_at)
        SELECT i, 'pdf', CASE WHEN i % 10 = 0 THEN 'pending' WHEN i % 100 = 1 THEN 'dead' ELSE 'completed' END,
               i % 5 + 1, printf('%064x', i), ?2 + i * 1000, ?2 + i * 1000, 3, 'in/' || i || '.pdf',
               CASE WHEN i % 10 = 0 OR i % 100 = 1 THEN NULL WHEN i < 500 THEN 'w2' ELSE 'w1' END,
               CASE WHEN i % 100 = 1 THEN CASE WHEN i < 2000 THEN 2 ELSE 1 END END, 0, ?2
          FROM n""",
        (jobs, now),
    )
    db.execute("DELETE FROM job_counts")
    db.execute(
        "INSERT INTO job_counts (status, type, priority, n)"
        " SELECT status, type, priority, count(*) FROM jobs GROUP BY status, type, priority"
    )
    db.execute("DELETE FROM failure_counts")
    db.execute(
        "INSERT INTO failure_counts SELECT failure, status, count(*) FROM jobs WHERE failure > 0 GROUP BY 1, 2"
    )
    db.execute("DELETE FROM job_hours")
    db.execute("INSERT INTO job_hours SELECT created_at / 3600000, min(id), max(id) FROM jobs GROUP BY 1")


READS: dict[str, Callable[[Reader], Any]] = {
    "history": lambda reader: reader.insights.history(Slots(3600, 277_610, 168), now=math.floor(1e12)),
    "durations": lambda reader: reader.insights.durations(now=math.floor(1e12)),
    "loads": lambda reader: reader.insights.loads(),
    "failures": lambda reader: reader.insights.failures(),
    "queues": lambda reader: reader.insights.queues(),
    "running": lambda reader: list(reader.insights.running_jobs()),
    "workers": lambda reader: (
        reader.roster.by_id(WorkerFilter(), after="", limit=1000),
        reader.insights.worker_rates(now=math.floor(1e12)),
    ),
    "workers, by rank": lambda reader: reader.roster.by_rank(WorkerFilter(), after=(0, ""), limit=100),
    "workers of a failure": lambda reader: reader.insights.workers_of_failure(2),
    "the fleet's rates": lambda reader: reader.insights.fleet_rates(now=math.floor(1e12)),
    "lost workers": lambda reader: reader.insights.lost_workers(now=math.floor(1e12)),
    "surroundings": lambda reader: reader.insights.surroundings(reader.job(20_000)),  # type: ignore[arg-type]
    "records": lambda reader: reader.insights.records_about(7, before=NEWEST, limit=100),
    "by failure": lambda reader: reader.list_jobs(JobFilter(failure=2), limit=50, cursor=Cursor()),
    "by failure, dead": lambda reader: reader.list_jobs(
        JobFilter(JobStatus.DEAD, failure=2), limit=50, cursor=Cursor()
    ),
    "by worker": lambda reader: reader.list_jobs(JobFilter(worker="w2"), limit=50, cursor=Cursor()),
    "by time": lambda reader: reader.list_jobs(JobFilter(created_until=T0 + 3_600_000), limit=50, cursor=Cursor()),
    "by priority": lambda reader: reader.list_jobs(JobFilter(priority=4), limit=50, cursor=Cursor()),
}


MOST_STEPS = 60_000  # of SQLite's virtual machine; one scan of 20,000 jobs takes five times as many


@pytest.mark.parametrize("read", READS)
def test_no_read_grows_with_the_number_of_jobs(large: Path, read: str) -> None:
    """SQLite's own work is counted, in steps of its virtual machine: no clock, no luck."""
    connection = open_reader(large)
    reader = Reader(connection)
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    connection.set_progress_handler(count, 100)
    READS[read](reader)
    connection.set_progress_handler(None)
    reader.close()
    assert steps * 100 <= MOST_STEPS, steps * 100


def test_what_is_measured_would_show_a_scan(large: Path) -> None:
    connection = open_reader(large)
    reader = Reader(connection)
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    connection.set_progress_handler(count, 100)
    list(connection.execute("SELECT id FROM jobs WHERE created_at > 0 AND worker_id = 'w3' || 'x' AND +failure = 2"))
    list(connection.execute("SELECT count(*) FROM jobs WHERE source_path LIKE '%7777%'"))
    reader.close()
    assert steps * 100 > MOST_STEPS
