"""The workers as they are listed: by a filter, page by page, each with the ids of the first jobs that it runs."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import msgspec

from blobforge.store.lists import MOST_IDS, WORKERS_PAGE_BYTES, ListedWorker, RosterPage
from blobforge.store.sql import rows, sql
from blobforge.store.sql.running import Queries, Row
from blobforge.worker import Worker, WorkerFilter


class Roster:
    """Reads of the Reader's connection; each sees one moment."""

    def __init__(self, ask: Queries) -> None:
        self._ask = ask

    def worker(self, worker_id: str) -> ListedWorker | None:
        with self._ask.moment():
            row = self._ask.row(sql.WORKER, (worker_id,))
            found = self._with_jobs([rows.worker(row)]) if row is not None else [None]
        return found[0]

    def by_id(self, wanted: WorkerFilter, *, after: str, limit: int) -> tuple[list[ListedWorker], bool]:
        with self._ask.moment():
            page, more = _fitting(self._ask.each(sql.WORKERS_BY_ID, (*_values(wanted), after, limit + 1)), limit)
            found = self._with_jobs([rows.worker(row) for row in page])
        return found, more

    def by_rank(self, wanted: WorkerFilter, *, after: tuple[int, str], limit: int) -> RosterPage:
        with self._ask.moment():
            counted = self._ask.row(sql.COUNT_WORKERS, _values(wanted))
            found = self._ask.each(sql.WORKERS_BY_RANK, (*_values(wanted), *after, limit + 1))
            page, more = _fitting(found, limit)
            listed = self._with_jobs([rows.worker(row[:-1]) for row in page])
        assert counted is not None
        return RosterPage(listed, counted[0], (page[-1][-1], listed[-1][0].id) if more else None)

    def among(self, wanted: WorkerFilter, ids: list[str]) -> list[ListedWorker]:
        with self._ask.moment():
            asked = msgspec.json.encode(ids).decode()
            found = [rows.worker(row) for row in self._ask.rows(sql.WORKERS_AMONG, (*_values(wanted), asked))]
            return self._with_jobs(sorted(found, key=lambda each: ids.index(each.id)))

    def _with_jobs(self, workers: list[Worker]) -> list[ListedWorker]:
        jobs: dict[str, list[int]] = {worker.id: [] for worker in workers}
        asked = msgspec.json.encode(list(jobs)).decode()
        for worker_id, job_id in self._ask.rows(sql.RUNNING_BY_WORKER, (asked, MOST_IDS)):
            jobs[worker_id].append(job_id)
        return [(worker, jobs[worker.id]) for worker in workers]


def _values(wanted: WorkerFilter) -> Row:
    return (wanted.status, wanted.enabled, wanted.type, wanted.q, wanted.silent_since)


def _fitting(found: Generator[Row, None, None], limit: int) -> tuple[list[Row], bool]:
    """As many rows as a page holds, and whether more are behind it. One at least: a page gets on."""
    page: list[Row] = []
    size = 0
    with closing(found):
        for row in found:
            size += sum(len(value) for value in row if isinstance(value, str))
            if len(page) == limit or (page and size > WORKERS_PAGE_BYTES):
                return page, True
            page.append(row)
    return page, False
