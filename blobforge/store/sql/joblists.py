"""Lists of jobs, page by page.

Each is a page of an index, never a scan: the kept counters say which (status, type, priority) ranges hold rows, and a
page is a lazy merge of those ranges. What no index serves is filtered on the way, over at most SCAN_LIMIT rows a
page; the cursor goes on from there.

A text that is rare is found by an index (`textsearch.py`), which gives all jobs that may have it. One that is in a
good part of the jobs fills a page on the way.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from heapq import heapify, heappop, heappush
from itertools import islice

from blobforge import converters
from blobforge.job import MOST_PATHS, PRIORITIES, Job, JobStatus
from blobforge.requirements import NOTHING, about
from blobforge.store import lists
from blobforge.store.figures import HOUR_MS
from blobforge.store.filters import JobFilter
from blobforge.store.lists import (
    NEWEST,
    PAGE_BYTES,
    Cursor,
    ListPlace,
    Page,
)
from blobforge.store.sql import rows, sql
from blobforge.store.sql.lookups import Lookups
from blobforge.store.sql.running import Queries, Row
from blobforge.store.sql.textsearch import TextSearch, match_expression
from blobforge.texts import folded

FEW_RANGES = 8  # that are asked at once; of more it is first looked up where each begins


class JobLists(Lookups):
    """The lists of the Reader of `store/reading.py`."""

    # How the engine's index is asked for a text.
    wanted_text: Callable[[str], str] = staticmethod(match_expression)

    def __init__(self, ask: Queries) -> None:
        super().__init__(ask)
        self.texts = TextSearch(ask, self.wanted_text)

    def job_in_short(self, job_id: int) -> Job | None:
        row = self._ask.row(sql.JOB_IN_SHORT, (job_id,))
        return rows.job(row) if row else None

    def list_jobs(self, filter_: JobFilter, *, limit: int, cursor: Cursor, offset: int = 0) -> Page:
        with self._ask.moment():
            small = self._small(filter_)
            if small is not None:
                return self._page_of(small, limit=limit, cursor=cursor, offset=offset)
            if filter_.q is not None and self.texts.can_find(filter_.q):
                return self._page_with_text(filter_, filter_.q, limit=limit, cursor=cursor, offset=offset)
            budget = lists.SCAN_LIMIT + offset if filter_.counted else lists.SCAN_LIMIT
            scan = self._in_order(filter_, cursor)
            return self._page(filter_, scan, budget, limit=limit, cursor=cursor, offset=offset)

    def _page_with_text(self, filter_: JobFilter, text: str, *, limit: int, cursor: Cursor, offset: int) -> Page:
        """Most texts that people look for are in many of the first jobs, or in few of all."""
        scan = self._in_order(filter_, cursor)
        page = self._page(filter_, scan, lists.LOOKED_FIRST, limit=limit, cursor=cursor, offset=offset)
        if page.next is None or len(page.jobs) == limit:
            return page
        found = self._found(filter_, text)
        if found is not None and len(found) <= lists.MOST_VERIFIED:
            matching = [place for place, job in self._each_in_short(found) if self._matches(filter_, job)]
            return self._page_of(matching, limit=limit, cursor=cursor, offset=offset)
        scan = self._in_order(filter_, cursor) if found is None else self._each_found(filter_, found, cursor)
        return self._page(filter_, scan, lists.SCAN_LIMIT, limit=limit, cursor=cursor, offset=offset)

    def _found(self, filter_: JobFilter, text: str) -> list[ListPlace] | None:
        """The places of all jobs that may match, in list order; None: of too many."""
        ids = self.texts.find(text)
        if ids is None:
            return None
        return sorted(
            (priority, -id_)
            for priority, id_, status, type_ in self.texts.places(ids)
            if _is_of(filter_, status, type_, priority)
        )

    def _each_in_short(self, places: Sequence[ListPlace]) -> Iterator[tuple[ListPlace, Job]]:
        """These jobs, some at a time, as they are taken."""
        for start in range(0, len(places), sql.MANY):
            some = places[start : start + sql.MANY]
            ids = [-id_ for _, id_ in some]
            found = self._ask.rows(sql.MANY_IN_SHORT, (*ids, *ids[-1:] * (sql.MANY - len(ids))))
            jobs = {job.id: job for job in map(rows.job, found)}
            yield from ((place, jobs[-place[1]]) for place in some)

    def _each_found(
        self, filter_: JobFilter, places: Sequence[ListPlace], cursor: Cursor
    ) -> Generator[Job, None, None]:
        """These jobs behind the cursor; those that match as a whole."""
        behind = bisect_right(places, (cursor.priority, -cursor.id))
        for _, job in self._each_in_short(places[behind:]):
            whole = self.job(job.id) if self._matches(filter_, job) else job
            assert whole is not None, "all of a page is of one moment"
            yield whole

    def _page(
        self,
        filter_: JobFilter,
        scan: Generator[Job, None, None],
        budget: int,
        *,
        limit: int,
        cursor: Cursor,
        offset: int = 0,
        wanted: Callable[[Job], bool] = lambda job: True,
        place: Callable[[Job], Cursor] = lambda job: Cursor(job.priority, job.id),
    ) -> Page:
        """The first that match, and are wanted, of at most `budget` jobs, which come from the cursor on in an order,
        in which each has its place."""
        found: list[Job] = []
        skipped = 0
        last: Job | None = None
        # One row more than wanted says whether there is a next page.
        more = matched_more = False
        size = 0
        for job in islice(scan, budget):
            if not wanted(job) or not self._matches(filter_, job):
                last = job
                continue
            if skipped < offset:
                skipped += 1
                last = job
                continue
            size += written(job)
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
        return Page(found, total, exact, place(last) if more and last else None)

    def _matches(self, filter_: JobFilter, job: Job) -> bool:
        if filter_.matches(job):
            return True
        if job.more_paths == 0 or filter_.q is None or not filter_.matches(job, named=True):
            return False
        wanted, further = folded(filter_.q), self._ask.rows(sql.PATHS_OF_JOB, (job.id, 0, MOST_PATHS))
        return any(wanted in folded(path) for _, path in further)

    def _in_order(self, filter_: JobFilter, cursor: Cursor) -> Generator[Job, None, None]:
        """All jobs that an index finds for the filter from the cursor on, lazily, in list order."""
        after, end = self._ids_of_time(filter_)
        for priority, found in sorted(self._ranges(filter_).items()):
            if priority < cursor.priority:
                continue
            before = min(end, cursor.id if priority == cursor.priority else NEWEST)
            first = self._first_ids(found, (priority, before, after, filter_.status or ""))
            ranges = [
                (self._range(statement, (*key, priority, before, after)), first.get(key) if first else None)
                for statement, key in found
                if first is None or key in first
            ]
            try:
                yield from _newest_first(ranges)
            finally:
                for each, _ in ranges:
                    each.close()

    def _first_ids(self, ranges: Sequence[tuple[str, Row]], bounds: Row) -> dict[Row, int] | None:
        """Of ranges that are many, by their keys, the first id of each that has any; None where it is not known."""
        if len(ranges) <= FEW_RANGES or any(statement != sql.STRATUM for statement, _ in ranges):
            return None
        found = self._ask.rows(sql.FIRST_OF_STRATA, bounds)
        return {(status, type_): id_ for status, type_, id_ in found if id_ is not None}

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
        types = self._types_requiring(filter_.requiring)
        if filter_.group is not None:
            grouped = frozenset(str(type_) for (type_,) in self._ask.rows(sql.TYPES_WITH_GROUPS))
            types = grouped if types is None else types & grouped
        for status, type_, priority, _ in self._strata(filter_):
            if types is None or type_ in types:
                ranges.setdefault(priority, []).append((sql.STRATUM, (status, type_)))
        return ranges

    def _types_requiring(self, requiring: str | None) -> frozenset[str] | None:
        """The types of which some jobs may require this; None: all."""
        if requiring is None or requiring == NOTHING:
            return None
        sets = self._ask.rows(sql.REQUIREMENT_SETS)
        return frozenset(str(type_) for _, type_, text in sets if about(str(text), requiring))

    def _ids_of_time(self, filter_: JobFilter) -> tuple[int, int]:
        """Every job of the filter's time of creation has an id between these two. Exact to the hour."""
        after, before = 0, NEWEST
        if filter_.created_since is not None:
            row = self._ask.row(sql.FIRST_ID, (filter_.created_since // HOUR_MS,))
            after = row[0] - 1 if row and row[0] is not None else NEWEST
        if filter_.created_until is not None:
            row = self._ask.row(sql.LAST_ID, (filter_.created_until // HOUR_MS,))
            before = row[0] + 1 if row and row[0] is not None else 0
        if filter_.batch is not None:
            first, last = self._ask.row(sql.SPAN_OF_BATCH, (filter_.batch,)) or (None, None)
            if first is None or last is None:
                return NEWEST, 0
            after, before = max(after, first - 1), min(before, last + 1)
        return after, before

    def _strata(self, filter_: JobFilter) -> list[tuple[str, str, int, int]]:
        """The kept counters that the filter is about: (status, type, priority, n)."""
        kinds = self._kinds_in(filter_.batch) if filter_.batch is not None else None
        if filter_.type is not None:
            counts = self._ask.rows(sql.JOB_COUNTS_OF_TYPE, (filter_.type,))
        elif filter_.status is not None:
            counts = self._ask.rows(sql.JOB_COUNTS_OF_STATUS, (filter_.status,))
        else:
            counts = self._ask.rows(sql.JOB_COUNTS)
        return [
            (status, type_, priority, n)
            for status, type_, priority, n in counts
            if _is_of(filter_, status, type_, priority) and (kinds is None or (status, type_) in kinds)
        ]

    def _kinds_in(self, batch: int) -> frozenset[tuple[str, str]]:
        """Which statuses and types the jobs of the batch have."""
        found = self._ask.rows(sql.COUNTS_OF_BATCHES, (f"[{batch}]",))
        return frozenset((str(status), str(type_)) for _, status, type_, _ in found)

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
        """The places of all that match a filter by a small batch, a rare tag or a worker's running jobs, in list
        order; None where no index helps. Places, and not the jobs: these may be large, and one page is shown."""
        ids = self._small_ids(filter_)
        if ids is None:
            return None
        jobs = (self.job_in_short(id_) for id_ in ids)
        return sorted((job.priority, -job.id) for job in jobs if job is not None and self._matches(filter_, job))

    def _small_ids(self, filter_: JobFilter) -> list[int] | None:
        """All that may match such a filter."""
        if filter_.batch is not None:
            found = self._ask.rows(sql.IDS_OF_BATCH, (filter_.batch, lists.SMALL + 1))
        elif filter_.tag is not None:
            found = self._ask.rows(sql.IDS_OF_TAG, (filter_.tag, lists.SMALL + 1))
        elif filter_.worker is not None and filter_.status is JobStatus.RUNNING:
            found = self._ask.rows(sql.RUNNING_ON, (filter_.worker, lists.SMALL + 1))
        else:
            return None
        return [row[0] for row in found] if len(found) <= lists.SMALL else None

    def jobs_by_id(self, filter_: JobFilter, *, after: int, limit: int) -> tuple[list[Job], int | None]:
        with self._ask.moment():
            small = self._small(filter_)
            if small is not None:
                ids = [id_ for id_ in sorted(-place for _, place in small) if id_ > after]
                found = [job for job in map(self.job_in_short, ids[:limit]) if job is not None]
                return found, found[-1].id if len(ids) > limit else None
            if filter_.q is not None and self.texts.can_find(filter_.q):
                places = self._found(filter_, filter_.q)
                if places is not None:
                    return self._walk_found(filter_, places, after=after, limit=limit)
            return self._walk(filter_, after=after, limit=limit)

    def _walk_found(
        self, filter_: JobFilter, places: Sequence[ListPlace], *, after: int, limit: int
    ) -> tuple[list[Job], int | None]:
        behind = sorted((place for place in places if -place[1] > after), key=lambda place: -place[1])
        found: list[Job] = []
        size = 0
        for _, job in self._each_in_short(behind):
            if self._matches(filter_, job):
                size += written(job)
                if found and (len(found) == limit or size > PAGE_BYTES):
                    return found, after
                found.append(job)
            after = job.id
        return found, None

    def _walk(self, filter_: JobFilter, *, after: int, limit: int) -> tuple[list[Job], int | None]:
        first, end = self._ids_of_time(filter_)
        batch, statement = filter_.batch, sql.JOBS_BY_ID if filter_.batch is None else sql.JOBS_OF_BATCH
        found: list[Job] = []
        size, after = 0, max(after, first)
        for _ in range(0, lists.SCAN_LIMIT, lists.WALKED_AT_ONCE):
            asked: Row = (after, end, lists.WALKED_AT_ONCE)
            rows_ = self._ask.rows(statement, asked if batch is None else (batch, *asked))
            for job in map(rows.job, rows_):
                if self._matches(filter_, job):
                    size += written(job)
                    if found and (len(found) == limit or size > PAGE_BYTES):
                        return found, after
                    found.append(job)
                after = job.id
            if len(rows_) < lists.WALKED_AT_ONCE:
                return found, None
        return found, after

    def _first_of(self, ids: Sequence[int]) -> list[Job]:
        """The first of these jobs, as many as one page holds."""
        jobs: list[Job] = []
        size = 0
        for id_ in ids:
            job = self.job(id_)
            assert job is not None, "all of a page is of one moment"
            size += written(job)
            if jobs and size > PAGE_BYTES:
                break
            jobs.append(job)
        return jobs

    def _page_of(self, found: list[ListPlace], *, limit: int, cursor: Cursor, offset: int) -> Page:
        """The jobs of one page of a complete, ordered list of places."""
        rest = [place for place in found if place > (cursor.priority, -cursor.id)][offset:]
        jobs = self._first_of([-id_ for _, id_ in rest[:limit]])
        more = len(rest) > len(jobs)
        return Page(jobs, len(found), True, Cursor(jobs[-1].priority, jobs[-1].id) if more and jobs else None)


def _newest_first(ranges: Sequence[tuple[Generator[Job, None, None], int | None]]) -> Iterator[Job]:
    """The jobs of ranges that are newest first, so that all are. A range whose first id is known is asked when that
    one's turn has come: of very many ranges a page needs a few."""
    heap: list[tuple[int, int, Job | None]] = []
    for number, (found, first) in enumerate(ranges):
        if first is not None:
            heap.append((-first, number, None))
        elif (job := next(found, None)) is not None:
            heap.append((-job.id, number, job))
    heapify(heap)
    while heap:
        _, number, job = heappop(heap)
        found, _ = ranges[number]
        if job is None:
            job = next(found)  # it is there: all of a page is of one moment
        yield job
        following = next(found, None)
        if following is not None:
            heappush(heap, (-following.id, number, following))


def _is_of(filter_: JobFilter, status: str, type_: str, priority: int) -> bool:
    """Whether a kept counter is of what the filter takes."""
    unknown = filter_.made_by is not None and converters.wanted(filter_.made_by).unknown
    return (
        filter_.status in (None, status)
        and filter_.type in (None, type_)
        and filter_.priority in (None, priority)
        and (not unknown or status == JobStatus.COMPLETED)
    )


def written(job: Job) -> int:
    """How many characters of a job in a list are of others' making."""
    return sum(
        len(text or "")
        for text in (job.metadata, job.options, job.result, job.progress, job.last_error, job.source_path)
    )
