"""The read side: single things, statistics, and what a start reads. Each method is one short read transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, closing

import msgspec
from msgspec.structs import replace

from blobforge.access import Token
from blobforge.events import OutputAccepted, ProofAwaited
from blobforge.job import Attempt, Job, JobStatus, Outcome
from blobforge.life import with_former
from blobforge.operation import Operation
from blobforge.people import Session, User
from blobforge.store.figures import MINUTE_MS, Census, Drill, KeptSum, Stats, StatusTotals, TagWeight
from blobforge.store.files import FileRecord
from blobforge.store.filters import TokenFilter, UserFilter
from blobforge.store.lists import (
    MOST_ATTEMPTS,
    NEWEST,
    PAGE_BYTES,
    AttemptPlace,
    WorkerAttempt,
)
from blobforge.store.sql import rows, sql
from blobforge.store.sql.batches import BatchLookups
from blobforge.store.sql.canaries import CanaryLookups
from blobforge.store.sql.insights import Insights
from blobforge.store.sql.kin import KinLookups
from blobforge.store.sql.oldest import deferred, oldest_pending
from blobforge.store.sql.operations import operation
from blobforge.store.sql.outputs import OutputLookups
from blobforge.store.sql.roster import Roster
from blobforge.store.sql.running import Queries, Row
from blobforge.store.sql.searches import SearchLookups
from blobforge.store.sql.sortedlists import SortedLists
from blobforge.store.sql.superseded import SupersededLookups
from blobforge.store.sql.typesettings import TypeLookups
from blobforge.store.sql.webhooks import WebhookLookups
from blobforge.worker import WorkerStatus

RATE_MINUTES = 10
LAST = chr(0x10FFFF)  # behind it no text goes on
MOST_LINES = 10_000  # of groups in types and priorities, that are looked at for names of groups


class SqlReader(SortedLists):
    """The Reader of `store/reading.py`. Owns its read-only connection."""

    def __init__(self, ask: Queries) -> None:
        super().__init__(ask)
        self.insights = Insights(ask)
        self.roster = Roster(ask)
        self.outputs = OutputLookups(ask)
        self.superseded = SupersededLookups(ask)
        self.types = TypeLookups(ask)
        self.searches = SearchLookups(ask)
        self.batches = BatchLookups(ask)
        self.kin = KinLookups(ask)
        self.canaries = CanaryLookups(ask)
        self.webhooks = WebhookLookups(ask)

    def outages_told(self) -> AbstractContextManager[None]:
        return self._ask.outages_told()

    def snapshot(self) -> AbstractContextManager[None]:
        return self._ask.moment()

    # --- single things

    def job_with_attempts(
        self, job_id: int, *, before: int = NEWEST, most_result: int = 0
    ) -> tuple[Job, list[Attempt]] | None:
        with self.snapshot():
            job = self.job(job_id)
            if job is None:
                return None
            if 0 < (job.result_size or 0) <= most_result:
                job = self._with_result(job, sql.RESULT)
            return job, list(reversed(self.attempts(job_id, before=before)))

    def job_to_name(self, job_id: int, *, former: bool = False) -> Job | None:
        with self.snapshot():
            job = self.job(job_id)
            if job is not None and former:
                job = with_former(job)
            return self.named(job) if job is not None else None

    def named(self, job: Job) -> Job:
        return job if job.result_size is None else self._with_result(job, sql.RESULT_NAMES)

    def jobs_to_name(self, job_ids: Collection[int]) -> dict[int, Job]:
        with self.snapshot():
            jobs = {row[0]: _with_names_alone(rows.job(row)) for row in self._these(sql.MANY_JOBS, job_ids)}
            aside = {id_: self._with_result(job, sql.RESULT_NAMES) for id_, job in jobs.items() if job.result_size}
            return jobs | aside

    def files(self, keys: Collection[str]) -> dict[str, FileRecord]:
        return {row[0]: FileRecord(*row[1:]) for row in self._these(sql.MANY_FILES, keys)}

    def result(self, job_id: int, *, former: bool = False) -> tuple[Job, str | None] | None:
        with self.snapshot():
            job = self.job(job_id)
            if job is not None and former:
                job = with_former(job)
            return (job, self.whole_result(job)) if job is not None else None

    def whole_result(self, job: Job) -> str | None:
        return job.result if job.result_size is None else self._with_result(job, sql.RESULT).result

    def _these(self, statement: str, names: Collection[int | str]) -> Iterator[Row]:
        """The rows of these ids or keys, by a statement that takes MANY of them."""
        all_ = list(names)
        for start in range(0, len(all_), sql.MANY):
            some = all_[start : start + sql.MANY]
            yield from self._ask.rows(statement, (*some, *(some[-1:] * (sql.MANY - len(some)))))

    def _with_result(self, job: Job, statement: str) -> Job:
        row = self._ask.row(statement, (job.id, job.result_attempt))
        return replace(job, result=row[0]) if row else job

    def attempts(self, job_id: int, *, before: int = NEWEST, limit: int = MOST_ATTEMPTS) -> list[Attempt]:
        found: list[Attempt] = []
        size = 0
        with self.snapshot(), closing(self._ask.each(sql.ATTEMPTS_BELOW, (job_id, before, limit))) as all_of_it:
            for row in all_of_it:
                attempt = rows.attempt(row)
                size += sum(len(text or "") for text in (attempt.error, attempt.traceback, attempt.log_tail))
                if found and size > PAGE_BYTES:
                    break
                found.append(attempt)
        return found

    def attempts_in_short(self, job_id: int, *, before: int, limit: int) -> list[Attempt]:
        return [rows.attempt(row) for row in self._ask.rows(sql.ATTEMPTS_IN_SHORT, (job_id, before, limit))]

    def count_attempts(self, job_id: int) -> int:
        row = self._ask.row(sql.ATTEMPTS_SO_FAR, (job_id,))
        return int(row[0]) if row is not None else 0

    def jobs_running_on(self, worker_id: str, *, limit: int) -> list[int]:
        return [row[0] for row in self._ask.rows(sql.RUNNING_ON, (worker_id, limit))]

    def attempts_of_worker(self, worker_id: str, *, after: AttemptPlace, limit: int) -> list[WorkerAttempt]:
        place = (after.started_at, after.job_id, after.attempt)
        return [
            WorkerAttempt(id_, n, type_, began, ended, Outcome(outcome) if outcome is not None else None, *about)
            for id_, n, type_, began, ended, outcome, *about in self._ask.rows(
                sql.ATTEMPTS_OF_WORKER, (worker_id, *place, limit)
            )
        ]

    def paths(self, job_id: int, *, after: int = 0, limit: int) -> list[tuple[int, str]]:
        return list(self._ask.rows(sql.PATHS_OF_JOB, (job_id, after, limit)))

    def tokens(self, wanted: TokenFilter, *, after: int, limit: int) -> list[Token]:
        values = (after, wanted.q, wanted.scope, wanted.now, wanted.expired, limit)
        return [rows.token(row) for row in self._ask.rows(sql.TOKENS, values)]

    def session(self, hash_: str) -> tuple[Session, User | Token | None] | None:
        with self.snapshot():
            row = self._ask.row(sql.SESSION, (hash_,))
            if row is None:
                return None
            session = rows.session(row)
            if session.token_id is not None:
                return session, self.token(session.token_id)
            person = self._ask.row(sql.USER, (session.user_id,))
            return session, rows.user(person) if person else None

    def users(self, wanted: UserFilter, *, after: int, limit: int) -> list[User]:
        values = (after, wanted.q, wanted.admin, limit)
        return [rows.user(row) for row in self._ask.rows(sql.USERS, values)]

    def sessions_of(self, user_id: int, *, after: tuple[int, str], limit: int) -> list[Session]:
        return [rows.session(row) for row in self._ask.rows(sql.SESSIONS_OF_USER, (user_id, *after, limit))]

    def latest_sessions(
        self, *, user_id: int | None = None, token_id: int | None = None, limit: int
    ) -> list[Session]:
        statement, of = (sql.LATEST_OF_USER, user_id) if token_id is None else (sql.LATEST_OF_TOKEN, token_id)
        return [rows.session(row) for row in self._ask.rows(statement, (of, limit))]

    def attempts_of(self, job_ids: Collection[int]) -> dict[int, int]:
        return dict(self._these(sql.ATTEMPTS_OF_MANY, job_ids))

    def options_of(self, job_ids: Collection[int]) -> dict[int, str]:
        return dict(self._these(sql.OPTIONS_OF_MANY, job_ids))

    def errors_of(self, job_ids: Collection[int]) -> dict[int, str]:
        return dict(self._these(sql.ERRORS_OF_MANY, job_ids))

    # --- operations

    def operation(self, operation_id: int) -> Operation | None:
        row = self._ask.row(sql.OPERATION, (operation_id,))
        return operation(row) if row else None

    def operations(self, *, before: int, limit: int) -> list[Operation]:
        return [operation(row) for row in self._ask.rows(sql.OPERATIONS, (before, limit))]

    def open_operations(self, *, limit: int) -> list[Operation]:
        return [operation(row) for row in self._ask.rows(sql.OPEN_OPERATIONS, (limit,))]

    def operation_jobs(self, operation_id: int, page: int) -> list[int]:
        row = self._ask.row(sql.OPERATION_PAGE, (operation_id, page))
        return msgspec.json.decode(row[0], type=list[int]) if row else []

    def operation_workers(self, operation_id: int, page: int) -> list[str]:
        row = self._ask.row(sql.OPERATION_PAGE, (operation_id, page))
        return msgspec.json.decode(row[0], type=list[str]) if row else []

    # --- statistics

    def stats(self, *, now: int) -> Stats:
        with self.snapshot():
            jobs = dict.fromkeys(JobStatus, 0)
            by_type: dict[str, dict[str, int]] = {}
            by_priority: dict[int, dict[str, int]] = {}
            later = deferred(self._ask)
            strata: list[tuple[str, int]] = []
            for status, type_, priority, n in self._ask.rows(sql.JOB_COUNTS):
                jobs[JobStatus(status)] += n
                of_type = by_type.setdefault(type_, {})
                of_type[status] = of_type.get(status, 0) + n
                of_priority = by_priority.setdefault(priority, {})
                of_priority[status] = of_priority.get(status, 0) + n
                if status == JobStatus.PENDING:
                    strata.append((type_, priority))
            oldest = oldest_pending(self._ask, strata, later)
            workers = dict.fromkeys(WorkerStatus, 0)
            for status, n in self._ask.rows(sql.WORKER_COUNTS):
                workers[WorkerStatus(status)] = n
            minute = now // MINUTE_MS
            rates: dict[str, int] = dict(self._ask.rows(sql.RATES_SINCE, (minute - RATE_MINUTES + 1, minute + 1)))
            served = self.insights.types_with_workers()
            served -= {type_ for type_, each in self.types.settings().items() if each.most == 0}
            by_status, bytes_by_type = self._bytes()
        # The minute under way counts as far as it has come.
        minutes = RATE_MINUTES - 1 + now % MINUTE_MS / MINUTE_MS
        left: dict[str, float | None] = {}
        put_off: dict[str, int] = {}
        for (type_, _), n in later.items():
            put_off[type_] = put_off.get(type_, 0) + n
        for type_, counts in by_type.items():
            waiting = counts.get(JobStatus.PENDING, 0) + counts.get(JobStatus.FAILED, 0) - put_off.get(type_, 0)
            if waiting > 0:
                known = type_ in served and rates.get(type_)
                left[type_] = waiting / rates[type_] * minutes * 60 if known else None
        per_minute = sum(rates.values()) / minutes
        return Stats(
            jobs, by_type, by_priority, workers, min(oldest.values(), default=None), per_minute, left, bytes_by_type,
            by_status, sum(put_off.values()),
        )  # fmt: skip

    def totals(self) -> StatusTotals:
        by_priority: dict[int, dict[JobStatus, int]] = {}
        for status, priority, n in self._ask.rows(sql.JOB_TOTALS):
            by_priority.setdefault(priority, {})[JobStatus(status)] = n
        workers = {WorkerStatus(status): n for status, n in self._ask.rows(sql.WORKER_COUNTS)}
        return StatusTotals(by_priority, dict.fromkeys(WorkerStatus, 0) | workers)

    def _bytes(self) -> tuple[dict[str, KeptSum], dict[str, KeptSum]]:
        """By status, and by type."""
        by_status: dict[str, KeptSum] = {}
        by_type: dict[str, KeptSum] = {}
        for status, type_, source, output in self._ask.rows(sql.BYTES):
            kept = KeptSum(int(source), int(output))
            by_status[status] = by_status.get(status, KeptSum()).plus(kept)
            by_type[type_] = by_type.get(type_, KeptSum()).plus(kept)
        return by_status, by_type

    def tag_weights(self, *, after: tuple[int, str], limit: int) -> list[TagWeight]:
        return [TagWeight(*row) for row in self._ask.rows(sql.TAG_WEIGHTS, (-after[0], after[1], limit))]

    def tags_beginning(self, text: str, *, limit: int) -> list[str]:
        return [row[0] for row in self._ask.rows(sql.TAGS_BEGINNING, (text, text + LAST, limit))]

    def converters_beginning(self, text: str, *, limit: int) -> list[str]:
        return [row[0] for row in self._ask.rows(sql.CONVERTERS_BEGINNING, (text, text + LAST, limit))]

    def groups_beginning(self, text: str, *, limit: int) -> list[str]:
        return [row[0] for row in self._ask.rows(sql.GROUPS_BEGINNING, (MOST_LINES, text, text + LAST, limit))]

    def census(self) -> Census:
        with self.outages_told(), self.snapshot():
            jobs = list(self._ask.rows(sql.ALL_JOB_COUNTS))
            later = deferred(self._ask)
            strata = [(type_, priority) for status, type_, priority, n in jobs if n and status == JobStatus.PENDING]
            oldest = oldest_pending(self._ask, strata, later)
            workers = dict.fromkeys(WorkerStatus, 0)
            for status, n in self._ask.rows(sql.WORKER_COUNTS):
                workers[WorkerStatus(status)] = n
            kept = [
                (status, type_, int(source), int(output))
                for status, type_, source, output in self._ask.rows(sql.BYTES)
            ]
        return Census(jobs, oldest, workers, kept, later)

    # --- what the actors read at a start

    def running(self) -> list[tuple[int, int, int, int | None]]:
        return list(self._ask.rows(sql.RUNNING))

    def live_workers(self) -> list[tuple[str, int | None]]:
        return list(self._ask.rows(sql.LIVE_WORKERS))

    def waiting_for_time(self) -> list[tuple[int, int, int]]:
        return list(self._ask.rows(sql.WAITING_FOR_TIME))

    def awaited_sources(self) -> list[tuple[int, str, int]]:
        return list(self._ask.rows(sql.AWAITED_SOURCES))

    def awaited_proofs(self) -> list[ProofAwaited]:
        found = []
        for job_id, chain in self._ask.rows(sql.AWAITED_PROOFS):
            place = rows.decode_chain(chain)
            assert place.source is not None
            found.append(ProofAwaited(job_id, place.source, place.version))
        return found

    def is_doomed(self, key: str) -> bool:
        return self._ask.row(sql.DOOM, (key,)) is not None

    def held_sources(self, hashes: set[str]) -> set[str]:
        asked = msgspec.json.encode(list(hashes)).decode()
        return {row[0] for row in self._ask.rows(sql.HELD_SOURCES, (asked,))}

    def outputs_to_keep(self) -> list[OutputAccepted]:
        return [OutputAccepted(*row) for row in self._ask.rows(sql.TO_KEEP)]

    def unchecked_outputs(self) -> list[tuple[int, int, str]]:
        return list(self._ask.rows(sql.UNCHECKED_OUTPUTS))

    def drills(self, *, limit: int, before: int = NEWEST, ok: bool | None = None) -> list[Drill]:
        return [
            Drill(started, ended, bool(passed), proven, detail, id_)
            for id_, started, ended, passed, proven, detail in self._ask.rows(sql.DRILLS, (before, ok, limit))
        ]

    def proven_until(self) -> int | None:
        row = self._ask.row(sql.PROVEN_UNTIL)
        return row[0] if row else None

    def sanity(self) -> None:
        with self.outages_told():
            self._ask.row(sql.SANITY)


class _ResultNames(msgspec.Struct, omit_defaults=True):
    """What `RESULT_NAMES` gives of a result that is kept aside."""

    filename: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    content_type: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def _with_names_alone(job: Job) -> Job:
    """Five hundred results as they are may be 32 MB."""
    if job.result is None:
        return job
    try:
        return replace(job, result=msgspec.json.encode(msgspec.json.decode(job.result, type=_ResultNames)).decode())
    except msgspec.DecodeError:  # no object, or a number beyond all bounds
        return replace(job, result=None)
