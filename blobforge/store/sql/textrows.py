"""The index of texts. Rows of `job_texts`, `texts_indexed` and `texts_changed`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from blobforge.job import MOST_PATHS
from blobforge.store.sql import sql
from blobforge.store.sql.running import Row, Statements
from blobforge.store.workingset import WorkingSet
from blobforge.texts import JobTexts

_decode_tags = msgspec.json.Decoder(tuple[str, ...]).decode


def _said(job_id: int, path: str | None, tags: str | None, further: int) -> JobTexts:
    return JobTexts(job_id, path, _decode_tags(tags) if tags else (), further)


class TextRows:
    """Used inside the transaction that the Store has open. `kept` gives a text as the engine's index takes it."""

    def __init__(self, statements: Statements, working: WorkingSet, kept: Callable[[str], str]) -> None:
        self._do = statements
        self._working = working
        self._kept = kept

    def changed(self, *, limit: int) -> list[tuple[int, JobTexts | None]]:
        self._working.settle()
        found = self._do.rows(sql.TEXTS_CHANGED, (limit,))
        return [(job_id, _said(*row) if row[0] is not None else None) for job_id, *row in found]

    def unindexed(self, *, limit: int) -> list[JobTexts]:
        self._working.settle()
        return [_said(*row) for row in self._do.rows(sql.TEXTS_TO_INDEX, (limit,))]

    def further_paths(self, job_id: int) -> list[str]:
        return [path for _, path in self._do.rows(sql.PATHS_OF_JOB, (job_id, 0, MOST_PATHS))]

    def save(self, texts: Sequence[tuple[int, str]]) -> None:
        self._run(sql.SAVE_TEXTS, [(job_id, self._kept(text)) for job_id, text in texts])

    def drop(self, job_ids: Sequence[int]) -> None:
        self._run(sql.DROP_TEXTS, job_ids)

    def leave_out(self, job_id: int) -> None:
        self._do.rows(sql.LARGE_TEXT, (job_id,))

    def settle(self, job_ids: Sequence[int]) -> None:
        self._run(sql.SETTLE_TEXTS, job_ids)

    def indexed(self, *, upto: int) -> None:
        self._do.rows(sql.INDEX_UPTO, (upto,))

    def _run(self, statement: str, rows: Sequence[int] | Sequence[Row]) -> None:
        if rows:
            self._do.rows(statement, (msgspec.json.encode(rows).decode(),))
