"""What a working set needs, and what it has changed, on PostgreSQL: all statements to load go together with the turn,
all to write with the COMMIT.

State owned here: what is remembered of the last transactions: which types of jobs there are and workers ask for, and
the floor of attempts. Where another server has written since, it is forgotten before any effect decides. What is set
for types, the sets of requirements that jobs have, and the webhooks are remembered with the turn that changed them
last, which each turn tells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import compress
from operator import ne
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from blobforge.events import Event, Fact, JobReady
from blobforge.job import Job
from blobforge.jobtype import SettingsByType
from blobforge.requirements import NO_SETS, RequirementSets
from blobforge.store.bulk import Changes
from blobforge.store.claim_order import is_ready
from blobforge.store.following import Entry
from blobforge.store.needs import Found, Needs
from blobforge.store.postgres import bulk_sql as sql
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.entries import encode, entry
from blobforge.store.postgres.loaded import (
    claim_key_of,
    doom_of,
    extend,
    file_of,
    in_a_row_of,
    load_of,
    path_of,
    repeated_of,
    take_clocks,
    take_failed,
    turn_of,
)
from blobforge.store.postgres.parameters import array_of, column_of, json_of, records_of, started_records
from blobforge.store.postgres.pipeline import SqlAnswer
from blobforge.store.postgres.readylines import LineRead, ReadyLines
from blobforge.store.postgres.turns_sql import CHANGE_TYPE_SETTINGS, ENTRIES
from blobforge.store.sql import rows
from blobforge.store.sql.requirementsets import all_sets
from blobforge.store.sql.rows import decode_ends
from blobforge.store.sql.running import Statements
from blobforge.store.sql.sql import (
    ATTEMPT_FLOOR,
    COUNT_FAILURES,
    FAILURE_BY_FINGERPRINT,
    HIGHEST_CAUSE,
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
from blobforge.webhook import Webhook

_decode_names = msgspec.json.Decoder(list[str]).decode
MOST_MISSED: Final = 64  # entries of others that come with a turn; where there are more, the follower reads them
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


class PostgresBulk:
    """Used by the Store, inside its transaction but for `begin`."""

    far = True

    def __init__(self, turns: WriterTurns, statements: Statements) -> None:
        self._turns = turns
        self._do = statements
        self._told = ""
        self._before = 0
        self._queued = 0
        self._next_id: int | None = None  # of a job
        self._causes: int | None = None  # how many there are; of this transaction, as is the next number
        self._next_cause: int | None = None
        self._types: frozenset[str] | None = None
        self._asked: dict[str, frozenset[str]] = {}
        self._floor: int | None = None
        self._type_settings: tuple[int, SettingsByType] | None = None  # as of which change
        self._sets: tuple[int, RequirementSets] | None = None  # as of which change of what is remembered of types
        self._webhooks: tuple[int, Sequence[Webhook]] | None = None  # the same
        self._alone = False  # whether no other server has written of late
        self._ready = ReadyLines(turns)
        self._since = 0  # the last turn that was known before this one
        self._missed: Sequence[Entry] = ()
        self._unread = False  # whether others have written what did not come along with the turn
        turns.on_news = self._learn_of_others

    # --- transactions

    @property
    def written(self) -> int:
        return self._do.written + self._queued

    def begin(self, now: int) -> None:
        self._next_id = self._next_cause = self._causes = None
        self._told = ""
        self._before = self.written
        self._alone = not self._turns.others_wrote
        self._turns.begin(now)
        self._missed, self._unread = (), False
        self._since = self._turns.turn
        if not self._alone:
            self._turns.queue(ENTRIES, (self._since, MOST_MISSED), self._take_missed)

    @property
    def missed(self) -> Sequence[Entry]:
        if self._unread and self._turns.begun:
            self._unread = False
            self._take_missed(self._turns.run(ENTRIES, (self._since, MOST_MISSED)))
        return self._missed

    @property
    def now(self) -> int:
        return self._turns.at

    @property
    def server(self) -> str:
        return self._turns.server

    @property
    def turn(self) -> int:
        return self._turns.turn

    @property
    def older_wrote(self) -> int | None:
        self._turns.take()
        return self._turns.older

    @property
    def recount(self) -> int:
        return self._turns.recount

    def begin_recount(self) -> int:
        self._queued += 1
        return self._turns.begin_recount()

    def counted(self) -> None:
        self._queued += 1
        self._turns.counted()

    @property
    def losses_settled(self) -> bool:
        return self._turns.losses_settled

    def settle_losses(self) -> None:
        self._queued += 1
        self._turns.settle_losses()

    def tell(self, events: Sequence[Event], facts: Sequence[Fact]) -> None:
        if events or facts:
            self._told = encode(events, facts)

    def commit(self) -> float:
        if self.written == self._before and not self._told:
            self._turns.rollback()
            return 0.0
        return self._turns.commit(self._told)

    def rollback(self) -> None:
        self.doubt()
        self._type_settings = self._sets = self._webhooks = None
        self._turns.rollback()

    def ensure(self) -> None:
        self._turns.flush()

    def doubt(self) -> None:
        """Rows are changed by other statements than those in here."""
        self._next_id = self._next_cause = self._causes = None
        self._ready.floors.clear()
        self._others_wrote()

    def _learn_of_others(self) -> None:
        self._others_wrote()
        if self._alone:  # so that what they have told does not come along
            self._unread = True
            self._ready.floors.missed()

    def _others_wrote(self) -> None:
        self._types = self._floor = None
        self._asked.clear()

    def _take_missed(self, told: SqlAnswer) -> None:
        # Without that turn itself, which comes along and says nothing: it may not have been told yet.
        self._missed = [entry(*row) for row in told.rows if row[0] > self._since]
        if self._missed:
            n, _, nonce, *_ = told.rows[-1]
            self._turns.learn(n, nonce)
        if len(self._missed) < self._turns.turn - self._since or not all(each.known for each in self._missed):
            self._ready.floors.missed()
        for each in self._missed:
            for fact in each.facts:
                if isinstance(fact, JobReady):
                    self._ready.floors.lower(fact.line, fact.priority, fact.turn or fact.job_id)

    # --- loading

    def load(self, needs: Needs) -> Found:
        """All of it in one round trip."""
        found = Found()
        ask = self._turns.queue
        line = self._load_jobs(needs, found)
        groups = self._ready.ask_groups(needs, found)
        self._load_clocks(needs, found)
        if needs.workers:
            ask(sql.WORKERS, (json_of(needs.workers),), lambda told: self._take_workers(found, told))
        self._load_attempts(needs, found)
        if needs.files:
            ask(sql.FILES, (json_of(needs.files),), lambda told: found.files.update(map(file_of, told.rows)))
        if needs.sources_of:
            sources = array_of(needs.sources_of)
            ask(sql.SOURCE_FILES, (sources,), lambda told: found.files.update(map(file_of, told.rows)))
        if needs.dooms:
            ask(sql.DOOMS, (json_of(needs.dooms),), lambda told: found.dooms.update(map(doom_of, told.rows)))
        if needs.batches:
            ask(sql.BATCHES, (array_of(needs.batches),), lambda told: extend(found.batches, rows.batch, told))
        if needs.claim_keys:
            keys = records_of(needs.claim_keys)
            ask(sql.CLAIM_KEYS, (keys,), lambda told: found.claim_keys.update(map(claim_key_of, told.rows)))
            ask(sql.OF_CLAIM_KEYS, (keys,), lambda told: extend(found.jobs, rows.job, told))
        if needs.repeated:
            repeated = records_of(needs.repeated)
            ask(sql.REPEATED, (repeated,), lambda told: found.repeated.update(map(repeated_of, told.rows)))
        if needs.failed:
            found.failed = dict.fromkeys(needs.failed, ())
            ask(sql.FAILED, (array_of(needs.failed), needs.among), lambda told: take_failed(found, told))
        if needs.causes:
            ask(sql.CAUSES, (json_of(needs.causes),), lambda told: found.causes.update(told.rows))
            ask(sql.CAUSES_SO_FAR, (), self._take_causes)
        self._load_loads(needs, found)
        self._load_in_a_row(needs, found)
        self._load_remembered(needs)
        self._turns.flush()
        if line is not None:
            self._ready.take(line, needs, found)
        self._ready.take_groups(groups, found)
        if needs.new_jobs:
            if self._next_id is None:
                self._next_id = self._do.number(sql.HIGHEST_JOB) + 1
            found.new_ids = list(range(self._next_id, self._next_id + needs.new_jobs))
            self._next_id += needs.new_jobs
        return found

    def _load_attempts(self, needs: Needs, found: Found) -> None:
        def take_latest(told: SqlAnswer) -> None:
            found.latest.update((worker_id, decode_ends(ended)) for worker_id, ended in told.rows)

        if needs.latest:
            self._turns.queue(sql.LATEST, (json_of(needs.latest),), take_latest)
        if needs.attempts:
            attempts = records_of(needs.attempts)
            self._turns.queue(sql.ATTEMPTS, (attempts,), lambda told: extend(found.attempts, rows.attempt, told))

    def _load_jobs(self, needs: Needs, found: Found) -> LineRead | None:
        ask = self._turns.queue

        def take(told: SqlAnswer) -> None:
            extend(found.jobs, rows.job, told)

        if needs.jobs:
            ask(sql.JOBS, (array_of(needs.jobs),), take)
        if needs.sources:
            ask(sql.OF_SOURCES, (json_of(needs.sources),), take)
        if needs.beside:
            ask(sql.BESIDE, (array_of(needs.beside),), take)
        if needs.paths:
            ask(sql.PATHS, (records_of(needs.paths),), lambda told: found.paths.update(map(path_of, told.rows)))
        if needs.running_of:
            ask(sql.OF_WORKERS, (json_of(needs.running_of),), take)
        return self._ready.ask(needs, found)

    def _load_remembered(self, needs: Needs) -> None:
        """What the effects will ask for, where it is not remembered, or is likely to be out of date."""
        if (needs.ready or needs.next_of) and not (self._alone and self._floor is not None):
            self._turns.queue(ATTEMPT_FLOOR, (), self._take_floor)
        if self._type_settings is None and self._turns.begun:
            self._turns.queue(TYPE_SETTINGS, (), self._take_type_settings)
        if self._sets is None and self._turns.begun:
            self._turns.queue(REQUIREMENT_SETS, (), self._take_sets)
        if self._webhooks is None and self._turns.begun:
            self._turns.queue(WEBHOOKS, (), self._take_webhooks)
        if needs.new_jobs:
            if self._next_id is None:
                self._turns.queue(sql.HIGHEST_JOB, (), self._take_sequence)
            if not (self._alone and self._types is not None):
                self._turns.queue(TYPES, (), self._take_types)

    def _take_sequence(self, told: SqlAnswer) -> None:
        self._next_id = told.rows[0][0] + 1

    def _take_causes(self, told: SqlAnswer) -> None:
        self._causes, highest = told.rows[0]
        self._next_cause = highest + 1

    def _take_types(self, told: SqlAnswer) -> None:
        self._types = frozenset(row[0] for row in told.rows)

    def _load_clocks(self, needs: Needs, found: Found) -> None:
        ask = self._turns.queue
        if needs.clocks:
            ask(sql.CLOCKS, (json_of(needs.clocks),), lambda told: take_clocks(found, told))
        if needs.turns:
            ask(sql.TURNS, (records_of(needs.turns),), lambda told: found.turns.update(map(turn_of, told.rows)))
        if needs.runs:
            ask(sql.RUNS, (records_of(needs.runs),), lambda told: found.runs.update(map(turn_of, told.rows)))

    def _load_loads(self, needs: Needs, found: Found) -> None:
        """Of the types that had limits when it was looked last; for those that got some since, it is asked again."""
        types = set(needs.loads)
        if self._type_settings is not None and (needs.ready or needs.next_of):
            asked = {line.type for line in needs.ready}
            limited = {type_ for type_, settings in self._type_settings[1].items() if settings.limited}
            types |= limited if needs.next_of else limited & asked
        if types:
            self._turns.queue(sql.LOADS, (json_of(types),), lambda told: found.loads.update(map(load_of, told.rows)))

    def _load_in_a_row(self, needs: Needs, found: Found) -> None:
        def take(told: SqlAnswer) -> None:
            found.in_a_row.update(map(in_a_row_of, told.rows))

        if needs.in_a_row:
            self._turns.queue(sql.ROWS_OF_TYPES, (json_of(needs.in_a_row),), take)
        if needs.in_a_row_of:
            self._turns.queue(sql.ROWS_OF_JOBS, (array_of(needs.in_a_row_of),), take)

    def _take_type_settings(self, told: SqlAnswer) -> None:
        self._type_settings = (self._turns.type_settings, all_settings(told.rows))

    def _take_sets(self, told: SqlAnswer) -> None:
        self._sets = (self._turns.type_settings, all_sets(told.rows))

    def _take_webhooks(self, told: SqlAnswer) -> None:
        self._webhooks = (self._turns.type_settings, [webhook(row) for row in told.rows])

    def _take_floor(self, told: SqlAnswer) -> None:
        self._floor = told.rows[0][0]

    def _take_workers(self, found: Found, told: SqlAnswer) -> None:
        for *row, types in told.rows:
            found.workers.append(worker := rows.worker(tuple(row)))
            self._asked[worker.id] = frozenset(_decode_names(types) if types is not None else ())

    # --- what is remembered

    def known_types(self) -> frozenset[str]:
        self._up_to_date()
        if self._types is None:
            self._types = frozenset(row[0] for row in self._do.rows(TYPES))
        return self._types

    def attempt_floor(self) -> int:
        self._up_to_date()
        if self._floor is None:
            self._floor = self._do.number(ATTEMPT_FLOOR)
        return self._floor

    def type_settings(self) -> SettingsByType:
        if not self._turns.begun:
            return all_settings(self._do.rows(TYPE_SETTINGS))
        as_of = self._turns.type_settings
        if self._type_settings is None or self._type_settings[0] != as_of:
            self._type_settings = (as_of, all_settings(self._do.rows(TYPE_SETTINGS)))
        return self._type_settings[1]

    def type_settings_changed(self) -> None:
        self._queue(CHANGE_TYPE_SETTINGS, ())
        self._type_settings = None

    def webhooks(self) -> Sequence[Webhook]:
        if not self._turns.begun:
            return [webhook(row) for row in self._do.rows(WEBHOOKS)]
        as_of = self._turns.type_settings
        if self._webhooks is None or self._webhooks[0] != as_of:
            self._webhooks = (as_of, [webhook(row) for row in self._do.rows(WEBHOOKS)])
        return self._webhooks[1]

    def webhooks_changed(self) -> None:
        self._queue(CHANGE_TYPE_SETTINGS, ())
        self._webhooks = None

    @property
    def known_sets(self) -> RequirementSets:
        return self._sets[1] if self._sets is not None else NO_SETS

    def requirement_sets(self) -> RequirementSets:
        if not self._turns.begun:
            return all_sets(self._do.rows(REQUIREMENT_SETS))
        as_of = self._turns.type_settings
        if self._sets is None or self._sets[0] != as_of:
            self._sets = (as_of, all_sets(self._do.rows(REQUIREMENT_SETS)))
        return self._sets[1]

    def requirement_sets_are(self, sets: RequirementSets) -> None:
        # The turn that tells of it is this one, whose number is not the one that was told with it.
        self._queue(CHANGE_TYPE_SETTINGS, ())
        self._sets = (self._turns.type_settings, sets)

    def asked_types(self, worker_id: str) -> frozenset[str]:
        self._up_to_date()
        if worker_id not in self._asked:
            found = self._do.rows(WORKER_TYPES, (worker_id,))
            self._asked[worker_id] = frozenset(row[0] for row in found)
        return self._asked[worker_id]

    def _up_to_date(self) -> None:
        if self._turns.begun:
            self._turns.take()
        else:
            self._others_wrote()

    def online_workers(self, type_: str, most: int) -> frozenset[str]:
        found = frozenset(row[0] for row in self._do.rows(ONLINE_WORKERS, (type_, 2 * most)))
        return found if len(found) <= most else frozenset(sorted(found)[:most])

    def labelled_workers(self, type_: str, most: int) -> list[tuple[str, str | None]]:
        return [(row[0], row[1]) for row in self._do.rows(LABELLED_WORKERS, (type_, most))]

    def cause(self, fingerprint: str) -> int | None:
        row = self._do.row(FAILURE_BY_FINGERPRINT, (fingerprint,))
        return int(row[0]) if row else None

    def count_causes(self) -> int:
        if self._causes is None or not self._turns.begun:
            self._causes = self._do.number(COUNT_FAILURES)
        return self._causes

    def new_cause(self) -> int:
        if self._next_cause is None:
            self._next_cause = self._do.number(HIGHEST_CAUSE) + 1
        self._next_cause += 1
        return self._next_cause - 1

    # --- writing

    def write(self, changes: Changes) -> None:
        """In the order of the fields of Changes, each table in one statement but for `jobs` (one for each move).
        They wait for what is run next, or for the commit."""
        self._write_jobs(changes)
        if changes.started:
            self._write(sql.START_ATTEMPTS, started_records(changes.started))
        self._write(sql.END_ATTEMPTS, changes.ended)
        self._write(sql.START_BATCHES, changes.batches_started)
        self._write(sql.CHANGE_TEXTS, changes.texts)
        if changes.more:
            self._write_more(changes)
        for name, counted in changes.tallies.moved():
            self._write(_COUNTERS[name], counted)

    def _write_more(self, changes: Changes) -> None:
        """What neither a claim nor a completion changes: most transactions are of these."""
        write, names = self._write, self._write_names
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
            self._queue(sql.KEEP_RESULT, result)
        names(sql.FORGET_FILES, changes.files_forgotten)
        write(sql.RECORD_FILES, [(*file[:-1], int(file.keeping)) for file in changes.files])
        write(sql.KEEP_FILES, changes.files_kept)
        write(sql.SAVE_WORKERS, [rows.worker_values(worker) for worker in changes.workers])
        write(sql.BEAT_WORKERS, [(each.id, each.last_heartbeat, each.updated_at) for each in changes.beats])
        names(sql.DELETE_WORKERS, changes.workers_gone)
        names(sql.FORGET_WORKER_TYPES, changes.types_forgotten)
        write(sql.ADD_WORKER_TYPES, changes.types_asked)
        for worker_id in (*changes.types_forgotten, *(worker_id for worker_id, _ in changes.types_asked)):
            self._asked.pop(worker_id, None)
        new = [cause.as_new() for cause in changes.causes if cause.new is not None]
        write(sql.INSERT_CAUSES, new)
        if self._causes is not None:
            self._causes += len(new)
        write(sql.SEE_CAUSES, [cause[:5] for cause in changes.causes if cause.new is None])
        # No row twice in one statement: the last one stands.
        kept = {(worker, key): (json_of(jobs), now) for worker, key, jobs, now in changes.claim_keys}
        write(sql.SAVE_CLAIM_KEYS, [(*key, *value) for key, value in kept.items()])
        for repeated in changes.repeated:
            self._queue(sql.SAVE_REPEATED, repeated)
        write(sql.SAVE_UNDOS, changes.undos)
        write(sql.SAVE_OWED, changes.owed)
        write(sql.SAVE_ROWS, changes.in_a_row)
        write(sql.SAVE_CLOCKS, changes.clocks)
        write(sql.SAVE_TURNS, changes.turns)
        for past in changes.turns_past:
            self._queue(sql.FORGET_TURNS, past)
        write(sql.INSERT_AUDIT, [astuple(entry)[1:] for entry in changes.audit])
        write(sql.INSERT_DELIVERIES, changes.deliveries)

    def _queue(self, statement: str, values: Sequence[Any]) -> None:
        self._turns.queue(statement, values)
        self._queued += 1

    def _write(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        if values:
            self._queue(statement, (records_of(values),))

    def _write_names(self, statement: str, names: Sequence[str]) -> None:
        if names:
            self._queue(statement, (json_of(names),))

    def _write_jobs(self, changes: Changes) -> None:
        if changes.made:
            self._write(sql.INSERT_JOBS, [rows.new_job(job) for job in changes.made])
            self._write(sql.INSERT_JOB_TAGS, [(tag, job.id) for job in changes.made for tag in job.tags])
            self._write(sql.JOIN_BATCHES, [(batch, job.id) for job in changes.made for batch in job.batches])
            self._queue(sql.GIVE_JOBS, (max(job.id for job in changes.made),))
            if self._types is not None and not self._types.issuperset(job.type for job in changes.made):
                self._types = None
        moves: dict[tuple[str, str], list[tuple[Job, Job]]] = defaultdict(list)
        for before, after in changes.moved:
            moves[before.status, after.status].append((before, after))
            if before.type != after.type:
                self._types = None
            if is_ready(after):
                self._ready.floors.lower(after.line, after.priority, after.id)
        for move in moves.values():
            self._move(move)
        if changes.gone:
            self._types = None
            self._write(sql.DELETE_JOBS, [(job.id, job.status, job.attempt) for job in changes.gone])

    def _move(self, moved: Sequence[tuple[Job, Job]]) -> None:
        """Those that go from one status to another, in the columns in which any of them has changed."""
        changed: set[str] = set()
        afters = []
        for before, after in moved:
            was, is_now = astuple(before), astuple(after)
            changed.update(compress(_FIELDS, map(ne, was, is_now)))
            afters.append(is_now)
        columns = tuple(compress(_FIELDS, [field in changed for field in _FIELDS]))
        if not columns:
            return
        at = [index for index, field in enumerate(_FIELDS) if field in changed]
        values = [
            (before.id, before.status, before.attempt, *[column_of(after[index]) for index in at])
            for (before, _), after in zip(moved, afters, strict=True)
        ]
        self._write(sql.move_jobs(columns), values)
