"""The workers as they are listed: by a filter, page by page, each with the ids of the first jobs that it runs."""

from __future__ import annotations

from collections.abc import Iterable

import apsw
import msgspec

from blobforge.store.lists import MOST_IDS, WORKERS_PAGE_BYTES, Listed, RosterPage
from blobforge.store.sqlite import rows, sql
from blobforge.store.sqlite.lookups import moment
from blobforge.worker import Worker, WorkerFilter


class Roster:
    """Reads of the Reader's connection; each sees one moment."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db

    def worker(self, worker_id: str) -> Listed | None:
        with moment(self._db):
            row = self._db.execute(sql.WORKER, (worker_id,)).fetchone()
            found = self._with_jobs([rows.worker(row)]) if row is not None else [None]
        return found[0]

    def by_id(self, wanted: WorkerFilter, *, after: str, limit: int) -> tuple[list[Listed], bool]:
        with moment(self._db):
            page, more = _fitting(self._db.execute(sql.WORKERS_BY_ID, (*_values(wanted), after, limit + 1)), limit)
            found = self._with_jobs([rows.worker(row) for row in page])
        return found, more

    def by_rank(self, wanted: WorkerFilter, *, after: tuple[int, str], limit: int) -> RosterPage:
        with moment(self._db):
            counted = self._db.execute(sql.COUNT_WORKERS, _values(wanted)).fetchone()
            found = self._db.execute(sql.WORKERS_BY_RANK, (*_values(wanted), *after, limit + 1))
            page, more = _fitting(found, limit)
            listed = self._with_jobs([rows.worker(row[:-1]) for row in page])
        assert counted is not None
        return RosterPage(listed, counted[0], (page[-1][-1], listed[-1][0].id) if more else None)

    def _with_jobs(self, workers: list[Worker]) -> list[Listed]:
        jobs: dict[str, list[int]] = {worker.id: [] for worker in workers}
        asked = msgspec.json.encode(list(jobs)).decode()
        for worker_id, job_id in self._db.execute(sql.RUNNING_BY_WORKER, (asked, MOST_IDS)):
            jobs[worker_id].append(job_id)
        return [(worker, jobs[worker.id]) for worker in workers]


def _values(wanted: WorkerFilter) -> rows.Row:
    text = wanted.q.casefold() if wanted.q is not None else None
    return (wanted.status, wanted.enabled, wanted.type, text, wanted.silent_since)


def _fitting(found: Iterable[rows.Row], limit: int) -> tuple[list[rows.Row], bool]:
    """As many rows as a page holds, and whether more are behind it. One at least: a page gets on."""
    page: list[rows.Row] = []
    size = 0
    for row in found:
        size += sum(len(value) for value in row if isinstance(value, str))
        if len(page) == limit or (page and size > WORKERS_PAGE_BYTES):
            return page, True
        page.append(row)
    return page, False
