"""The write side of the database. State owned here: the write connection, and the transaction that is open with
its counters (`counters.py`) and the workers that were read in it. Used by one thread at a time: the writer's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import merge
from itertools import islice

import apsw
import msgspec
from msgspec.structs import replace

from blobforge.access import Scope, Token
from blobforge.job import Attempt, Job, JobStatus, Outcome
from blobforge.people import AuditEntry, Session, User
from blobforge.store.errors import StaleState, StoreUnavailable
from blobforge.store.files import FileRecord
from blobforge.store.sqlite import rows, sql
from blobforge.store.sqlite.arrivals import Arrivals
from blobforge.store.sqlite.counters import Counters
from blobforge.store.sqlite.database import CHECKPOINT_PAGES
from blobforge.store.sqlite.doomed import Doomed
from blobforge.store.sqlite.recovery import Recovery
from blobforge.store.sqlite.rollups import Rollups
from blobforge.worker import Worker

# Nobody's request is to blame for these.
OUTAGES = (
    apsw.FullError, apsw.IOError, apsw.BusyError, apsw.ReadOnlyError, apsw.NoMemError, apsw.CantOpenError,
)  # fmt: skip


class Store:
    """Reads and writes inside the transaction that the writer has open."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._db = connection
        self._counters = Counters(connection)
        self.rollups = Rollups(connection)
        self.recovery = Recovery(connection)
        self.doomed = Doomed(connection)
        self.arrivals = Arrivals(connection, self._counters)
        self._installation = ""  # read when needed; it never changes
        self._types: set[str] | None = None  # read when needed, forgotten when jobs go or anything is undone
        self._workers: dict[str, Worker] = {}  # as read in the transaction that is open
        self._jobs_went = False  # in the transaction that is open
        self._before = 0
        self.commit_seconds = 0.0  # of the last COMMIT alone

    # --- transactions

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Raises StoreUnavailable when SQLite cannot begin or commit."""
        self._counters.begin()
        self._workers.clear()
        self._jobs_went = False
        self._before = self._db.total_changes()
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except apsw.Error as error:
            raise StoreUnavailable(str(error)) from error
        try:
            yield
            self._counters.write()
            began = time.perf_counter()
            self._db.execute("COMMIT")
            self.commit_seconds = time.perf_counter() - began
            if self._jobs_went:
                self._types = None
        except BaseException as error:
            self._forget()
            if self._db.in_transaction:  # SQLite has rolled back by itself after some errors
                self._db.execute("ROLLBACK")
            if isinstance(error, OUTAGES):
                raise StoreUnavailable(str(error)) from error
            raise

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """One effect inside the transaction: when it raises, it alone is undone.

        Raises StoreUnavailable for what no effect is to blame for: then the whole transaction is lost.
        """
        self._counters.part()
        try:
            self._db.execute("SAVEPOINT effect")
            yield
            self._db.execute("RELEASE effect")
            self._counters.keep_part()
        except StoreUnavailable:
            raise  # of a savepoint inside this one
        except BaseException as error:
            if isinstance(error, OUTAGES) or not self._db.in_transaction:
                raise StoreUnavailable(str(error)) from error
            self._counters.undo_part()
            self._forget()
            self._db.execute("ROLLBACK TO effect")
            self._db.execute("RELEASE effect")
            raise

    def _forget(self) -> None:
        """Something was undone: what is remembered of the database may not be so."""
        self._types = None
        self._workers.clear()
        self.rollups.undone()
        self.recovery.undone()

    @property
    def wrote(self) -> bool:
        """Whether the last transaction changed anything."""
        return self.written != self._before

    @property
    def written(self) -> int:
        """How many rows have been written so far: it goes up when, and only when, a statement changes one."""
        return self._db.total_changes()

    def close(self) -> None:
        self._db.close()

    def _rows(self, statement: str, values: rows.Row) -> Iterator[rows.Row]:
        return iter(self._db.execute(statement, values))

    def _row(self, statement: str, values: rows.Row) -> rows.Row | None:
        return self._db.execute(statement, values).fetchone()

    @property
    def installation(self) -> str:
        """The id of this database, which is in the keys of its objects."""
        if not self._installation:
            row = self._row(sql.INSTALLATION, ())
            assert row is not None, "named when it was opened"
            self._installation = str(row[0])
        return self._installation

    def become(self, installation: str) -> None:
        """This database, which never had a job, goes on as that installation: its objects are this one's."""
        self._db.execute(sql.RENAME_INSTALLATION, (installation,))
        self._installation = ""

    def is_fresh(self) -> bool:
        """Whether this database never had a job."""
        return self._row(sql.HAD_JOBS, ()) is None

    # --- jobs

    def job(self, job_id: int) -> Job | None:
        row = self._row(sql.JOB, (job_id,))
        return rows.job(row) if row else None

    def job_by_source(self, source_hash: str, type_: str) -> Job | None:
        row = self._row(sql.JOB_BY_SOURCE, (source_hash, type_))
        return rows.job(row) if row else None

    def new_sources(self, hashes: set[str]) -> set[str]:
        """Those of which nothing is known: no job, no object, and none that is being deleted."""
        asked = msgspec.json.encode(list(hashes)).decode()
        return hashes.difference(row[0] for row in self._rows(sql.KNOWN_SOURCES, (asked,)))

    def jobs_by_hash(self, source_hash: str) -> list[Job]:
        """All jobs of one source, whatever their type."""
        return [rows.job(row) for row in self._rows(sql.JOBS_BY_HASH, (source_hash,))]

    def pick_ready(self, types: tuple[str, ...], limit: int) -> list[Job]:
        """The next jobs that anybody may have: urgent first, then the oldest, over all `types` together."""
        if len(types) == 1:
            return [rows.job(row) for row in self._rows(sql.PICK_READY, (types[0], limit))]
        # Lazily, a cursor for each type: no more rows are read than are handed out, and one for each type.
        each = [map(rows.job, self._db.cursor().execute(sql.PICK_READY, (type_, limit))) for type_ in set(types)]
        return list(islice(merge(*each, key=lambda job: (job.priority, job.id)), limit))

    def pick_kept(self, type_: str, limit: int) -> list[Job]:
        """The next jobs of a type that are kept from some workers, in the same order."""
        return [rows.job(row) for row in self._rows(sql.PICK_KEPT, (type_, limit))]

    def failed_by(self, job_id: int, *, among: int) -> tuple[str, ...]:
        """The workers that have failed a job or given it back for trouble, by the last `among` of its attempts."""
        return tuple(sorted(row[0] for row in self._rows(sql.FAILED_BY, (job_id, among))))

    def another_worker(self, type_: str, but: tuple[str, ...]) -> bool:
        """Whether a worker that is online takes jobs of this type, and is none of those."""
        return self._row(sql.ANOTHER_WORKER, (type_, rows.encode_tags(but))) is not None

    def knows_type(self, type_: str) -> bool:
        """Whether there is a job of this type (or was, until a moment ago)."""
        return type_ in self._known_types()

    def count_types(self) -> int:
        return len(self._known_types())

    def _known_types(self) -> set[str]:
        if self._types is None:
            self._types = {row[0] for row in self._rows(sql.TYPES, ())}
        return self._types

    def jobs_between(self, first: int, last: int, *, limit: int) -> list[Job]:
        """Jobs with these ids, both ends included, in their order."""
        return [rows.job(row) for row in self._rows(sql.JOBS_BETWEEN, (first, last, limit))]

    def jobs_of_worker(self, worker_id: str) -> list[Job]:
        """The jobs that this worker runs now."""
        return [rows.job(row) for row in self._rows(sql.JOBS_OF_WORKER, (worker_id,))]

    def insert_jobs(self, jobs: list[Job]) -> list[Job]:
        """Store new jobs (their `id` is ignored), and return them with the ids that they got, in their order."""
        self._db.execute(sql.INSERT_JOBS, (rows.new_jobs(jobs),))
        last = self._db.last_insert_rowid()
        # The one statement of the one writer, and AUTOINCREMENT: one after the other.
        stored = [replace(job, id=id_) for id_, job in enumerate(jobs, last - len(jobs) + 1)]
        self._known_types().update(job.type for job in stored)
        if any(job.tags for job in stored):
            self._db.execute(sql.INSERT_JOB_TAGS, (rows.tags_of(stored),))
        for job in stored:
            self._counters.job(job, +1)
            self._counters.submitted(job)
        return stored

    def save_job(self, before: Job, after: Job) -> None:
        """Write a transition, guarded by the state it started from. Raises StaleState."""
        moved, guard = rows.job_moved(after), (before.id, before.status, before.attempt)
        indexed = (after.priority, after.worker_id, after.failure)
        if indexed == (before.priority, before.worker_id, before.failure):
            self._db.execute(sql.MOVE_JOB, moved + guard)
        else:
            self._db.execute(sql.UPDATE_JOB, moved + indexed + guard)
        if self._db.changes() != 1:
            raise StaleState(f"job {before.id} was no longer {before.status} (attempt {before.attempt})")
        self._counters.job(before, -1)
        self._counters.job(after, +1)

    def delete_job(self, job: Job) -> None:
        """Remove the job with its tags, its results and the records of its attempts. Raises StaleState."""
        self._db.execute(sql.DELETE_JOB, (job.id, job.status, job.attempt))
        if self._db.changes() != 1:
            raise StaleState(f"job {job.id} was no longer {job.status} (attempt {job.attempt})")
        self._counters.job(job, -1)
        self._jobs_went = True

    def ended_before(self, status: JobStatus, before: int, *, limit: int) -> list[Job]:
        """Jobs of a status that ended before that time (ms), the oldest first."""
        return [rows.job(row) for row in self._rows(sql.ENDED_BEFORE, (status, before, limit))]

    def has_source(self, source_hash: str) -> bool:
        """Whether there is a job of this source."""
        return self._row(sql.HAS_SOURCE, (source_hash,)) is not None

    def beat_job(self, job: Job, *, progress: str | None, now: int) -> None:
        """Renew the lease of a running attempt and keep its progress, where it sent any."""
        news = now if progress is not None and progress != job.progress else None
        self._db.execute(sql.BEAT_JOB, (now, progress, news, now, job.id, job.attempt))
        if self._db.changes() != 1:
            raise StaleState(f"job {job.id} was no longer running attempt {job.attempt}")

    # --- attempts

    def attempt(self, job_id: int, attempt: int) -> Attempt | None:
        row = self._row(sql.ATTEMPT, (job_id, attempt))
        return rows.attempt(row) if row else None

    def attempts(self, job_id: int, *, limit: int) -> list[Attempt]:
        """The latest attempts of a job, oldest first."""
        found = [rows.attempt(row) for row in self._rows(sql.LATEST_ATTEMPTS, (job_id, limit))]
        return found[::-1]

    def count_old_attempt(self, type_: str, attempt: Attempt, *, now: int) -> None:
        """Count an attempt that ended before such were counted."""
        assert attempt.outcome is not None
        assert attempt.ended_at is not None
        ran_ms = max(0, attempt.ended_at - attempt.started_at)
        self._counters.ended_long_ago(
            type_, attempt.worker_id, attempt.outcome, ran_ms=ran_ms, at=attempt.ended_at, now=now
        )

    def output_keys(self, job_id: int) -> list[str]:
        """What the attempts of a job were given to write to."""
        return [row[0] for row in self._rows(sql.OUTPUT_KEYS, (job_id,))]

    def start_attempt(self, job: Job) -> None:
        record = (job.id, job.attempt, job.worker_id, job.lease, job.started_at, job.upload_key)
        self._db.execute(sql.INSERT_ATTEMPT, record)

    def end_attempt(
        self,
        before: Job,
        after: Job,
        outcome: Outcome,
        *,
        now: int,
        error: str | None = None,
        kind: str | None = None,
        traceback: str | None = None,
        log_tail: str | None = None,
    ) -> None:
        """Write how the job's latest attempt ended; a late completion writes over `lost`. `before` is the job as it
        was until now."""
        self._db.execute(sql.END_ATTEMPT, (now, outcome, kind, error, traceback, log_tail, after.id, after.attempt))
        if self._db.changes() == 0:
            return
        worker_id, started_at = before.worker_id, before.started_at
        if before.status is not JobStatus.RUNNING:  # it was lost before, or is revoked: only its own record knows
            ended = self.attempt(after.id, after.attempt)
            assert ended is not None
            worker_id, started_at = ended.worker_id, ended.started_at
        assert worker_id is not None
        assert started_at is not None
        self._counters.ended(after.type, worker_id, outcome, ran_ms=max(0, now - started_at), now=now)

    # --- results that are kept aside

    def keep_result(self, job: Job, result: str | None) -> None:
        """The result of the job's latest attempt, where it is kept aside, beside the one that it takes the place of.
        `job` is as it was until now."""
        if job.attempt > 1:
            self._db.execute(sql.DROP_RESULTS_BUT, (job.id, job.kept_attempt))
        if result is not None:
            self._db.execute(sql.KEEP_RESULT, (job.id, job.attempt, result))

    def drop_result(self, job_id: int, attempt: int) -> None:
        self._db.execute(sql.DROP_RESULT, (job_id, attempt))

    # --- files

    def file(self, key: str) -> FileRecord | None:
        row = self._row(sql.FILE, (key,))
        return FileRecord(*row) if row else None

    def record_file(
        self,
        key: str,
        *,
        size: int | None,
        sha256: str | None,
        now: int,
        checked: bool,
        job_id: int | None = None,
        attempt: int | None = None,
        etag: str | None = None,
        version: str | None = None,
        keeping: bool = False,
    ) -> None:
        seen = now if checked else None
        record = (key, size, sha256, job_id, attempt, now, seen, etag, version, int(keeping))
        self._db.execute(sql.RECORD_FILE, record)

    def keep_file(self, key: str, to: str) -> None:
        """Its copy is what is served from now on."""
        self._db.execute(sql.KEEP_FILE, (to, key))

    def forget_file(self, key: str) -> None:
        self._db.execute(sql.FORGET_FILE, (key,))

    # --- workers

    def worker(self, worker_id: str) -> Worker | None:
        known = self._workers.get(worker_id)
        if known is None and (row := self._row(sql.WORKER, (worker_id,))):
            known = self._workers[worker_id] = rows.worker(row)
        return known

    def save_worker(self, before: Worker | None, after: Worker) -> None:
        """Insert or change a worker; `before` is what was read, None for a new one."""
        self._workers.pop(after.id, None)
        self._db.execute(sql.SAVE_WORKER, rows.worker_values(after))
        if before is not None:
            self._counters.worker(before.status, -1)
        self._counters.worker(after.status, +1)

    def beat_worker(self, worker: Worker, *, now: int) -> None:
        """Write a sign of life that changes nothing else."""
        self._workers.pop(worker.id, None)
        self._db.execute(sql.BEAT_WORKER, (now, now, worker.id))

    def delete_worker(self, worker: Worker) -> None:
        self._workers.pop(worker.id, None)
        self._db.execute(sql.DELETE_WORKER, (worker.id,))
        self.rollups.forget_types(worker.id)
        self._counters.worker(worker.status, -1)

    # --- what may be repeated

    def claimed_with(self, worker_id: str, claim_key: str) -> list[tuple[int, int]]:
        """The (job, attempt) pairs that an earlier claim with this key was given."""
        row = self._row(sql.CLAIM_KEY, (worker_id, claim_key))
        return msgspec.json.decode(row[0], type=list[tuple[int, int]]) if row else []

    def remember_claim(self, worker_id: str, claim_key: str, jobs: list[Job], *, now: int) -> None:
        pairs = msgspec.json.encode([(job.id, job.attempt) for job in jobs]).decode()
        self._db.execute(sql.SAVE_CLAIM_KEY, (worker_id, claim_key, pairs, now))

    def remembered(self, subject: str, key: str, *, since: int) -> tuple[bytes, bytes] | None:
        """(fingerprint, outcome) of an earlier request with this idempotency key, if it is young enough."""
        row = self._row(sql.IDEMPOTENT, (subject, key, since))
        return (row[0], row[1]) if row else None

    def remember(self, subject: str, key: str, fingerprint: bytes, outcome: bytes, *, now: int) -> None:
        self._db.execute(sql.SAVE_IDEMPOTENT, (subject, key, fingerprint, outcome, now))

    def purge(self, *, before: int, limit: int) -> bool:
        """Forget `limit` repeatable requests of each kind that are older than `before` (ms), the oldest first;
        whether there may be more."""
        more = False
        for statement in (sql.PURGE_CLAIM_KEYS, sql.PURGE_IDEMPOTENT):
            self._db.execute(statement, (before, limit))
            more = more or self._db.changes() == limit
        return more

    # --- tokens

    def insert_token(self, token: Token) -> int:
        """Store a new token (its `id` is ignored); returns the id."""
        self._db.execute(
            sql.INSERT_TOKEN,
            (
                token.name, token.hash, token.prefix, rows.encode_scopes(token.scopes), token.created_at,
                token.expires_at,
            ),
        )  # fmt: skip
        return self._db.last_insert_rowid()

    def token_by_hash(self, hash_: str) -> Token | None:
        row = self._row(sql.TOKEN_BY_HASH, (hash_,))
        return rows.token(row) if row else None

    def make_token_admin(self, token: Token) -> None:
        """Give a token all rights and no expiry (the operator named it in the configuration)."""
        self._db.execute(sql.MAKE_START_TOKEN, (rows.encode_scopes(frozenset({Scope.ADMIN})), token.id))

    def delete_start_tokens(self, *, but: str) -> None:
        """Revoke the first administrator's tokens of former starts, all but the one with this hash."""
        self._db.execute(sql.DELETE_START_TOKENS, (but,))

    def token(self, token_id: int) -> Token | None:
        row = self._row(sql.TOKEN, (token_id,))
        return rows.token(row) if row else None

    def delete_token(self, token_id: int) -> None:
        """The sessions that were signed in with it go, too."""
        self._db.execute(sql.DELETE_TOKEN, (token_id,))

    def forgettable_workers(self, before: int, *, limit: int) -> list[Worker]:
        """Offline workers without a job and a credential of their own, silent since before `before` (ms)."""
        return [rows.worker(row) for row in self._rows(sql.FORGETTABLE_WORKERS, (before, before, limit))]

    def workers_of_token(self, token_id: int) -> list[str]:
        """The ids of the workers that an API token registered."""
        return [row[0] for row in self._db.execute(sql.WORKERS_OF_TOKEN, (token_id,))]

    def touch_token(self, token_id: int, *, now: int) -> None:
        self._db.execute(sql.TOUCH_TOKEN, (now, token_id))

    # --- people

    def save_user(self, user: User) -> int:
        """Insert or update by issuer and subject (`id` is ignored); returns the id."""
        row = self._row(
            sql.SAVE_USER,
            (
                user.issuer, user.subject, user.email, user.name, rows.encode_groups(user.groups),
                int(user.is_admin), user.created_at, user.last_login_at,
            ),
        )  # fmt: skip
        assert row is not None
        return int(row[0])

    def update_user(self, user: User) -> None:
        self._db.execute(
            sql.UPDATE_USER,
            (
                user.email, user.name, rows.encode_groups(user.groups), int(user.is_admin), user.issuer,
                user.subject,
            ),
        )  # fmt: skip

    def user_of(self, issuer: str, subject: str) -> User | None:
        row = self._row(sql.USER_OF, (issuer, subject))
        return rows.user(row) if row else None

    def user(self, user_id: int) -> User | None:
        row = self._row(sql.USER, (user_id,))
        return rows.user(row) if row else None

    def session(self, hash_: str) -> Session | None:
        row = self._row(sql.SESSION, (hash_,))
        return rows.session(row) if row else None

    def session_hashes(self, *, user_id: int | None = None, token_id: int | None = None) -> list[str]:
        """The sessions of one user, or those that were signed in with one API token."""
        return [row[0] for row in self._db.execute(sql.SESSION_HASHES, (user_id, token_id))]

    def insert_session(self, session: Session) -> None:
        self._db.execute(sql.INSERT_SESSION, rows.session_values(session))

    def check_session(self, hash_: str, sealed: bytes | None, *, now: int) -> None:
        """Note that the provider confirmed the person just now."""
        self._db.execute(sql.CHECK_SESSION, (now, now, sealed, hash_))

    def touch_session(self, hash_: str, *, now: int) -> None:
        self._db.execute(sql.TOUCH_SESSION, (now, hash_))

    def delete_session(self, hash_: str) -> bool:
        """Whether there was such a session."""
        self._db.execute(sql.DELETE_SESSION, (hash_,))
        return self._db.changes() == 1

    def delete_sessions_of(self, user_id: int) -> int:
        """Returns how many there were."""
        self._db.execute(sql.DELETE_SESSIONS_OF_USER, (user_id,))
        return self._db.changes()

    def purge_sessions(self, *, seen_before: int, now: int) -> None:
        self._db.execute(sql.PURGE_SESSIONS, (seen_before, now))

    def insert_audit(self, entry: AuditEntry) -> None:
        """Append to the audit log (`id` is ignored)."""
        self._db.execute(
            sql.INSERT_AUDIT,
            (entry.at, entry.actor, entry.name, entry.address, entry.action, entry.subject, entry.detail),
        )

    def prune_audit(self, before: int, *, limit: int) -> bool:
        """Remove entries older than `before` (ms) among the `limit` oldest; whether all of those were."""
        self._db.execute(sql.PRUNE_AUDIT, (limit, before))
        return self._db.changes() == limit

    # --- upkeep

    def pages(self) -> tuple[int, int]:
        """How many pages the database file has, and how many of them are free."""
        row = self._row(sql.PAGES, ())
        assert row is not None
        return int(row[0]), int(row[1])

    def free_pages(self, most: int) -> None:
        """Give up to so many free pages back to the file system. Does nothing in a file without auto_vacuum."""
        for _ in self._db.execute(sql.FREE_PAGES.format(most=most)):
            pass  # a page a step

    def leave_checkpoints(self, *, to_litestream: bool) -> None:
        """Checkpoint after commits, as SQLite does by itself, or never.

        Litestream reads the WAL, then checkpoints; who checkpoints in between takes frames away that it has not read.
        It does not always notice: restored backups were found corrupt (docs/adr/0021). Without Litestream, somebody
        has to, or the WAL grows for ever.
        """
        self._db.execute(sql.AUTO_CHECKPOINT.format(pages=0 if to_litestream else CHECKPOINT_PAGES)).fetchall()

    def pulse(self, *, now: int) -> None:
        """Write something, to see whether it can be done."""
        self._db.execute(sql.PULSE, (now,))
