"""Results that another one has replaced. Rows of `superseded`."""

from __future__ import annotations

from blobforge.store.files import SupersededResult, SupersededTotals
from blobforge.store.sql import sql
from blobforge.store.sql.running import Queries, Statements
from blobforge.store.workingset import WorkingSet


class Superseded:
    """Used inside the transaction that the store has open. Times are in ms."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    def add(self, result: SupersededResult, *, at: int) -> None:
        self._do.rows(sql.ONE_MORE_NEWER, (result.job_id,))
        self.add_old(result, at=at, newer=0)

    def add_old(self, result: SupersededResult, *, at: int, newer: int) -> None:
        self._do.rows(sql.ADD_SUPERSEDED, (result.job_id, result.attempt, at, result.key, result.size, newer))

    def drop(self, job_id: int, attempt: int) -> None:
        self._do.rows(sql.DROP_SUPERSEDED, (job_id, attempt))

    def restored(self, job_id: int, attempt: int) -> None:
        if self._do.change(sql.DROP_SUPERSEDED, (job_id, attempt)):
            self._do.rows(sql.ONE_LESS_NEWER, (job_id,))

    def keeps(self, job_id: int, attempt: int) -> bool:
        return self._do.row(sql.IS_SUPERSEDED, (job_id, attempt)) is not None

    def before(self, at: int, *, limit: int) -> list[SupersededResult]:
        self._working.settle()
        return [SupersededResult(*row) for row in self._do.rows(sql.SUPERSEDED_BEFORE, (at, limit))]

    def beyond(self, kept: int, at: int, *, limit: int) -> list[SupersededResult]:
        self._working.settle()
        return [SupersededResult(*row) for row in self._do.rows(sql.SUPERSEDED_BEYOND, (kept, at, limit))]

    def to_find(self) -> tuple[int, int] | None:
        row = self._do.row(sql.SUPERSEDING)
        return (row[0], row[1]) if row else None

    def found(self, *, next_job: int | None) -> None:
        if next_job is None:
            self._do.rows(sql.END_SUPERSEDING)
        else:
            self._do.rows(sql.SUPERSEDED_UP_TO, (next_job,))


class SupersededLookups:
    """Of the read side."""

    def __init__(self, ask: Queries) -> None:
        self._ask = ask

    def totals(self) -> SupersededTotals:
        row = self._ask.row(sql.SUPERSEDED_TOTALS)
        return SupersededTotals(*row) if row else SupersededTotals(0, 0)

    def due(self, *, before: int | None, kept: int | None) -> SupersededTotals:
        never, any_number = -1, 2**31 - 1
        row = self._ask.row(
            sql.SUPERSEDED_DUE,
            (before if before is not None else never, kept if kept is not None else any_number),
        )
        return SupersededTotals(*row) if row else SupersededTotals(0, 0)
