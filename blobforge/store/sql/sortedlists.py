"""Lists of jobs in another order than their own (`store/sorting.py`), page by page.

Few jobs are sorted. Of more than that, an index has those with a key in their order, and the jobs that match are
looked for on the way, over at most SCAN_LIMIT rows a page, as in the list's own order: where so many match, they are
met often.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from heapq import merge
from typing import Final

from blobforge.job import Job
from blobforge.store import lists
from blobforge.store.filters import JobFilter
from blobforge.store.lists import NEWEST, Cursor, Page
from blobforge.store.sorting import WITH_END, JobSort
from blobforge.store.sql import sql
from blobforge.store.sql.joblists import JobLists
from blobforge.store.sql.running import Row

BY_KEY: Final = {
    JobSort.CREATED: sql.BY_ID_UP,
    JobSort.NEWEST: sql.BY_ID_DOWN,
    JobSort.ENDED: sql.BY_END_UP,
    JobSort.LAST_ENDED: sql.BY_END_DOWN,
    JobSort.DURATION: sql.BY_DURATION_UP,
    JobSort.LONGEST: sql.BY_DURATION_DOWN,
    JobSort.LARGEST: sql.BY_SIZE_DOWN,
    JobSort.MOST_TRIED: sql.BY_TRIES_DOWN,
}
UPWARDS: Final = {
    sql.STRATUM: sql.STRATUM_UP,
    sql.OF_FAILURE: sql.OF_FAILURE_UP,
    sql.OF_WORKER: sql.OF_WORKER_UP,
    sql.OF_CONVERTER: sql.OF_CONVERTER_UP,
    sql.OF_COMPARED: sql.OF_COMPARED_UP,
}
SortPlace = tuple[int, ...]  # of a job in another order: all of a list compare by it; the last number is its id


class SortedLists(JobLists):
    """Such lists, of the Reader of `store/reading.py`."""

    def sorted_jobs(self, filter_: JobFilter, sort: JobSort, *, limit: int, cursor: Cursor) -> Page:
        with self._ask.moment():
            # By size a place without a key is one among those that the index has not: it goes on there, however many
            # match by now.
            if sort is not JobSort.LARGEST or cursor == Cursor() or cursor.key is not None:
                few = self._sorted_whole(filter_, sort)
                if few is not None:
                    return self._page_of_sorted(few, sort, limit=limit, cursor=cursor)
            return self._page_on_the_way(filter_, sort, limit=limit, cursor=cursor)

    # ------------------------------------------------------------------ few

    def _sorted_whole(self, filter_: JobFilter, sort: JobSort) -> list[SortPlace] | None:
        """The places of all that match, in order; None: too many may."""
        jobs = self._all_that_may_match(filter_)
        if jobs is None:
            return None
        places: list[SortPlace] = []
        try:
            for number, job in enumerate(jobs):
                if number == lists.SORTED_AT_ONCE:
                    return None
                if self._matches(filter_, job):
                    places.append(_place(sort, job))
        finally:
            jobs.close()
        return sorted(places)

    def _all_that_may_match(self, filter_: JobFilter) -> Generator[Job, None, None] | None:
        """None where it is known that there are too many."""
        ids = self._small_ids(filter_)
        if ids is not None:
            return (job for job in map(self.job_in_short, ids) if job is not None)
        if filter_.q is not None and self.texts.can_find(filter_.q):
            found = self._found(filter_, filter_.q)
            if found is None or len(found) > lists.SORTED_AT_ONCE:
                return None
            return (job for _, job in self._each_in_short(found))
        if filter_.counted and self._counted(filter_) > lists.SORTED_AT_ONCE:
            return None
        return self._in_order(filter_, Cursor())

    def _page_of_sorted(self, places: list[SortPlace], sort: JobSort, *, limit: int, cursor: Cursor) -> Page:
        behind = _place_of(cursor)
        rest = [place for place in places if behind is None or place > behind]
        jobs = self._first_of([place[-1] for place in rest[:limit]])
        more = len(rest) > len(jobs)
        return Page(jobs, len(places), True, _cursor(sort, jobs[-1]) if more and jobs else None)

    # ------------------------------------------------------------------ many

    def _page_on_the_way(self, filter_: JobFilter, sort: JobSort, *, limit: int, cursor: Cursor) -> Page:
        """First those that have a key, then the others."""
        look = partial(self._page, filter_, budget=lists.SCAN_LIMIT, cursor=cursor)
        with_key = Page([], 0, True, None)
        without = cursor
        if cursor == Cursor() or cursor.key is not None:
            scan = self._with_key(filter_, sort, cursor)
            with_key = look(scan=scan, limit=limit, place=partial(_cursor, sort))
            if with_key.next is not None:
                return with_key
            without = Cursor()
        jobs = with_key.jobs
        page = look(
            scan=self._in_order(filter_, Cursor(without.priority, without.id)),
            limit=max(1, limit - len(jobs)),
            wanted=lambda job: sort.indexed_key(job) is None,
            place=lambda job: Cursor(job.priority, job.id, sort),
        )
        exact = filter_.counted or (page.next is None and cursor == Cursor())
        total = page.total if filter_.counted else with_key.total + page.total
        if len(jobs) < limit:
            return Page(jobs + page.jobs, total, exact, page.next)
        more = bool(page.jobs or page.next)
        return Page(jobs, total, exact, Cursor(sort=sort) if more else None)

    def _with_key(self, filter_: JobFilter, sort: JobSort, cursor: Cursor) -> Generator[Job, None, None]:
        """From the cursor on, lazily."""
        if not sort.may_have_key(filter_):
            return
        last_id = NEWEST if sort.down else 0
        key, id_ = (cursor.key, cursor.id) if cursor.key is not None else (sort.start, last_id)
        ranges = [self._range(statement, values) for statement, values in self._key_ranges(filter_, sort, key, id_)]
        try:
            yield from merge(*ranges, key=partial(_place, sort))
        finally:
            for each in ranges:
                each.close()

    def _key_ranges(self, filter_: JobFilter, sort: JobSort, key: int, id_: int) -> list[tuple[str, Row]]:
        """The index ranges that hold them: statements with their values."""
        if sort.by == "created":
            return self._ranges_by_id(filter_, sort, key)
        if sort.by == "ended":
            statuses = WITH_END if filter_.status is None else (filter_.status,)
            return [(BY_KEY[sort], (key, id_, status)) for status in statuses]
        return [(BY_KEY[sort], (key, id_))]

    def _ranges_by_id(self, filter_: JobFilter, sort: JobSort, key: int) -> list[tuple[str, Row]]:
        after, end = self._ids_of_time(filter_)
        bounds = (min(end, key), after) if sort.down else (end, max(after, key))
        if not _has_ranges(filter_):
            return [(BY_KEY[sort], bounds)]
        return [
            (statement if sort.down else UPWARDS[statement], (*first, priority, *bounds))
            for priority, found in self._ranges(filter_).items()
            for statement, first in found
        ]


def _has_ranges(filter_: JobFilter) -> bool:
    """Whether an index has but a part of the jobs where it is asked for the filter."""
    asked = (
        filter_.status, filter_.type, filter_.failure, filter_.worker, filter_.compared, filter_.made_by,
        filter_.requiring, filter_.group,
    )  # fmt: skip
    return any(each is not None for each in asked)


def _place(sort: JobSort, job: Job) -> SortPlace:
    return _placed(sort, sort.key(job), job.priority, job.id)


def _place_of(cursor: Cursor) -> SortPlace | None:
    """Where the page before has ended; None: there is none."""
    if cursor.sort is None:
        return None
    return _placed(cursor.sort, cursor.key, cursor.priority, cursor.id)


def _placed(sort: JobSort, key: int | None, priority: int, id_: int) -> SortPlace:
    if key is None:
        return 1, priority, -id_, id_
    sign = -1 if sort.down else 1
    return 0, sign * key, sign * id_, id_


def _cursor(sort: JobSort, job: Job) -> Cursor:
    return Cursor(job.priority, job.id, sort, sort.key(job))
