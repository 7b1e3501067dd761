"""All of a database, some rows at a time, to be taken elsewhere: each call is one short read transaction."""

from __future__ import annotations

from msgspec.structs import replace

from blobforge.access import Token
from blobforge.canary import is_comparison
from blobforge.job import Job
from blobforge.options import PLAIN, digest
from blobforge.people import User
from blobforge.store.files import FileRecord
from blobforge.store.sql import rows, sql
from blobforge.store.sql.running import Queries
from blobforge.store.whole import Kept, ObjectsOf, Whole
from blobforge.worker import Worker

ALL = 2**62  # rows


class DatabaseExport:
    """`schema` is the version of its schema."""

    def __init__(self, ask: Queries, schema: int) -> None:
        self._ask = ask
        self.schema = schema

    @property
    def installation(self) -> str:
        row = self._ask.row(sql.INSTALLATION)
        assert row is not None, "named when it was opened"
        return str(row[0])

    @property
    def highest_job(self) -> int:
        row = self._ask.row(sql.JOB_SEQUENCE)
        return int(row[0]) if row else 0

    @property
    def attempt_floor(self) -> int:
        row = self._ask.row(sql.RECOVERY)
        return int(row[1]) if row else 0

    @property
    def had_jobs(self) -> bool:
        return self._ask.row(sql.HAD_JOBS) is not None

    def has_job(self, source_hash: str, type_: str, options: str | None) -> bool:
        return self._ask.row(sql.SAME_JOB, (source_hash, type_, digest(options))) is not None

    def next_job(self, after: int, objects_of: ObjectsOf) -> Whole | None:
        with self._ask.moment():
            while row := self._ask.row(sql.JOBS_BETWEEN, (after + 1, 2**63 - 1, 1)):
                job = rows.job(row)
                # A canary stays here, and so does what still is to be read, of which only its parent here knows.
                if not is_comparison(job.type) and not job.waits_for_proof:
                    return self._whole(job, objects_of)
                after = job.id
            return None

    def tokens(self) -> list[Token]:
        return [rows.token(row) for row in self._ask.rows(sql.TOKENS, (0, None, None, 0, None, ALL))]

    def users(self) -> list[User]:
        return [rows.user(row) for row in self._ask.rows(sql.USERS, (0, None, None, ALL))]

    def workers(self) -> list[Worker]:
        anyone = (None, None, None, None, None, "", ALL)
        return [rows.worker(row) for row in self._ask.rows(sql.WORKERS_BY_ID, anyone)]

    def _whole(self, job: Job, objects_of: ObjectsOf) -> Whole:
        attempts = tuple(rows.attempt(row) for row in self._ask.rows(sql.ATTEMPTS, (job.id,)))
        kept = (self._kept(key, attempt) for key, attempt in objects_of(job, attempts).items())
        aside = self._ask.rows(sql.RESULTS_OF_JOB, (job.id,))
        results = tuple((int(str(number)), str(result)) for number, result in aside)
        paths = tuple(str(path) for _, path in self._ask.rows(sql.PATHS_OF_JOB, (job.id, 0, ALL)))
        job = replace(job, lane=PLAIN)  # by the numbers of sets of requirements, which are others elsewhere
        return Whole(job, attempts, tuple(each for each in kept if each is not None), results, paths)

    def _kept(self, key: str, attempt: int | None) -> Kept | None:
        row = self._ask.row(sql.FILE, (key,))
        if row is None:
            return None
        size, sha256, checked_at, etag, version, kept, keeping = row
        return Kept(key, attempt, FileRecord(size, sha256, checked_at, etag, version, kept, bool(keeping)))
