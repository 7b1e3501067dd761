"""What a working set needs, and what it has changed, on SQLite: one statement to load all, one for each table to
write.

State owned here: the numbers that are given next, which types of jobs there are and workers ask for, what is set for
types, the webhooks, the floor of attempts, and whether any job is kept from some workers, as long as nothing that was
written is undone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import compress
from operator import itemgetter, ne
from typing import Any, Final, NamedTuple

from msgspec.structs import astuple

from blobforge.events import Event, Fact
from blobforge.job import Job
from blobforge.jobtype import SettingsByType
from blobforge.requirements import NO_SETS, RequirementSets
from blobforge.store.bulk import Changes
from blobforge.store.errors import StaleState, StoreUnavailable
from blobforge.store.figures import MINUTE_MS
from blobforge.store.following import Entry
from blobforge.store.needs import Found, Needs
from blobforge.store.sql import rows
from blobforge.store.sql.requirementsets import all_sets
from blobforge.store.sql.sql import (
    ATTEMPT_FLOOR,
    COUNT_FAILURES,
    FAILURE_BY_FINGERPRINT,
    FORGET_TURNS,
    HIGHEST_CAUSE,
    KEEP_RESULT,
    LABELLED_WORKERS,
    ONLINE_WORKERS,
    REQUIREMENT_SETS,
    TYPE_SETTINGS,
    TYPES,
    WEBHOOKS,
    WORKER_TYPES,
)
from blobforge.store.sql.typesettings import all_settings
from blobforge.store.sql.webhooks import webhook
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.loading import (
    NAMED,
    OneByOne,
    Rows,
    Together,
    ask_groups,
    ask_ready,
    take_failed,
    take_kept,
)
from blobforge.store.sqlite.sets import as_json, columns_of, spell, spell_one
from blobforge.store.sqlite.statements import Statements
from blobforge.store.sqlite.turns import read_turns
from blobforge.webhook import Webhook

_COUNTERS: Final = {
    "jobs": sql.MOVE_JOB_COUNTS,
    "tags": sql.MOVE_TAG_COUNTS,
    "batches": sql.MOVE_BATCH_COUNTS,
    "converters": sql.MOVE_CONVERTER_COUNTS,
    "deferred": sql.MOVE_DEFERRED_COUNTS,
    "failures": sql.MOVE_FAILURE_COUNTS,
    "workers": sql.MOVE_WORKER_COUNTS,
    "happenings": sql.ADD_HAPPENINGS,
    "worker_rates": sql.ADD_WORKER_RATES,
    "splits": sql.ADD_SPLITS,
    "hours": sql.NOTE_HOURS,
}
_FIELDS: Final = Job.__struct_fields__
_PLACES: Final = range(len(_FIELDS))
_guards: Final = itemgetter(*map(_FIELDS.index, ("id", "status", "attempt")))
_GUARDS: Final = 3
# What the table has otherwise than the job.
_OTHERWISE: Final[dict[str, Callable[[Any], Any]]] = {
    "tags": rows.encode_tags,
    "avoid": rows.encode_tags,
    "write_once": int,
    "compare": int,
    "sourceless": int,
    "batches": rows.encode_tags,
    "chain": rows.encode_chain,
}
# Of so few rows each is read and written by a statement of its own, where the transaction has no more: JSON costs
# more than a further statement.
FEW: Final = 2
FEW_COUNTED: Final = 3  # counters, which are small rows


class Bulk:
    """Used by the Store, inside its transaction but for `begin`."""

    far = False
    turn = 0  # there is one server
    server = ""
    missed: Sequence[Entry] = ()  # which misses nothing
    older_wrote: int | None = None
    recount = 0
    losses_settled = False
    now = 0

    def __init__(self, statements: Statements) -> None:
        self._do = statements
        self._next_id: int | None = None  # of a job
        self._next_cause: int | None = None
        self._types: frozenset[str] | None = None
        self._asked: dict[str, frozenset[str]] = {}
        self._floor: int | None = None
        self._any_kept: bool | None = None
        self._type_settings: SettingsByType | None = None
        self._sets: RequirementSets | None = None
        self._webhooks: Sequence[Webhook] | None = None
        self._alone = FEW  # sets of so many rows are written row by row
        self._minute: int | None = None  # of the transaction before; None: the clock may have been set back since

    # --- transactions

    @property
    def written(self) -> int:
        return self._do.written

    def begin(self, now: int) -> None:
        self.now = now
        self._next_id = self._next_cause = None
        try:
            self._do.rows("BEGIN IMMEDIATE")
            if now:
                self._heed_clock(now)
            self.webhooks()  # by the first one, so that none that ends jobs has to ask
        except Exception as error:
            self.rollback()  # it may have begun, and none begins within it
            if isinstance(error, StoreUnavailable):
                raise
            raise StoreUnavailable(str(error)) from error

    def _heed_clock(self, now: int) -> None:
        """Where the clock has been set back, slots that are summed over all types may not be over any more."""
        minute = now // MINUTE_MS
        if self._minute is None or minute < self._minute:
            for statement in (sql.FORGET_SUMS_OF_HAPPENINGS, sql.FORGET_SUMS_OF_DEPTHS):
                self._do.rows(statement, (now // 1000,))
        self._minute = minute

    def begin_recount(self) -> int:
        """It always is."""
        return self.recount

    def counted(self) -> None:
        """It always is."""

    def commit(self) -> float:
        began = time.perf_counter()
        self._do.rows("COMMIT")
        return time.perf_counter() - began

    def rollback(self) -> None:
        self.doubt()
        self.type_settings_changed()
        self._sets = self._webhooks = self._minute = None
        if self._do.in_transaction:  # SQLite has rolled back by itself after some errors
            self._do.rows("ROLLBACK")

    def tell(self, events: Sequence[Event], facts: Sequence[Fact]) -> None:
        """There is no other server."""

    def ensure(self) -> None:
        """It is written already."""

    def settle_losses(self) -> None:
        """No other server is to know."""

    def doubt(self) -> None:
        """Rows are changed by other statements than those in here."""
        self._next_id = self._next_cause = self._types = self._floor = self._any_kept = None
        self._asked.clear()

    # --- loading

    def load(self, needs: Needs) -> Found:
        """All of it in one statement, or where it is little by one for each row; and answers that may be repeated."""
        needs.loads |= self._limited(needs)
        found, asked, little = Found(), [], not needs.running_of  # of one worker there may be hundreds
        for field, part, take in NAMED:
            if names := getattr(needs, field):
                asked.append((part, names, take))
                little = little and len(names) == 1
        little = little and len(needs.failed) <= FEW
        for most in needs.ready.values():
            little = little and most <= FEW
        load = (OneByOne if little else Together)(self._do, found)
        for part, names, take in asked:
            load.named(part, names, take)
        if needs.ready:
            found.ready = {line: [] for line in needs.ready}
            found.kept = {line: [] for line in needs.ready}
            ask_ready(load, needs.ready)
            if needs.kept and self._may_be_kept():
                for line in needs.ready:
                    load.ask(sql.NEEDED_KEPT, take_kept, *line, needs.kept)
        ask_groups(load, needs, found, may_be_kept=self._may_be_kept)
        if needs.failed:
            found.failed = dict.fromkeys(needs.failed, ())
            load.named(sql.NEEDED_FAILED, needs.failed, take_failed, needs.among)
        self._ask_unknown(load, needs)
        if needs.repeated:
            for subject, key, *outcome in self._do.rows(sql.NEEDED_REPEATED, (as_json(list(needs.repeated)),)):
                found.repeated[subject, key] = (outcome[0], outcome[1], outcome[2])
        load.finish()
        if needs.turned or needs.in_hand:
            read_turns(self._do, needs, found, self.type_settings())
        if needs.new_jobs:
            assert self._next_id is not None
            found.new_ids = list(range(self._next_id, self._next_id + needs.new_jobs))
            self._next_id += needs.new_jobs
        return found

    def _ask_unknown(self, load: OneByOne | Together, needs: Needs) -> None:
        """What is remembered, where it is not."""
        if needs.claimants and self._sets is None:
            load.ask(sql.NEEDED_SETS, self._take_sets)
        if needs.new_jobs and self._next_id is None:
            load.ask(sql.NEEDED_HIGHEST, self._take_highest)

    def _limited(self, needs: Needs) -> set[str]:
        """The types with limits of which jobs may be handed out."""
        settings = self.type_settings() if needs.ready else {}
        return {line.type for line in needs.ready if line.type in settings and settings[line.type].limited}

    def _take_sets(self, _: Found, told: Rows) -> None:
        self._sets = all_sets(told)

    def _take_highest(self, _: Found, told: Rows) -> None:
        self._next_id = told[0][0] + 1

    def _may_be_kept(self) -> bool:
        """Whether a job may be kept from some workers: hardly ever."""
        if self._any_kept is None:
            self._any_kept = bool(self._do.number(sql.ANY_KEPT))
        return self._any_kept

    def known_types(self) -> frozenset[str]:
        if self._types is None:
            self._types = frozenset(row[0] for row in self._do.rows(TYPES))
        return self._types

    def type_settings(self) -> SettingsByType:
        if self._type_settings is None:
            self._type_settings = all_settings(self._do.rows(TYPE_SETTINGS))
        return self._type_settings

    def type_settings_changed(self) -> None:
        self._type_settings = None

    def webhooks(self) -> Sequence[Webhook]:
        if self._webhooks is None:
            self._webhooks = [webhook(row) for row in self._do.rows(WEBHOOKS)]
        return self._webhooks

    def webhooks_changed(self) -> None:
        self._webhooks = None

    @property
    def known_sets(self) -> RequirementSets:
        return self._sets if self._sets is not None else NO_SETS

    def requirement_sets(self) -> RequirementSets:
        if self._sets is None:
            self._sets = all_sets(self._do.rows(REQUIREMENT_SETS))
        return self._sets

    def requirement_sets_are(self, sets: RequirementSets) -> None:
        self._sets = sets

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

    def labelled_workers(self, type_: str, most: int) -> list[tuple[str, str | None]]:
        return [(row[0], row[1]) for row in self._do.rows(LABELLED_WORKERS, (type_, most))]

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
        self._write(sql.START_BATCHES, changes.batches_started)
        self._write(sql.CHANGE_TEXTS, changes.texts)
        if changes.more:
            self._write_more(changes)
        if len(changes.moved) + len(changes.made) <= FEW:
            self._alone = FEW_COUNTED
        for name, counted in changes.tallies.moved():
            self._write(_COUNTERS[name], counted)

    def _write_more(self, changes: Changes) -> None:
        """What neither a claim nor a completion changes: most transactions are of these."""
        write = self._write
        write(sql.INSERT_JOB_TAGS, changes.tags_added)
        write(sql.DELETE_JOB_TAGS, changes.tags_removed)
        write(sql.JOIN_BATCHES, changes.batches_joined)
        write(sql.LEAVE_BATCHES, changes.batches_left)
        write(sql.SAVE_BATCHES, changes.batches)
        write(sql.ADD_KIN, changes.kin)
        write(sql.COUNT_FAMILIES, changes.families)
        write(sql.LESSEN_FAMILIES, changes.families_less)
        write(sql.DROP_FAMILIES, [(root,) for root, _ in changes.families_less])
        write(sql.ADD_JOB_PATHS, changes.paths)
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
        write(sql.SAVE_OWED, changes.owed)
        write(sql.SAVE_ROWS, changes.in_a_row)
        write(sql.SAVE_CLOCKS, changes.clocks)
        write(sql.SAVE_TURNS, changes.turns)
        for past in changes.turns_past:
            self._do.rows(FORGET_TURNS, past)
        write(sql.INSERT_AUDIT, [astuple(entry)[1:] for entry in changes.audit])
        write(sql.INSERT_DELIVERIES, changes.deliveries)

    def _write(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        if len(rows) > self._alone:
            self._do.rows(*spell(statement, columns_of(rows)))
        elif rows:
            spelled = spell_one(sql.OF_ONE.get(statement, statement), len(rows[0]))
            for row in rows:
                self._do.rows(spelled, tuple(row))

    def _write_jobs(self, changes: Changes) -> None:
        if changes.made:
            self._write(sql.INSERT_JOBS, [rows.new_job(job) for job in changes.made])
            self._write(sql.INSERT_JOB_TAGS, [(tag, job.id) for job in changes.made for tag in job.tags])
            self._write(sql.JOIN_BATCHES, [(batch, job.id) for job in changes.made for batch in job.batches])
            if self._types is not None and not self._types.issuperset(job.type for job in changes.made):
                self._types = None
        moves: dict[tuple[str, str], list[tuple[Job, Job]]] = defaultdict(list)
        for moved in changes.moved:
            before, after = moved
            moves[before.status, after.status].append(moved)
            if before.avoid or after.avoid:
                self._any_kept = None
            if before.type != after.type:
                self._types = None
        for move in moves.values():
            self._move(move)
        if changes.gone:
            self._types = self._any_kept = None
            guards = columns_of([(job.id, job.status, job.attempt) for job in changes.gone])
            if self._do.change(*spell(sql.DELETE_JOBS, guards)) != len(changes.gone):
                raise self._stale([(job, None) for job in changes.gone])

    def _move(self, moved: Sequence[tuple[Job, Job]]) -> None:
        """Those that go from one status to another, in the columns in which any of them has changed."""
        if len(moved) == 1:
            before, after = map(astuple, moved[0])
            move = _moving(tuple(compress(_PLACES, map(ne, before, after))))
            if not move.columns:
                return
            row = [*_guards(before), *move.pick(after)]
            for at, stored in move.otherwise:
                row[at] = stored(row[at])
            done = self._do.change(move.one, tuple(row))
        else:
            befores, afters = (columns_of(list(map(astuple, jobs))) for jobs in zip(*moved, strict=True))
            move = _moving(tuple(compress(_PLACES, map(ne, befores, afters))))
            if not move.columns:
                return
            columns: list[Sequence[Any]] = [*_guards(befores), *move.pick(afters)]
            for at, stored in move.otherwise:
                columns[at] = tuple(map(stored, columns[at]))
            done = self._do.change(*spell(move.many, columns))
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


def _started(job: Job) -> tuple[Any, ...]:
    return (job.id, job.attempt, job.worker_id, job.lease, job.started_at, job.upload_key, job.converter)


class _Move(NamedTuple):
    """How jobs are moved in some columns: the statement for one and for many, what picks the new values out of all,
    and which values, behind those that guard the move, the table has otherwise."""

    columns: tuple[str, ...]
    one: str
    many: str
    pick: Callable[[Sequence[Any]], Sequence[Any]]
    otherwise: tuple[tuple[int, Callable[[Any], Any]], ...]


@lru_cache(maxsize=256)
def _moving(changed: tuple[int, ...]) -> _Move:
    columns = tuple([_FIELDS[at] for at in changed])
    statement = sql.move_jobs(columns)
    otherwise = [(at, _OTHERWISE[name]) for at, name in enumerate(columns, start=_GUARDS) if name in _OTHERWISE]
    # An itemgetter of one gives no tuple.
    pick = itemgetter(*changed) if len(changed) > 1 else lambda values: [values[at] for at in changed]
    return _Move(columns, spell_one(statement, _GUARDS + len(columns)), statement, pick, tuple(otherwise))
