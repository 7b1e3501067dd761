"""Canaries and their jobs. Rows of `canaries` and of `canary_jobs`; and the sample, read from the lists of jobs."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import astuple

from blobforge import converters
from blobforge.canary import Canary, ComparedDocument, SampleCandidate, outcome_of, type_for
from blobforge.job import JobStatus
from blobforge.store.canaries import MOST_READ, PROBED_AT_ONCE, Pair
from blobforge.store.lists import NEWEST
from blobforge.store.sql import sql
from blobforge.store.sql.running import Queries, Row, Statements, of_one_moment
from blobforge.store.workingset import WorkingSet

MOST_WORKERS = 1000  # of one type that are counted
_decode_types = msgspec.json.Decoder(tuple[str, ...]).decode


def canary(row: Row) -> Canary:
    id_, types, *rest = row
    return Canary(id_, _decode_types(types), *rest)


def _values(canary: Canary) -> Row:
    _, types, *rest = astuple(canary)
    return (msgspec.json.encode(types).decode(), *rest)


def _workers(runs: Queries | Statements, made_by: str, types: Iterable[str]) -> int:
    found = {row[0] for type_ in types for row in runs.rows(sql.WORKERS_WITH, (made_by, type_, MOST_WORKERS))}
    return len(found)


def _counts(runs: Queries | Statements, canary: Canary) -> list[tuple[str, int]]:
    types = [type_for(type_, canary.id) for type_ in canary.types]
    return [(status, n) for type_ in types for status, n in runs.rows(sql.COUNTS_OF_TYPE, (type_,))]


class Canaries:
    """Used inside the transaction that the store has open."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    def get(self, canary_id: int) -> Canary | None:
        row = self._do.row(sql.CANARY, (canary_id,))
        return canary(row) if row else None

    def count_open(self) -> int:
        return self._do.number(sql.COUNT_OPEN_CANARIES)

    def add(self, canary: Canary) -> int:
        return self._do.insert(sql.INSERT_CANARY, _values(canary))

    def save(self, canary: Canary) -> None:
        self._do.rows(sql.SAVE_CANARY, (*_values(canary), canary.id))

    def forget(self, canary_id: int) -> None:
        self._do.rows(sql.FORGET_CANARY, (canary_id,))

    def add_jobs(self, canary_id: int, pairs: Sequence[Pair]) -> None:
        self._do.rows(sql.ADD_CANARY_JOBS, (canary_id, msgspec.json.encode(pairs).decode()))

    def jobs(self, canary_id: int, *, after: int = 0, limit: int) -> list[int]:
        return [row[0] for row in self._do.rows(sql.CANARY_JOBS, (canary_id, after, limit))]

    def forget_job(self, canary_id: int, job_id: int) -> None:
        self._do.rows(sql.FORGET_CANARY_JOB, (canary_id, job_id))

    def open(self, *, limit: int) -> list[Canary]:
        return [canary(row) for row in self._do.rows(sql.OPEN_CANARIES, (limit,))]

    def made_before(self, at: int, *, limit: int) -> list[Canary]:
        return [canary(row) for row in self._do.rows(sql.CANARIES_BEFORE, (at, limit))]

    def counts(self, canary: Canary) -> list[tuple[str, int]]:
        self._working.settle()
        return _counts(self._do, canary)

    def workers(self, made_by: str, types: Iterable[str]) -> int:
        self._working.settle()
        return _workers(self._do, made_by, types)


