"""Batches as rows: how they are made and forgotten, found and counted."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from blobforge.batch import JobBatch
from blobforge.store.lists import NEWEST
from blobforge.store.reading import BatchCounts
from blobforge.store.sql import rows, sql
from blobforge.store.sql.running import Queries, Statements
from blobforge.store.workingset import WorkingSet


class BatchRows:
    """Used inside the transaction that the Store has open; changes rows at once."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    def add(self, batch: JobBatch) -> int:
        return self._do.insert(sql.INSERT_BATCH, rows.batch_values(batch))

    def open_named(self, name: str) -> int | None:
        row = self._do.row(sql.OPEN_BATCH, (name,))
        return int(row[0]) if row else None

    def delete_empty(self, batch_id: int) -> bool:
        self._working.settle()  # jobs that have left it in this very transaction
        return self._do.change(sql.DELETE_EMPTY_BATCH, (batch_id,)) == 1

    def counts(self, batch_id: int) -> dict[str, int]:
        self._working.settle()
        found: dict[str, int] = {}
        for _, status, _, n in self._do.rows(sql.COUNTS_OF_BATCHES, (f"[{batch_id}]",)):
            found[status] = found.get(status, 0) + n
        return found


class BatchLookups:
    """Of the read side."""

    def __init__(self, ask: Queries) -> None:
        self._ask = ask

    def get(self, batch_id: int) -> JobBatch | None:
        row = self._ask.row(sql.BATCH, (batch_id,))
        return rows.batch(row) if row else None

    def page(self, *, before: int = NEWEST, limit: int, name: str | None, going: bool) -> list[JobBatch]:
        if name is not None:
            return [rows.batch(row) for row in self._ask.rows(sql.BATCHES_NAMED, (name, before, limit))]
        statement = sql.BATCHES_GOING if going else sql.BATCHES
        return [rows.batch(row) for row in self._ask.rows(statement, (before, limit))]

    def counts(self, batches: Collection[int]) -> dict[int, BatchCounts]:
        found: dict[int, BatchCounts] = {batch: {} for batch in batches}
        asked = msgspec.json.encode(list(batches)).decode()
        for batch, status, type_, n in self._ask.rows(sql.COUNTS_OF_BATCHES, (asked,)):
            found[batch][status, type_] = n
        return found
