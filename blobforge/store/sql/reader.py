"""The read side: lists, statistics, what a start reads. Each method is one short read transaction.

Lists are pages of an index, never scans: the kept counters say which (status, type, priority) ranges hold rows,
and a page is a lazy merge of those ranges. What no index serves (a text in the path) is filtered on the way,
over at most SCAN_LIMIT rows a page; the cursor goes on from there.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator
from contextlib import AbstractContextManager, closing
from heapq import merge
from itertools import islice

import msgspec
from msgspec.structs import replace

from blobforge import converters
from blobforge.access import Token
from blobforge.events import OutputAccepted
from blobforge.job import Attempt, Job, JobStatus, Outcome
from blobforge.life import with_former
from blobforge.operation import Operation
from blobforge.people import Session, User
from blobforge.store import lists
from blobforge.store.figures import HOUR_MS, MINUTE_MS, Census, Drill, KeptSum, Stats, TagWeight
from blobforge.store.files import FileRecord
from blobforge.store.filters import JobFilter, TokenFilter, UserFilter
from blobforge.store.lists import (
    MOST_ATTEMPTS,
    NEWEST,
    PAGE_BYTES,
    AttemptPlace,
    Cursor,
    ListPlace,
    Page,
    WorkerAttempt,
)
from blobforge.store.sql import rows, sql
from blobforge.store.sql.insights import Insights
from blobforge.store.sql.lookups import Lookups
from blobforge.store.sql.operations import operation
from blobforge.store.sql.outputs import OutputLookups
from blobforge.store.sql.roster import Roster
from blobforge.store.sql.running import Queries, Row
from blobforge.store.sql.superseded import SupersededLookups
from blobforge.worker import WorkerStatus

PRIORITIES = (1, 2, 3, 4, 5)
RATE_MINUTES = 10


class SqlReader(Lookups):
    """The Reader of `store/reading.py`. Owns its read-only connection."""

    def __init__(self, ask: Queries) -> None:
        super().__init__(ask)
        self.insights = Insights(ask)
        self.roster = Roster(ask)
        self.outputs = OutputLookups(ask)
        self.superseded = SupersededLookups(ask)

    def outages_told(self) -> AbstractContextManager[None]:
        return self._ask.outages_told()

    def snapshot(self) -> AbstractContextManager[None]:
        return self._ask.moment()

    # --- single things

    def job_in_short(self, job_id: int) -> Job | None:
        row = self._ask.row(sql.JOB_IN_SHORT, (job_id,))
        return rows.job(row) if row else None

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

    # --- lists

    def list_jobs(self, filter_: JobFilter, *, limit: int, cursor: Cursor, offset: int = 0) -> Page:
        with self.snapshot():
            small = self._small(filter_)
            if small is not None:
                return self._page_of(small, limit=limit, cursor=cursor, offset=offset)
            return self._page(filter_, limit=limit, cursor=cursor, offset=offset)

    def _page(self, filter_: JobFilter, *, limit: int, cursor: Cursor, offset: int) -> Page:
        found: list[Job] = []
        skipped = 0
        last: Job | None = None
        # One row more than wanted says whether there is a next page.
        scan = self._in_order(filter_, cursor)
        more = matched_more = False
        size = 0
        budget = lists.SCAN_LIMIT + offset if filter_.counted else lists.SCAN_LIMIT
        for job in islice(scan, budget):
            if not self._matches(filter_, job):
                last = job
                continue
            if skipped < offset:
                skipped += 1
                last = job
                continue
            size += _written(job)
            if len(found) == limit or (found and size > PAGE_BYTES):
                more = matched_more = True
                break
            found.append(job)
            last = job
        else:
            more = next(scan, None) is not None
        scan.close()
        total = self._counted(filter_) if filter_.counted else skipped + len(found) + matched_more
        # A page that begins behind others has not seen what matched before it.
        exact = filter_.counted or (not more and cursor == Cursor())
        return Page(found, total, exact, Cursor(last.priority, last.id) if more and last else None)

    def _matches(self, filter_: JobFilter, job: Job) -> bool:
        if filter_.matches(job):
            return True
        if job.more_paths == 0 or filter_.q is None or not filter_.matches(job, named=True):
            return False
        return self._ask.row(sql.HAS_PATH_WITH, (job.id, filter_.q)) is not None

    def _in_order(self, filter_: JobFilter, cursor: Cursor) -> Generator[Job, None, None]:
        """All jobs that an index finds for the filter from the cursor on, lazily, in list order."""
        after, end = self._ids_of_time(filter_)
        for priority, found in sorted(self._ranges(filter_).items()):
            if priority < cursor.priority:
                continue
            before = min(end, cursor.id if priority == cursor.priority else NEWEST)
            ranges = [self._range(statement, (*key, priority, before, after)) for statement, key in found]
            try:
                yield from merge(*ranges, key=lambda job: -job.id)
            finally:
                for each in ranges:
                    each.close()

    def _range(self, statement: str, values: Row) -> Generator[Job, None, None]:
        with closing(self._ask.each(statement, values)) as found:
            for row in found:
                yield rows.job(row)

    def _ranges(self, filter_: JobFilter) -> dict[int, list[tuple[str, Row]]]:
        """The index ranges that hold all that match, by priority: (statement, the first of its values)."""
        priorities = (filter_.priority,) if filter_.priority is not None else PRIORITIES
        if filter_.failure is not None:
            return {priority: [(sql.OF_FAILURE, (filter_.failure,))] for priority in priorities}
        if filter_.worker is not None:
            return {priority: [(sql.OF_WORKER, (filter_.worker,))] for priority in priorities}
        if filter_.compared:
            return {priority: [(sql.OF_COMPARED, ())] for priority in priorities}
        ranges: dict[int, list[tuple[str, Row]]] = {}
        if filter_.made_by is not None and not converters.wanted(filter_.made_by).unknown:
            for made_by, status, type_, priority, _ in self._made(filter_):
                ranges.setdefault(priority, []).append((sql.OF_CONVERTER, (made_by, status, type_)))
            return ranges
        for status, type_, priority, _ in self._strata(filter_):
            ranges.setdefault(priority, []).append((sql.STRATUM, (status, type_)))
        return ranges

    def _ids_of_time(self, filter_: JobFilter) -> tuple[int, int]:
        """Every job of the filter's time of creation has an id between these two. Exact to the hour."""
        after, before = 0, NEWEST
        if filter_.created_since is not None:
            row = self._ask.row(sql.FIRST_ID, (filter_.created_since // HOUR_MS,))
            after = row[0] - 1 if row and row[0] is not None else NEWEST
        if filter_.created_until is not None:
            row = self._ask.row(sql.LAST_ID, (filter_.created_until // HOUR_MS,))
            before = row[0] + 1 if row and row[0] is not None else 0
        return after, before

    def _strata(self, filter_: JobFilter) -> list[tuple[str, str, int, int]]:
        """The kept counters that the filter is about: (status, type, priority, n)."""
        return [
            (status, type_, priority, n)
            for status, type_, priority, n in self._ask.rows(sql.JOB_COUNTS)
            if _is_of(filter_, status, type_, priority)
        ]

    def _made(self, filter_: JobFilter) -> list[tuple[str, str, str, int, int]]:
        """The kept counters of converters that the filter is about: (converter, status, type, priority, n); of all
        converters where it takes results of which none was said."""
        wanted = converters.wanted(filter_.made_by or converters.UNKNOWN)
        return [
            (made_by, *stratum, n)
            for made_by, *stratum, n in self._ask.rows(sql.CONVERTER_COUNTS)
            if (wanted.unknown or wanted.takes(made_by)) and _is_of(filter_, *stratum)
        ]

    def _counted(self, filter_: JobFilter) -> int:
        if filter_.made_by is None:
            return sum(n for _, _, _, n in self._strata(filter_))
        made = sum(each[-1] for each in self._made(filter_))
        if not converters.wanted(filter_.made_by).unknown:
            return made
        return sum(n for _, _, _, n in self._strata(filter_)) - made

    def _small(self, filter_: JobFilter) -> list[ListPlace] | None:
        """The places of all that match a filter by a rare tag or by a worker's running jobs, in list order; None
        where no index helps. Places, and not the jobs: these may be large, and one page of them is shown."""
        if filter_.tag is not None:
            found = self._ask.rows(sql.IDS_OF_TAG, (filter_.tag, lists.SMALL + 1))
        elif filter_.worker is not None and filter_.status is JobStatus.RUNNING:
            found = self._ask.rows(sql.RUNNING_ON, (filter_.worker, lists.SMALL + 1))
        else:
            return None
        ids = [row[0] for row in found]
        if len(ids) > lists.SMALL:
            return None
        jobs = (self.job_in_short(id_) for id_ in ids)
        return sorted((job.priority, -job.id) for job in jobs if job is not None and self._matches(filter_, job))

    def jobs_by_id(self, filter_: JobFilter, *, after: int, limit: int) -> tuple[list[Job], int | None]:
        with self.snapshot():
            small = self._small(filter_)
            if small is not None:
                ids = [id_ for id_ in sorted(-place for _, place in small) if id_ > after]
                found = [job for job in map(self.job_in_short, ids[:limit]) if job is not None]
                return found, found[-1].id if len(ids) > limit else None
            return self._walk(filter_, after=after, limit=limit)

    def _walk(self, filter_: JobFilter, *, after: int, limit: int) -> tuple[list[Job], int | None]:
        first, end = self._ids_of_time(filter_)
        found: list[Job] = []
        size, after = 0, max(after, first)
        for _ in range(0, lists.SCAN_LIMIT, lists.WALKED_AT_ONCE):
            rows_ = self._ask.rows(sql.JOBS_BY_ID, (after, end, lists.WALKED_AT_ONCE))
            for job in map(rows.job, rows_):
                if self._matches(filter_, job):
                    size += _written(job)
                    if found and (len(found) == limit or size > PAGE_BYTES):
                        return found, after
                    found.append(job)
                after = job.id
            if len(rows_) < lists.WALKED_AT_ONCE:
                return found, None
        return found, after

    def attempts_of(self, job_ids: Collection[int]) -> dict[int, int]:
        return dict(self._these(sql.ATTEMPTS_OF_MANY, job_ids))

    def options_of(self, job_ids: Collection[int]) -> dict[int, str]:
        return dict(self._these(sql.OPTIONS_OF_MANY, job_ids))

    def _page_of(self, found: list[ListPlace], *, limit: int, cursor: Cursor, offset: int) -> Page:
        """The jobs of one page of a complete, ordered list of places."""
        rest = [place for place in found if place > (cursor.priority, -cursor.id)][offset:]
        jobs: list[Job] = []
        size = 0
        for _, id_ in rest[:limit]:
            job = self.job(-id_)
            assert job is not None, "all of a page is of one moment"
            size += _written(job)
            if jobs and size > PAGE_BYTES:
                break
            jobs.append(job)
        more = len(rest) > len(jobs)
        return Page(jobs, len(found), True, Cursor(jobs[-1].priority, jobs[-1].id) if more and jobs else None)

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

    # --- statistics

    def stats(self, *, now: int) -> Stats:
        with self.snapshot():
            jobs = dict.fromkeys(JobStatus, 0)
            by_type: dict[str, dict[str, int]] = {}
            by_priority: dict[int, dict[str, int]] = {}
            oldest: int | None = None
            for status, type_, priority, n in self._ask.rows(sql.JOB_COUNTS):
                jobs[JobStatus(status)] += n
                of_type = by_type.setdefault(type_, {})
                of_type[status] = of_type.get(status, 0) + n
                of_priority = by_priority.setdefault(priority, {})
                of_priority[status] = of_priority.get(status, 0) + n
                if status == JobStatus.PENDING:
                    row = self._ask.row(sql.FIRST_PENDING, (type_, priority))
                    if row and (oldest is None or row[0] < oldest):
                        oldest = row[0]
            workers = dict.fromkeys(WorkerStatus, 0)
            for status, n in self._ask.rows(sql.WORKER_COUNTS):
                workers[WorkerStatus(status)] = n
            minute = now // MINUTE_MS
            rates: dict[str, int] = dict(self._ask.rows(sql.RATES_SINCE, (minute - RATE_MINUTES + 1, minute + 1)))
            served = self.insights.types_with_workers()
            by_status, bytes_by_type = self._bytes()
        # The minute under way counts as far as it has come.
        minutes = RATE_MINUTES - 1 + now % MINUTE_MS / MINUTE_MS
        left: dict[str, float | None] = {}
        for type_, counts in by_type.items():
            if waiting := counts.get(JobStatus.PENDING, 0) + counts.get(JobStatus.FAILED, 0):
                known = type_ in served and rates.get(type_)
                left[type_] = waiting / rates[type_] * minutes * 60 if known else None
        per_minute = sum(rates.values()) / minutes
        return Stats(jobs, by_type, by_priority, workers, oldest, per_minute, left, bytes_by_type, by_status)

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

    def census(self) -> Census:
        with self.outages_told(), self.snapshot():
            jobs = list(self._ask.rows(sql.ALL_JOB_COUNTS))
            oldest: dict[str, int] = {}
            for status, type_, priority, n in jobs:
                row = self._ask.row(sql.FIRST_PENDING, (type_, priority)) if n and status == "pending" else None
                if row is not None:
                    oldest[type_] = min(row[0], oldest.get(type_, row[0]))
            workers = dict.fromkeys(WorkerStatus, 0)
            for status, n in self._ask.rows(sql.WORKER_COUNTS):
                workers[WorkerStatus(status)] = n
            kept = [
                (status, type_, int(source), int(output))
                for status, type_, source, output in self._ask.rows(sql.BYTES)
            ]
        return Census(jobs, oldest, workers, kept)

    # --- what the actors read at a start

    def running(self) -> list[tuple[int, int, int]]:
        return list(self._ask.rows(sql.RUNNING))

    def live_workers(self) -> list[tuple[str, int | None]]:
        return list(self._ask.rows(sql.LIVE_WORKERS))

    def waiting_for_time(self) -> list[tuple[int, int]]:
        return list(self._ask.rows(sql.WAITING_FOR_TIME))

    def awaited_sources(self) -> list[tuple[int, str, int]]:
        return list(self._ask.rows(sql.AWAITED_SOURCES))

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


def _is_of(filter_: JobFilter, status: str, type_: str, priority: int) -> bool:
    """Whether a kept counter is of what the filter takes."""
    unknown = filter_.made_by is not None and converters.wanted(filter_.made_by).unknown
    return (
        filter_.status in (None, status)
        and filter_.type in (None, type_)
        and filter_.priority in (None, priority)
        and (not unknown or status == JobStatus.COMPLETED)
    )


def _written(job: Job) -> int:
    """How many characters of a job in a list are of others' making."""
    return sum(
        len(text or "")
        for text in (job.metadata, job.options, job.result, job.progress, job.last_error, job.source_path)
    )


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