class CanaryLookups:
    """Of the read side."""

    def __init__(self, ask: Queries) -> None:
        self._ask = ask

    def get(self, canary_id: int) -> Canary | None:
        row = self._ask.row(sql.CANARY, (canary_id,))
        return canary(row) if row else None

    def page(self, *, before: int, limit: int) -> list[Canary]:
        return [canary(row) for row in self._ask.rows(sql.CANARIES, (before, limit))]

    def counts(self, canary: Canary) -> list[tuple[str, int]]:
        return _counts(self._ask, canary)

    def workers(self, made_by: str, types: Iterable[str]) -> int:
        return _workers(self._ask, made_by, types)

    def types(self) -> list[str]:
        return [type_ for (type_,) in self._ask.rows(sql.COMPLETED_TYPES)]

    def converters(self, *, limit: int) -> list[str]:
        return [converter for (converter,) in self._ask.rows(sql.CONVERTERS_THERE, (limit,))]

    def jobs(self, canary_id: int, *, after: int = 0, limit: int) -> list[int]:
        return [row[0] for row in self._ask.rows(sql.CANARY_JOBS, (canary_id, after, limit))]

    def compared(self, canary_id: int, *, after: int, limit: int) -> list[ComparedDocument]:
        return [_compared(row) for row in self._ask.rows(sql.CANARY_PAIRS, (canary_id, after, limit))]

    @of_one_moment
    def candidates(self, type_: str, against: str | None, *, most: int, dice: random.Random) -> list[SampleCandidate]:
        strata = self._strata(type_, against)
        total = sum(n for *_, n in strata)
        found: dict[int, SampleCandidate] = {}
        unknown = against is not None and converters.wanted(against).unknown
        for statement, lowest, key, n in strata:
            wanted = max(PROBED_AT_ONCE, most * n // total)
            for id_, size, made_by, cause in self._sampled(statement, lowest, key, n, wanted, dice):
                if not (unknown and made_by is not None):
                    found[id_] = SampleCandidate(id_, type_, size, cause)
        return list(found.values())

    def _sampled(
        self, statement: str, lowest: str, key: Row, n: int, wanted: int, dice: random.Random
    ) -> Iterable[Row]:
        """Of one range of an index: all, where it has hardly more; else those before places that are spread evenly
        over its ids, each moved by chance."""
        if n <= min(2 * wanted, MOST_READ):
            yield from self._ask.rows(statement, (*key, NEWEST, 0, n))
            return
        first, last = self._ask.row(lowest, key), self._ask.row(statement, (*key, NEWEST, 0, 1))
        if first is None or last is None:
            return
        probes = -(-wanted // PROBED_AT_ONCE)
        width = (last[0] - first[0] + 1) / probes
        for each in range(probes):
            place = first[0] + int((each + dice.random()) * width) + 1
            yield from self._ask.rows(statement, (*key, place, 0, PROBED_AT_ONCE))

    def _strata(self, type_: str, against: str | None) -> list[tuple[str, str, Row, int]]:
        """The ranges of an index that hold what may be taken: the statements, the first of their values, how many."""
        done = JobStatus.COMPLETED
        if against is None or (wanted := converters.wanted(against)).unknown:
            return [
                (sql.SAMPLED, sql.LOWEST, (done, type_, priority), n)
                for status, _, priority, n in self._ask.rows(sql.JOB_COUNTS_OF_TYPE, (type_,))
                if status == done
            ]
        return [
            (sql.SAMPLED_OF_CONVERTER, sql.LOWEST_OF_CONVERTER, (made_by, done, type_, priority), n)
            for made_by, status, of, priority, n in self._ask.rows(sql.CONVERTER_COUNTS)
            if (status, of) == (done, type_) and wanted.takes(made_by)
        ]


def _compared(row: Row) -> ComparedDocument:
    """What is known without a look at the results: one that was completed counts as gone."""
    job_id, original, against, type_, status, error, worker, now, was, made_by, size, path = row
    known = JobStatus(status) if status is not None else None
    done = known is JobStatus.COMPLETED
    return ComparedDocument(
        job_id, original, against, type_ or "", outcome_of(known, None), max(0, was) if was is not None else None,
        max(0, now) if now is not None and done else None, None, error if known is JobStatus.DEAD else None, worker,
        made_by, size, path,
    )  # fmt: skip
