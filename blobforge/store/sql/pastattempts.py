"""How attempts of workers have ended, as the judgement of `blobforge/quarantine.py` takes them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from blobforge.quarantine import EndedAttempt
from blobforge.store.sql import rows, sql
from blobforge.store.sql.running import Statements
from blobforge.store.workingset import WorkingSet
from blobforge.worker import Worker, is_held_for

LOOKED_AT: Final = 200  # of a worker's latest attempts, whatever their type: one that fails in seconds has many
MOST_HELD: Final = 1000  # workers in quarantine that are counted
_decode = msgspec.json.Decoder(list[list[Any]]).decode


class PastAttempts:
    """Used inside the transaction that the store has open."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    def of(self, workers: Iterable[str], type_: str, *, since: int, most: int) -> dict[str, list[EndedAttempt]]:
        self._working.settle()
        asked = msgspec.json.encode(sorted(workers)).decode()
        found = self._do.rows(sql.PAST_ATTEMPTS, (asked, since, type_, LOOKED_AT, most))
        return {worker_id: [_ended(*each) for each in _decode(ended or "[]")] for worker_id, ended in found}

    def held(self, type_: str) -> int:
        return sum(is_held_for(worker, type_) for worker in self._held())

    def quarantined(self, type_: str) -> list[Worker]:
        found = [worker for worker in self._held() if worker.quarantine and worker.quarantine.type == type_]
        return [now for worker in found if (now := self._working.worker(worker.id)) is not None]

    def _held(self) -> list[Worker]:
        self._working.settle()
        return [rows.worker(row) for row in self._do.rows(sql.QUARANTINED_WORKERS, (MOST_HELD,))]

    def give_back(self, job_id: int, attempt: int, *, now: int) -> None:
        self._working.settle()
        self._do.rows(sql.GIVE_BACK, (job_id, attempt, now))
        self._working.forget_attempt(job_id, attempt)

    def cause(self, number: str) -> str:
        """The cause with this number, in words."""
        row = self._do.row(sql.CAUSE_IN_WORDS, (int(number),))
        return f"{row[0]} in {row[1]}" if row else "an unknown cause"


def _ended(
    job_id: int,
    attempt: int,
    started_at: int,
    ended_at: int,
    outcome: str,
    failure: int | None,
    completed_by: str | None,
    failed_by: list[str] | None,
) -> EndedAttempt:
    if outcome == "completed":
        return EndedAttempt(job_id, started_at=started_at, ended_at=ended_at, attempt=attempt)
    return EndedAttempt(
        job_id, str(failure), completed_by, tuple(failed_by or ()), started_at, ended_at, outcome == "lost", attempt
    )
