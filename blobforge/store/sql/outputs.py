"""The outputs of attempts that have several. Rows of `outputs`."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from blobforge.outputs import Output
from blobforge.store.sql import sql
from blobforge.store.sql.running import Queries, Statements


class Outputs:
    """Used inside the transaction that the store has open."""

    def __init__(self, statements: Statements) -> None:
        self._do = statements

    def names(self, job_id: int, attempt: int) -> list[str]:
        return [row[0] for row in self._do.rows(sql.OUTPUT_NAMES, (job_id, attempt))]

    def tell(self, job_id: int, attempt: int, outputs: Collection[Output]) -> None:
        self._do.rows(sql.TELL_OUTPUTS, (job_id, attempt, _json(outputs)))

    def choose(self, job_id: int, attempt: int, outputs: Collection[Output]) -> None:
        self._do.rows(sql.CHOOSE_OUTPUTS, (job_id, attempt, _json(outputs)))

    def choose_none(self, job_id: int, attempt: int) -> None:
        self._do.rows(sql.CHOOSE_NO_OUTPUTS, (job_id, attempt))

    def chosen(self, job_id: int, attempt: int) -> tuple[int, int]:
        row = self._do.row(sql.CHOSEN_OUTPUTS, (job_id, attempt))
        assert row is not None
        return int(row[0]), int(row[1])

    def chosen_of(self, job_id: int, attempt: int, *, after: str = "", limit: int) -> list[Output]:
        return [Output(*row) for row in self._do.rows(sql.CHOSEN_OF, (job_id, attempt, after, limit))]

    def is_chosen(self, job_id: int, attempt: int, name: str) -> bool:
        return self._do.row(sql.IS_CHOSEN, (job_id, attempt, name)) is not None

    def attempts(self, job_id: int) -> list[int]:
        return [row[0] for row in self._do.rows(sql.ATTEMPTS_WITH_OUTPUTS, (job_id,))]

    def forget(self, job_id: int, attempt: int, *, limit: int) -> bool:
        return self._do.change(sql.FORGET_OUTPUTS, (job_id, attempt, limit)) == limit


class OutputLookups:
    """Of the read side."""

    def __init__(self, ask: Queries) -> None:
        self._ask = ask

    def told(self, job_id: int, attempt: int) -> list[Output]:
        return [Output(*row) for row in self._ask.rows(sql.TOLD_OUTPUTS, (job_id, attempt))]

    def page(self, job_id: int, attempt: int, *, after: str, limit: int) -> list[Output]:
        return [Output(*row) for row in self._ask.rows(sql.OUTPUTS_BEHIND, (job_id, attempt, after, limit))]

    def these(self, wanted: Collection[tuple[int, int, str]]) -> dict[tuple[int, int, str], Output]:
        asked = [{"job": job_id, "attempt": attempt, "name": name} for job_id, attempt, name in wanted]
        if not asked:
            return {}
        found = self._ask.rows(sql.THESE_OUTPUTS, (msgspec.json.encode(asked).decode(),))
        return {(job_id, attempt, name): Output(name, *more) for job_id, attempt, name, *more in found}


def _json(outputs: Collection[Output]) -> str:
    return msgspec.json.encode(outputs).decode()
