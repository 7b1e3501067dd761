"""What a working set needs, and what it has changed, on SQLite: one statement to load all, one for each table to
write.

State owned here: the numbers that are given next, which types of jobs there are and workers ask for, and the floor of
attempts, as long as nothing that was written is undone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import compress
from operator import ne
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from blobforge.events import Event, Fact
from blobforge.job import Job
from blobforge.store.bulk import Changes
from blobforge.store.errors import StaleState, StoreUnavailable
from blobforge.store.files import Doom, FileRecord
from blobforge.store.following import Entry
from blobforge.store.needs import Found, Needs
from blobforge.store.sql import rows
from blobforge.store.sql.sql import (
    ATTEMPT_FLOOR,
    COUNT_FAILURES,
    FAILURE_BY_FINGERPRINT,
    HIGHEST_CAUSE,
    KEEP_RESULT,
    ONLINE_WORKERS,
    TYPES,
    WORKER_TYPES,
)
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.sets import as_json, columns_of, spell, spell_one
from blobforge.store.sqlite.statements import Statements

_decode = msgspec.json.Decoder(list[list[Any]]).decode
_decode_pairs = msgspec.json.Decoder(list[tuple[int, int]]).decode
_COUNTERS: Final = {
    "jobs": sql.MOVE_JOB_COUNTS,
    "failures": sql.MOVE_FAILURE_COUNTS,
    "workers": sql.MOVE_WORKER_COUNTS,
    "happenings": sql.ADD_HAPPENINGS,
    "durations": sql.ADD_DURATIONS,
    "worker_rates": sql.ADD_WORKER_RATES,
    "hours": sql.NOTE_HOURS,
}
_FIELDS: Final = Job.__struct_fields__
_PLACES: Final = range(len(_FIELDS))
_GUARDS: Final = tuple(map(_FIELDS.index, ("id", "status", "attempt")))
_LISTS: Final = {"tags", "avoid"}
_FLAGS: Final = {"write_once"}
# Of so few rows each is read and written by a statement of its own, where the transaction has no more: JSON costs
# more than a further statement.
FEW: Final = 2
Rows = Sequence[Sequence[Any]]
Take = Callable[[Rows], None]


class Bulk:
    """Used by the Store, inside its transaction but for `begin`."""

    far = False
    turn = 0  # there is one server
    server = ""
    missed: Sequence[Entry] = ()  # which misses nothing
    now = 0

    def __init__(self, statements: Statements) -> None:
        self._do = statements
        self._next_id: int | None = None  # of a job
        self._next_cause: int | None = None
        self._types: frozenset[str] | None = None
        self._asked: dict[str, frozenset[str]] = {}
        self._floor: int | None = None
        self._alone = FEW  # sets of so many rows are written row by row

    # --- transactions

    @property
    def written(self) -> int:
        return self._do.written

    def begin(self, now: int) -> None:
        self.now = now
        self._next_id = self._next_cause = None
        try:
            self._do.rows("BEGIN IMMEDIATE")
        except StoreUnavailable:
            raise
        except Exception as error:
            raise StoreUnavailable(str(error)) from error

    def commit(self) -> float:
        began = time.perf_counter()
        self._do.rows("COMMIT")
        return time.perf_counter() - began

    def rollback(self) -> None:
        self.doubt()
        if self._do.in_transaction:  # SQLite has rolled back by itself after some errors
            self._do.rows("ROLLBACK")

    def tell(self, events: Sequence[Event], facts: Sequence[Fact]) -> None:
        """There is no other server."""

    def ensure(self) -> None:
        """It is written already."""

    def doubt(self) -> None:
        """Rows are changed by other statements than those in here."""
        self._next_id = self._next_cause = self._types = self._floor = None
        self._asked.clear()

    # --- loading

    def load(self, needs: Needs) -> Found:
        """All of it in one statement, or where it is little by one for each row; and answers that may be repeated."""
        found = Found()
        load = _Load(self._do, found)
        asked = [each for each in (
            (sql.NEEDED_JOBS, needs.jobs, load.jobs),
            (sql.NEEDED_OF_SOURCES, needs.sources, load.jobs),
            (sql.NEEDED_OF_WORKERS, needs.running_of, load.jobs),
            (sql.NEEDED_WORKERS, needs.workers, load.workers),
            (sql.NEEDED_ATTEMPTS, needs.attempts, load.attempts),
            (sql.NEEDED_FILES, needs.files, load.files),
            (sql.NEEDED_SOURCE_FILES, needs.sources_of, load.files),
            (sql.NEEDED_DOOMS, needs.dooms, load.dooms),
            (sql.NEEDED_CLAIM_KEYS, needs.claim_keys, load.claim_keys),
            (sql.NEEDED_CAUSES, needs.causes, load.causes),
        ) if each[1]]  # fmt: skip
        load.one_by_one = not needs.running_of and (  # of one worker there may be hundreds
            all(len(names) == 1 for _, names, _ in asked) and max(len(needs.failed), *needs.ready.values(), 0) <= FEW
        )
        for part, names, take in asked:
            load.named(part, names, take)
        for type_, most in needs.ready.items():
            load.line(type_, most, needs.kept)
        if needs.failed:
            found.failed = dict.fromkeys(needs.failed, ())
            load.named(sql.NEEDED_FAILED, needs.failed, load.failed, needs.among)
        if needs.new_jobs and self._next_id is None:
            load.ask(sql.NEEDED_HIGHEST, self._number)
        if needs.repeated:
            for subject, key, *outcome in self._do.rows(sql.NEEDED_REPEATED, (as_json(list(needs.repeated)),)):
                found.repeated[subject, key] = (outcome[0], outcome[1], outcome[2])
        load.finish()
        if needs.new_jobs:
            assert self._next_id is not None
            found.new_ids = list(range(self._next_id, self._next_id + needs.new_jobs))
            self._next_id += needs.new_jobs
        return found

    def _number(self, found: Rows) -> None:
        self._next_id = found[0][0] + 1

    def known_types(self) -> frozenset[str]:
        if self._types is None:
            self._types = frozenset(row[0] for row in self._do.rows(TYPES))
        return self._types

    def attempt_floor(self) -> int:
        if self._floor is None:
            self._floor = self._do.number(ATTEMPT_FLOOR)
        return self._floor

    def asked_types(self, worker_id: str) -> frozenset[str]:
        if worker_id not in self._asked:
            found = self._do.rows(WORKER_TYPES, (worker_id,))
            self._asked[worker_id] = frozenset(row[0] for row in found)
        return self._asked[worker_id]

    def online_workers(self, type_: str, most: int) -> frozenset[str]:
        found = frozenset(row[0] for row in self._do.rows(ONLINE_WORKERS, (type_, 2 * most)))
        return found if len(found) <= most else frozenset(sorted(found)[:most])

    def cause(self, fingerprint: str) -> int | None:
        row = self._do.row(FAILURE_BY_FINGERPRINT, (fingerprint,))
        return int(row[0]) if row else None

    def count_causes(self) -> int:
        return self._do.number(COUNT_FAILURES)

    def new_cause(self) -> int:
        if self._next_cause is None:
            self._next_cause = self._do.number(HIGHEST_CAUSE) + 1
        self._next_cause += 1
        return self._next_cause - 1

    # --- writing

    def write(self, changes: Changes) -> None:
        """In the order of the fields of Changes, each table in one statement but for `jobs` (one for each move)."""
        self._alone = FEW if len(changes.moved) <= FEW else 1
        self._write_jobs(changes)
        if changes.started:
            self._write(sql.START_ATTEMPTS, [_started(job) for job in changes.started])
        self._write(sql.END_ATTEMPTS, changes.ended)
        if changes.has_more():
            self._write_more(changes)
        for name, counted in changes.tallies.moved():
            self._write(_COUNTERS[name], counted)

    def _write_more(self, changes: Changes) -> None:
        """What neither a claim nor a completion changes: most transactions are of these."""
        write = self._write
        write(sql.DROP_RESULTS, changes.results_dropped)
        write(sql.DROP_RESULTS_BUT, changes.results_but)
        for result in changes.results:  # one by one: each may have 16 MiB
            self._do.rows(KEEP_RESULT, result)
        write(sql.FORGET_FILES, [(key,) for key in changes.files_forgotten])
        write(sql.RECORD_FILES, changes.files)
        write(sql.KEEP_FILES, changes.files_kept)
        write(sql.SAVE_WORKERS, [rows.worker_values(worker) for worker in changes.workers])
        write(sql.BEAT_WORKERS, [(each.id, each.last_heartbeat, each.updated_at) for each in changes.beats])
        write(sql.DELETE_WORKERS, [(worker_id,) for worker_id in changes.workers_gone])
        self._write_types(changes)
        write(sql.INSERT_CAUSES, [cause.as_new() for cause in changes.causes if cause.new is not None])
        write(sql.SEE_CAUSES, [cause[:5] for cause in changes.causes if cause.new is None])
        pairs = [(worker, key, as_json(jobs), now) for worker, key, jobs, now in changes.claim_keys]
        write(sql.SAVE_CLAIM_KEYS, pairs)
        for repeated in changes.repeated:
            self._do.rows(sql.SAVE_REPEATED, repeated)
        write(sql.SAVE_UNDOS, changes.undos)
        write(sql.INSERT_AUDIT, [astuple(entry)[1:] for entry in changes.audit])

    def _write(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        if len(rows) > self._alone:
            self._do.rows(*spell(statement, columns_of(rows)))
        else:
            for row in rows:
                self._do.rows(spell_one(sql.OF_ONE.get(statement, statement), len(row)), tuple(row))

    def _write_jobs(self, changes: Changes) -> None:
        if changes.made:
            self._write(sql.INSERT_JOBS, [rows.new_job(job) for job in changes.made])
            self._write(sql.INSERT_JOB_TAGS, [(tag, job.id) for job in changes.made for tag in job.tags])
            if self._types is not None and not self._types.issuperset(job.type for job in changes.made):
                self._types = None
        moves: dict[tuple[str, str], list[tuple[Job, Job]]] = defaultdict(list)
        for before, after in changes.moved:
            moves[before.status, after.status].append((before, after))
        for move in moves.values():
            self._move(move)
        if changes.gone:
            self._types = None
            guards = columns_of([(job.id, job.status, job.attempt) for job in changes.gone])
            if self._do.change(*spell(sql.DELETE_JOBS, guards)) != len(changes.gone):
                raise self._stale([(job, None) for job in changes.gone])

    def _move(self, moved: list[tuple[Job, Job]]) -> None:
        """Those that go from one status to another, in the columns in which any of them has changed."""
        if len(moved) == 1:
            before, after = map(astuple, moved[0])
            changed = tuple(compress(_PLACES, map(ne, before, after)))
            row = (*[before[at] for at in _GUARDS], *[_stored(_FIELDS[at], after[at]) for at in changed])
            done = self._do.change(spell_one(_moving(changed), len(row)), row) if changed else 1
        else:
            befores, afters = (columns_of(list(map(astuple, jobs))) for jobs in zip(*moved, strict=True))
            changed = tuple(compress(_PLACES, map(ne, befores, afters)))
            columns = [befores[at] for at in _GUARDS]
            columns += [tuple([_stored(_FIELDS[at], value) for value in afters[at]]) for at in changed]
            done = self._do.change(*spell(_moving(changed), columns)) if changed else len(moved)
        if done != len(moved):
            raise self._stale(moved)

    def _stale(self, moves: Sequence[tuple[Job, Job | None]]) -> StaleState:
        """One of these jobs was not as it was read; all others have been moved."""
        asked = as_json([before.id for before, _ in moves])
        there = {row[0]: (row[1], row[2]) for row in self._do.rows(sql.JOB_STATES, (asked,))}
        for before, after in moves:
            wanted = (str(after.status), after.attempt) if after is not None else None
            if there.get(before.id) != wanted:
                return StaleState(f"job {before.id} was no longer {before.status} (attempt {before.attempt})")
        return StaleState(f"one of the jobs {asked} was no longer as it was read")

    def _write_types(self, changes: Changes) -> None:
        self._write(sql.FORGET_WORKER_TYPES, [(worker_id,) for worker_id in changes.types_forgotten])
        self._write(sql.ADD_WORKER_TYPES, changes.types_asked)
        for worker_id in (*changes.types_forgotten, *(worker_id for worker_id, _ in changes.types_asked)):
            self._asked.pop(worker_id, None)


class _Load:
    """The questions of one load. `one_by_one`: each is asked at once. Else they become one statement: its parts,
    their parameters, and where the rows of each go."""

    one_by_one = False

    def __init__(self, statements: Statements, found: Found) -> None:
        self._do = statements
        self._found = found
        self._parts: list[str] = []
        self._values: list[Any] = []
        self._takes: list[Take] = []

    def named(self, part: sql.LoadPart, names: set[Any], take: Take, *more: Any) -> None:
        if not self.one_by_one:
            self._later(part, take, as_json(list(names)), *more)
            return
        for name in names:
            take(self._do.rows(part.one, (*name, *more) if type(name) is tuple else (name, *more)))

    def ask(self, part: sql.LoadPart, take: Take, *values: Any) -> None:
        if self.one_by_one:
            take(self._do.rows(part.one, values))
        else:
            self._later(part, take, *values)

    def line(self, type_: str, most: int, kept: int) -> None:
        found = self._found
        if most:
            self.ask(
                sql.NEEDED_READY, lambda line: found.ready.update({type_: list(map(rows.job, line))}), type_, most
            )
        if kept:  # many, and hardly ever there
            self._later(
                sql.NEEDED_KEPT, lambda line: found.kept.update({type_: list(map(rows.job, line))}), type_, kept
            )

    def _later(self, part: sql.LoadPart, take: Take, *values: Any) -> None:
        self._parts.append(part.many)
        self._values += values
        self._takes.append(take)

    def finish(self) -> None:
        if self._parts:
            (values,) = self._do.rows("SELECT " + ", ".join(self._parts), tuple(self._values))
            for take, value in zip(self._takes, values, strict=True):
                take(_decode(value))
            # They are methods of what holds them, and Python looks for such cycles seldom (machinery/garbage.py): all
            # rows of many transactions would be in memory.
            self._takes.clear()

    def jobs(self, found: Rows) -> None:
        self._found.jobs += map(rows.job, found)

    def workers(self, found: Rows) -> None:
        self._found.workers += map(rows.worker, found)

    def attempts(self, found: Rows) -> None:
        self._found.attempts += map(rows.attempt, found)

    def files(self, found: Rows) -> None:
        for key, *record in found:
            self._found.files[key] = _file(record)

    def dooms(self, found: Rows) -> None:
        for key, state, tries, epoch, again in found:
            self._found.dooms[key] = Doom(state, tries, epoch, bool(again))

    def claim_keys(self, found: Rows) -> None:
        for worker_id, key, pairs in found:
            self._found.claim_keys[worker_id, key] = _decode_pairs(pairs)

    def causes(self, found: Rows) -> None:
        for fingerprint, number in found:
            self._found.causes[fingerprint] = number

    def failed(self, found: Rows) -> None:
        for job_id, worker_id in found:
            self._found.failed[job_id] = (*self._found.failed[job_id], worker_id)


def _file(record: list[Any]) -> FileRecord | None:
    size, sha256, checked_at, etag, version, kept, keeping = record
    if keeping is None:  # there is no such row
        return None
    return FileRecord(size, sha256, checked_at, etag, version, kept, bool(keeping))


def _started(job: Job) -> tuple[Any, ...]:
    return (job.id, job.attempt, job.worker_id, job.lease, job.started_at, job.upload_key)


def _stored(field: str, value: Any) -> Any:
    """As the table has it."""
    if field in _LISTS:
        return rows.encode_tags(value)
    return int(value) if field in _FLAGS else value


@lru_cache(maxsize=256)
def _moving(changed: tuple[int, ...]) -> str:
    return sql.move_jobs(tuple([_FIELDS[at] for at in changed]))
