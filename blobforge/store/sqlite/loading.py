"""How what a transaction needs is asked of SQLite: in one statement, or where it is little by one for each row; and
where the rows go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from blobforge.fairness import GroupClock
from blobforge.job import Job
from blobforge.jobtype import TypeLoad
from blobforge.options import PLAIN, WITH_OPTIONS, LineGroup, QueueLine
from blobforge.store.files import Doom, FileRecord
from blobforge.store.needs import Found, GroupPlace, Needs
from blobforge.store.sql import rows
from blobforge.store.sql.rows import decode_ends, failures_in_a_row
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.sets import as_json
from blobforge.store.sqlite.statements import Statements

_decode = msgspec.json.Decoder(list[list[Any]]).decode
_decode_pairs = msgspec.json.Decoder(list[tuple[int, int]]).decode
Rows = Sequence[Sequence[Any]]
Take = Callable[[Found, Rows], None]


class OneByOne:
    """The questions of one load, each a statement of its own."""

    def __init__(self, statements: Statements, found: Found) -> None:
        self._rows = statements.rows
        self._found = found

    def named(self, part: sql.LoadPart, names: set[Any], take: Take, *more: Any) -> None:
        for name in names:
            take(self._found, self._rows(part.one, (*name, *more) if isinstance(name, tuple) else (name, *more)))

    def ask(self, part: sql.LoadPart, take: Take, *values: Any) -> None:
        take(self._found, self._rows(part.one, values))

    def finish(self) -> None:
        """All has been asked."""


class Together:
    """The questions of one load, in one statement: its parts, their parameters, and where the rows of each go."""

    def __init__(self, statements: Statements, found: Found) -> None:
        self._do = statements
        self._found = found
        self._parts: list[str] = []
        self._values: list[Any] = []
        self._takes: list[Take] = []

    def named(self, part: sql.LoadPart, names: set[Any], take: Take, *more: Any) -> None:
        self.ask(part, take, as_json(list(names)), *more)

    def ask(self, part: sql.LoadPart, take: Take, *values: Any) -> None:
        self._parts.append(part.many)
        self._values += values
        self._takes.append(take)

    def finish(self) -> None:
        if self._parts:
            (values,) = self._do.rows("SELECT " + ", ".join(self._parts), tuple(self._values))
            for take, value in zip(self._takes, values, strict=True):
                take(self._found, _decode(value))


def ask_ready(load: OneByOne | Together, wanted: Mapping[QueueLine, int]) -> None:
    """Of lines without requirements. The two of a type are one question."""
    for line, most in wanted.items():
        other = QueueLine(line.type, WITH_OPTIONS if line.lane == PLAIN else PLAIN)
        beside = wanted.get(other, 0)
        if most and beside:
            if line.lane == PLAIN:
                load.ask(sql.NEEDED_READY_OF_TWO, _take_ready, *line, most, *other, beside)
        elif most:
            load.ask(sql.NEEDED_READY, _take_ready, *line, most)


def _take_jobs(found: Found, told: Rows) -> None:
    found.jobs += map(rows.job, told)


def _take_ready(found: Found, told: Rows) -> None:
    for job in map(rows.job, told):
        found.ready[job.line].append(job)


def take_kept(found: Found, told: Rows) -> None:
    for job in map(rows.job, told):
        found.kept[job.line].append(job)


def ask_groups(load: OneByOne | Together, needs: Needs, found: Found, *, may_be_kept: Callable[[], bool]) -> None:
    """The first ready jobs of groups of lines, and those that are kept from some workers."""
    for group, most in needs.groups.items():
        found.ready_of[group] = []
        load.ask(sql.NEEDED_READY_OF_GROUP, _taking(found.ready_of[group]), _lines(group), most, most)
    for group in (*needs.groups, *needs.turned):
        found.kept_of[group] = []
        if needs.kept and may_be_kept():
            taking = _taking(found.kept_of[group])
            load.ask(sql.NEEDED_KEPT_OF_GROUP, taking, _lines(group), needs.kept, needs.kept)


def _lines(group: LineGroup) -> str:
    return as_json(list(map(list, group)))


def _taking(jobs: list[Job]) -> Take:
    def take(_: Found, told: Rows) -> None:
        jobs.extend(map(rows.job, told))

    return take


def _take_workers(found: Found, told: Rows) -> None:
    found.workers += map(rows.worker, told)


def _take_paths(found: Found, told: Rows) -> None:
    paths = found.paths
    for source, path, job_id in told:
        paths[source, path] = paths.get((source, path), frozenset()) | {job_id}


def _take_attempts(found: Found, told: Rows) -> None:
    found.attempts += map(rows.attempt, told)


def _take_files(found: Found, told: Rows) -> None:
    for key, *record in told:
        found.files[key] = _file(record)


def _take_dooms(found: Found, told: Rows) -> None:
    for key, state, tries, epoch, again in told:
        found.dooms[key] = Doom(state, tries, epoch, bool(again))


def _take_claim_keys(found: Found, told: Rows) -> None:
    for worker_id, key, pairs in told:
        found.claim_keys[worker_id, key] = _decode_pairs(pairs)


def _take_causes(found: Found, told: Rows) -> None:
    found.causes.update((fingerprint, number) for fingerprint, number in told)


def _take_latest(found: Found, told: Rows) -> None:
    for worker_id, ended in told:
        found.latest[worker_id] = decode_ends(ended)


def _take_loads(found: Found, told: Rows) -> None:
    for type_, running, owed, owed_at in told:
        found.loads[type_] = TypeLoad(running, owed, owed_at)


def _take_in_a_row(found: Found, told: Rows) -> None:
    for type_, state, completed in told:
        found.in_a_row[type_] = failures_in_a_row(state, completed)


def _take_batches(found: Found, told: Rows) -> None:
    found.batches += map(rows.batch, told)


def _take_clocks(found: Found, told: Rows) -> None:
    for type_, priority, now, alone, running in told:
        found.clocks[type_, priority] = GroupClock(now, alone)
        found.alone[type_, priority] = running


def _take_turns(found: Found, told: Rows) -> None:
    for *place, turn in told:
        found.turns[GroupPlace(*place)] = turn


def _take_runs(found: Found, told: Rows) -> None:
    for *place, running in told:
        found.runs[GroupPlace(*place)] = running


def take_failed(found: Found, told: Rows) -> None:
    for job_id, worker_id in told:
        found.failed[job_id] = (*found.failed[job_id], worker_id)


# What is asked for by names: the field of Needs, and where the rows go.
NAMED: Final[tuple[tuple[str, sql.LoadPart, Take], ...]] = (
    ("jobs", sql.NEEDED_JOBS, _take_jobs),
    ("sources", sql.NEEDED_OF_SOURCES, _take_jobs),
    ("beside", sql.NEEDED_BESIDE, _take_jobs),
    ("running_of", sql.NEEDED_OF_WORKERS, _take_jobs),
    ("workers", sql.NEEDED_WORKERS, _take_workers),
    ("attempts", sql.NEEDED_ATTEMPTS, _take_attempts),
    ("files", sql.NEEDED_FILES, _take_files),
    ("sources_of", sql.NEEDED_SOURCE_FILES, _take_files),
    ("dooms", sql.NEEDED_DOOMS, _take_dooms),
    ("paths", sql.NEEDED_PATHS, _take_paths),
    ("claim_keys", sql.NEEDED_CLAIM_KEYS, _take_claim_keys),
    ("causes", sql.NEEDED_CAUSES, _take_causes),
    ("loads", sql.NEEDED_LOADS, _take_loads),
    ("latest", sql.NEEDED_LATEST, _take_latest),
    ("in_a_row", sql.NEEDED_ROWS, _take_in_a_row),
    ("clocks", sql.NEEDED_CLOCKS, _take_clocks),
    ("turns", sql.NEEDED_TURNS, _take_turns),
    ("runs", sql.NEEDED_RUNS, _take_runs),
    ("batches", sql.NEEDED_BATCHES, _take_batches),
)


def _file(record: list[Any]) -> FileRecord | None:
    size, sha256, checked_at, etag, version, kept, keeping = record
    if keeping is None:  # there is no such row
        return None
    return FileRecord(size, sha256, checked_at, etag, version, kept, bool(keeping))
