"""Jobs that come with their past from another database, and what this one gives away of its own.

A job is known again by its type and source: what is here already stays as it is, so that a second run adds nothing
and one that was broken off goes on. Its number is kept where it has never been given here. What it has come to
before is not counted as happening now: the backfill (actors/effects/backfill.py) makes of its attempts what charts
and causes of failures need.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import apsw
from msgspec.structs import astuple, replace

from blobforge.access import Token
from blobforge.job import Job
from blobforge.people import User
from blobforge.store.errors import DatabaseError
from blobforge.store.files import FileRecord
from blobforge.store.sqlite import rows, sql
from blobforge.store.sqlite.database import migrations, open_reader, refuse_others
from blobforge.store.sqlite.statements import Statements
from blobforge.store.whole import Kept, ObjectsOf, Whole
from blobforge.store.workingset import WorkingSet
from blobforge.worker import Worker


class Arrivals:
    """Used inside the transaction that the Store has open."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    def highest(self) -> int:
        """The highest number that a job was ever given here."""
        return self._do.number(sql.JOB_SEQUENCE)

    def add(self, whole: Whole, *, now: int) -> Job | None:
        """Store a job as it is; None when there is one of its type and source already."""
        job = whole.job
        self._working.forget()
        if self._do.row(sql.JOB_BY_SOURCE, (job.source_hash, job.type)) is not None:
            return None
        own = job.id if job.id > self.highest() else None
        number = self._do.insert(sql.INSERT_WHOLE_JOB, (own, *rows.job_values(job)[1:]))
        stored = replace(job, id=number)
        if stored.tags:
            self._do.rows(sql.INSERT_JOB_TAGS, (rows.tags_of([stored]),))
        for attempt in whole.attempts:
            self._do.rows(sql.INSERT_WHOLE_ATTEMPT, (stored.id, *astuple(attempt)[1:]))
        for number, result in whole.results:
            self._do.rows(sql.KEEP_RESULT, (stored.id, number, result))
        for kept in whole.files:
            self._keep(kept, stored, now)
        self._working.arrived(stored)
        return stored

    def to_backfill(self, first: int, last: int) -> None:
        """What the jobs with these numbers have come to is still to be counted."""
        self._do.rows(sql.TO_BACKFILL, (first, last))

    def go_on_above(self, job_id: int, attempt: int) -> None:
        """Numbers of jobs up to this one, and of attempts, were given where these jobs come from: never again."""
        self._working.forget()
        self._do.rows(sql.SEED_IDS, ("jobs", "jobs"))
        self._do.rows(sql.RAISE_IDS, (job_id,))
        self._do.rows(sql.RAISE_FLOOR, (attempt,))

    def _keep(self, kept: Kept, job: Job, now: int) -> None:
        if self._do.row(sql.FILE, (kept.key,)) is not None:
            return
        record, job_id = kept.record, job.id if kept.attempt is not None else None
        self._do.rows(
            sql.RECORD_FILE,
            (
                kept.key, record.size, record.sha256, job_id, kept.attempt, now, record.checked_at, record.etag,
                record.version, int(record.keeping),
            ),
        )  # fmt: skip
        if record.kept is not None:
            self._do.rows(sql.KEEP_FILE, (record.kept, kept.key))


class DatabaseExport:
    """Reads all of a database, some rows at a time: each call is one short read transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection

    @property
    def schema(self) -> int:
        version = self._db.pragma("user_version")
        assert isinstance(version, int)
        return version

    @property
    def installation(self) -> str:
        row = self._db.execute(sql.INSTALLATION).fetchone()
        assert row is not None, "named when it was opened"
        return str(row[0])

    @property
    def highest_job(self) -> int:
        row = self._db.execute(sql.JOB_SEQUENCE).fetchone()
        return int(row[0]) if row else 0

    @property
    def attempt_floor(self) -> int:
        row = self._db.execute(sql.RECOVERY).fetchone()
        return int(row[1]) if row else 0

    @property
    def had_jobs(self) -> bool:
        return self._db.execute(sql.HAD_JOBS).fetchone() is not None

    def has_job(self, source_hash: str, type_: str) -> bool:
        return self._db.execute(sql.JOB_BY_SOURCE, (source_hash, type_)).fetchone() is not None

    def next_job(self, after: int, objects_of: ObjectsOf) -> Whole | None:
        with self._reading():
            row = self._db.execute(sql.JOBS_BETWEEN, (after + 1, 2**63 - 1, 1)).fetchone()
            return self._whole(rows.job(row), objects_of) if row else None

    def tokens(self) -> list[Token]:
        return [rows.token(row) for row in self._db.execute(sql.TOKENS, (0, None, None, 0, None, -1))]

    def users(self) -> list[User]:
        return [rows.user(row) for row in self._db.execute(sql.USERS, (0, None, None, -1))]

    def workers(self) -> list[Worker]:
        anyone = (None, None, None, None, None, "", -1)
        return [rows.worker(row) for row in self._db.execute(sql.WORKERS_BY_ID, anyone)]

    def _whole(self, job: Job, objects_of: ObjectsOf) -> Whole:
        attempts = tuple(rows.attempt(row) for row in self._db.execute(sql.ATTEMPTS, (job.id,)))
        kept = (self._kept(key, attempt) for key, attempt in objects_of(job, attempts).items())
        aside = self._db.execute(sql.RESULTS_OF_JOB, (job.id,))
        results = tuple((int(str(number)), str(result)) for number, result in aside)
        return Whole(job, attempts, tuple(each for each in kept if each is not None), results)

    def _kept(self, key: str, attempt: int | None) -> Kept | None:
        row = self._db.execute(sql.FILE, (key,)).fetchone()
        if row is None:
            return None
        size, sha256, checked_at, etag, version, kept, keeping = row
        return Kept(key, attempt, FileRecord(size, sha256, checked_at, etag, version, kept, bool(keeping)))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("ROLLBACK")


@contextlib.contextmanager
def departing(path: Path) -> Iterator[DatabaseExport]:
    """All of a database of ours, also beside a running server. Raises DatabaseError."""
    try:
        refuse_others(path)
        with contextlib.closing(open_reader(path)) as connection:
            if connection.pragma("user_version") != len(migrations()):
                raise DatabaseError(f"{path} was written by an older release: start the server once")
            yield DatabaseExport(connection)
    except apsw.Error as error:
        raise DatabaseError(f"cannot read the database {path}: {error}") from error
