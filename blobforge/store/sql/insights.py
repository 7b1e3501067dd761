"""What the dashboard reads beside lists and statistics: charts, durations, causes of failures, what needs attention.

Every read takes the same time whatever the number of jobs: it looks at kept counters, at index ranges with a limit,
or at the workers. Part of the Reader, which lends its connection and knows of snapshots.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import closing

import msgspec

from blobforge.breaker import is_open
from blobforge.canary import is_comparison, ordinary
from blobforge.forecast import Durations, Load
from blobforge.job import Job, JobStatus, Outcome
from blobforge.jobtype import NOTHING_SET, TypeLoad
from blobforge.options import WITH_OPTIONS
from blobforge.people import AuditEntry
from blobforge.requirements import RequirementSet, holds, lacking, lane_of, words
from blobforge.scaling import Staff
from blobforge.store import lists
from blobforge.store.figures import (
    CAUSE,
    FLOWS,
    FRESH,
    HOUR_MS,
    KEPT,
    LEVELS,
    NARROWEST,
    ONLINE,
    QUEUED,
    RAN,
    RATE_HOURS,
    RATE_SLOTS,
    RATE_STEP,
    SPLITS_KEPT,
    WEEK_MS,
    WEEKS_KEPT,
    CausesHistory,
    Failure,
    SlotHistory,
    TimesHistory,
    TypeLately,
    TypeQueue,
    UnmatchedSet,
    WorkerRates,
)
from blobforge.store.filters import AuditFilter
from blobforge.store.reading import (
    MOST_AHEAD,
    MOST_CONTESTED,
    MOST_LOOKED_AT,
    MOST_LOST_WORKERS,
    MOST_QUARANTINED,
    MOST_RUNNERS,
    MOST_RUNNING,
    MOST_SPLIT,
    MOST_UNMATCHED,
)
from blobforge.store.sql import rows, sql
from blobforge.store.sql.oldest import deferred, oldest_pending
from blobforge.store.sql.requirementsets import all_sets
from blobforge.store.sql.running import Queries, Row, of_one_moment
from blobforge.store.sql.typesettings import all_settings
from blobforge.timerange import Slots
from blobforge.waiting import Fleet, Surroundings
from blobforge.worker import Worker, WorkerStatus


class Insights:
    """Used by one thread at a time: the Reader's."""

    def __init__(self, ask: Queries) -> None:
        self._ask = ask
        self._known_durations: dict[str, Durations] = {}  # as they were last read

    # --- charts

    @of_one_moment
    def history(self, slots: Slots, *, now: int, type_: str | None = None) -> SlotHistory:
        assert slots.step in KEPT
        last = now // 1000 // slots.step
        flows: dict[str, dict[int, int]] = {what: {} for what in FLOWS}
        levels: dict[str, dict[int, int]] = {status: {} for status in (*LEVELS, ONLINE)}
        known = self._of_all(slots, flows, levels) if type_ is None else self._of_type(type_, slots, flows, levels)
        ran = {last, *known}
        if slots.last >= last:
            self._now_into(levels, last, type_)
        sampled = set(levels[ONLINE])
        return SlotHistory(
            slots.step,
            slots.beginnings,
            {what: [flows[what].get(slot, 0) if slot in ran else None for slot in slots.numbers] for what in FLOWS},
            {
                key: [levels[key].get(slot, 0) if slot in sampled else None for slot in slots.numbers]
                for key in LEVELS
            },
            [levels[ONLINE].get(slot) for slot in slots.numbers],
        )

    def _of_all(self, slots: Slots, *kinds: dict[str, dict[int, int]]) -> set[int]:
        """Fill in what was kept of all types; the slots of which there is anything."""
        asked, known = (slots.step, slots.first, slots.last), set()
        for statement, found in zip((sql.HAPPENINGS, sql.DEPTHS), kinds, strict=True):
            for slot, *sums in self._ask.rows(statement, asked):
                known.add(slot)
                for values, n in zip(found.values(), sums, strict=True):
                    if n is not None:
                        values[slot] = n
        return known

    def _of_type(self, type_: str, slots: Slots, *kinds: dict[str, dict[int, int]]) -> set[int]:
        """The same of one type: the slots of which there is anything, of any type."""
        numbers = msgspec.json.encode(list(slots.numbers)).decode()
        known = {slot for (slot,) in self._ask.rows(sql.SLOTS_WITH_HAPPENINGS, (slots.step, numbers))}
        for statement, found in zip((sql.HAPPENINGS_OF_TYPE, sql.DEPTHS_OF_TYPE), kinds, strict=True):
            for slot, name, n in self._ask.rows(statement, (slots.step, numbers, type_)):
                known.add(slot)
                if name in found:
                    found[name][slot] = n
        return known

    def _now_into(self, levels: dict[str, dict[int, int]], slot: int, type_: str | None) -> None:
        """The slot under way shows what is, not what was at its beginning."""
        for status in LEVELS:
            levels[status][slot] = 0
        statement, values = (sql.JOB_COUNTS, ()) if type_ is None else (sql.JOB_COUNTS_OF_TYPE, (type_,))
        for status, _, _, n in self._ask.rows(statement, values):
            if status in LEVELS:
                levels[status][slot] += n
        levels[ONLINE][slot] = sum(n for status, n in self._ask.rows(sql.WORKER_COUNTS) if status != "offline")

    @of_one_moment
    def times_history(self, slots: Slots, *, type_: str | None = None) -> TimesHistory:
        found: dict[str, dict[int, dict[int, int]]] = {QUEUED: {}, RAN: {}}
        for slot, what, part, n in self._splits(slots, type_, QUEUED, RAN):
            found[what].setdefault(slot, {})[part] = n
        return TimesHistory(found[QUEUED], found[RAN], self._split_since())

    @of_one_moment
    def causes_history(self, slots: Slots, *, type_: str | None = None) -> CausesHistory:
        found: dict[int, dict[int, int]] = {}
        for slot, _, part, n in self._splits(slots, type_, CAUSE, CAUSE):
            found.setdefault(slot, {})[part] = n
        known = {each.id: each for each in self.failures()} if found else {}
        return CausesHistory(found, known, self._split_since())

    def _splits(self, slots: Slots, type_: str | None, what: str, or_what: str) -> Iterator[Row]:
        """(slot, what, part, n); those that are fresh are in none of these slots yet."""
        step = slots.step
        assert step in SPLITS_KEPT
        of = (type_ or "", what, or_what)
        numbers = msgspec.json.encode(list(slots.numbers)).decode()
        counted = {(slot, *key): n for slot, *key, n in self._ask.rows(sql.SPLITS, (step, numbers, *of))}
        span = slots.first * step // NARROWEST, (slots.last + 1) * step // NARROWEST
        for slot, *key, n in self._ask.rows(sql.FRESH_SPLITS, (*span, *of)):
            wide = (slot * NARROWEST // step, *key)
            counted[wide] = counted.get(wide, 0) + n
        return ((*key, n) for key, n in counted.items())

    def _split_since(self) -> int | None:
        """The beginning of the first slot that is kept (seconds): of the narrower ones, where they go as far back."""
        oldest = None
        within = 0  # the width of the slot that begins there
        for step in (*sorted(SPLITS_KEPT, reverse=True), FRESH):
            row = self._ask.row(sql.FIRST_SPLIT, (step,))
            width = step or NARROWEST
            first = row[0] * width if row is not None and row[0] is not None else None
            if first is not None and (oldest is None or first < oldest + within):
                oldest, within = first, width
        return oldest

    @of_one_moment
    def lately(self, types: Collection[str], *, now: int) -> dict[str, TypeLately]:
        slot, hour = now // 1000 // RATE_STEP, now // HOUR_MS
        completed, failed = dict.fromkeys(types, 0), dict.fromkeys(types, 0)
        hours: dict[str, list[int]] = {type_: [0] * RATE_HOURS for type_ in types}
        for type_, _, what, n in self._ended(RATE_STEP, slot, RATE_SLOTS, types):
            if what == Outcome.COMPLETED:
                completed[type_] += n
        for type_, at, what, n in self._ended(HOUR_MS // 1000, hour, RATE_HOURS, types):
            if what != Outcome.COMPLETED:
                failed[type_] += n
            else:
                hours[type_][at - hour - 1] += n
        ran = (RATE_SLOTS - 1 + now / 1000 % RATE_STEP / RATE_STEP) * RATE_STEP
        return {
            type_: TypeLately(completed[type_] / ran * 3600, tuple(hours[type_]), failed[type_]) for type_ in types
        }

    def _ended(self, step: int, last: int, slots: int, types: Collection[str]) -> Iterable[Row]:
        """(type, slot, outcome, n), of so many slots up to the last."""
        numbers = msgspec.json.encode(list(range(last - slots + 1, last + 1))).decode()
        return self._ask.rows(sql.ENDED_OF_TYPES, (step, numbers, msgspec.json.encode(sorted(types)).decode()))

    def completed_since(self, type_: str, hour: int) -> int:
        row = self._ask.row(sql.COMPLETED_SINCE, (hour, type_))
        return int(row[0]) if row else 0

    def marks(self, since: int, until: int, *, type_: str | None, limit: int) -> list[AuditEntry]:
        return [AuditEntry(*row) for row in self._ask.rows(sql.AUDIT_OF_MARKS, (since, until, type_, limit))]

    # --- how long things take

    def durations(self, *, now: int) -> dict[str, Durations]:
        counts: dict[str, dict[int, int]] = {}
        for type_, bucket, n in self._ask.rows(sql.DURATIONS, (now // WEEK_MS - WEEKS_KEPT + 1,)):
            counts.setdefault(type_, {})[bucket] = n
        # Where nothing has been completed since, what was computed of them holds.
        self._known_durations = {
            type_: known
            if (known := self._known_durations.get(type_)) and known.counts == of_type
            else Durations(of_type)
            for type_, of_type in counts.items()
        }
        return self._known_durations

    @of_one_moment
    def loads(self) -> dict[str, Load]:
        waiting: dict[str, int] = {}
        running: dict[str, int] = {}
        for status, type_, n in self._ask.rows(sql.TYPE_TOTALS):
            if status in (JobStatus.PENDING, JobStatus.FAILED):
                waiting[type_] = waiting.get(type_, 0) + n
            elif status == JobStatus.RUNNING:
                running[type_] = running.get(type_, 0) + n
        for (type_, _), n in deferred(self._ask).items():
            waiting[type_] = max(0, waiting.get(type_, 0) - n)  # no worker is needed for them yet
        most = {type_: each.most for type_, each in all_settings(self._ask.rows(sql.TYPE_SETTINGS)).items()}
        types = {*waiting, *running}
        return {type_: Load(waiting.get(type_, 0), running.get(type_, 0), most.get(type_)) for type_ in types}

    def staff(self, type_: str | None) -> Staff:
        asked = self._ask.rows(sql.STAFF) if type_ is None else self._ask.rows(sql.STAFF_OF_TYPE, (type_,))
        return Staff.of((worker_id, bool(online), bool(runs)) for worker_id, online, runs in asked)

    # --- causes of failures

    def failures(self) -> list[Failure]:
        return sorted((Failure(*row) for row in self._ask.rows(sql.FAILURES)), key=lambda each: each.rank)

    def workers_of_failure(self, failure_id: int) -> list[tuple[str, int]]:
        return list(self._ask.rows(sql.WORKERS_OF_FAILURE, (failure_id, MOST_LOOKED_AT, MOST_SPLIT)))

    def filling(self) -> float | None:
        row = self._ask.row(sql.BACKFILL)
        return min(1.0, (row[0] - 1) / row[1]) if row else None

    # --- what needs attention

    def count(self, status: JobStatus) -> int:
        return sum(n for _, _, _, n in self._ask.rows(sql.JOB_COUNTS_OF_STATUS, (status,)))

    def types_with_workers(self) -> set[str]:
        return {row[0] for row in self._ask.rows(sql.TYPES_WITH_WORKERS)}

    def workers_of_type(self, type_: str, *, limit: int) -> list[Worker]:
        return [rows.worker(row) for row in self._ask.rows(sql.WORKERS_OF_TYPE, (type_, limit))]

    def converters_of_type(self, type_: str, *, limit: int) -> list[tuple[str, int]]:
        return [(made_by, int(n)) for made_by, n in self._ask.rows(sql.CONVERTERS_OF_TYPE, (type_, limit))]

    def workers_by_type(self) -> dict[str, int]:
        return dict(self._ask.rows(sql.WORKERS_BY_TYPE))

    @of_one_moment
    def queues(self) -> list[TypeQueue]:
        pending: dict[str, int] = {}
        strata: list[tuple[str, int]] = []
        later = deferred(self._ask)
        for _, type_, priority, n in self._ask.rows(sql.JOB_COUNTS_OF_STATUS, (JobStatus.PENDING,)):
            ready = n - later.get((type_, priority), 0)
            if ready > 0:
                pending[type_] = pending.get(type_, 0) + ready
                strata.append((type_, priority))
        oldest = oldest_pending(self._ask, strata, later)
        served = self.types_with_workers() if pending else set()
        heeded = {row[0] for row in self._ask.rows(sql.TYPES_ACCEPTED)} if pending else set()
        names = msgspec.json.encode(sorted(pending.keys() - heeded)).decode()
        unheeded = {row[0] for row in self._ask.rows(sql.TYPES_READY_IN_LANE, (names, WITH_OPTIONS))}
        found = [
            TypeQueue(type_, n, oldest.get(type_), type_ in served, type_ in unheeded) for type_, n in pending.items()
        ]
        return sorted(found, key=lambda each: (each.oldest_at or 0, each.type))

    @of_one_moment
    def unmatched(self) -> list[UnmatchedSet]:
        waited_for = all_sets(self._ask.rows(sql.SETS_WAITED_FOR))
        there: dict[str, list[str | None]] = {}
        for type_, labels in self._ask.rows(sql.LABELS_THERE) if len(waited_for) else ():
            there.setdefault(str(type_), []).append(labels)
        found: dict[tuple[str, tuple[str, ...]], UnmatchedSet] = {}
        for each in waited_for:  # those of jobs that have a group are sets of their own
            labels, required = there.get(each.type, []), words(each.requires)
            if is_comparison(each.type):
                continue
            if required and not any(holds(of_worker, each.requires) for of_worker in labels):
                others = found.get((each.type, required))
                ready = min(MOST_UNMATCHED, self._ready_in(each) + (others.pending if others is not None else 0))
                without = lacking(each.requires, labels)
                found[each.type, required] = UnmatchedSet(each.type, required, ready, without)
        return list(found.values())

    def _ready_in(self, each: RequirementSet) -> int:
        lanes = (lane_of(each.number, None), lane_of(each.number, "{}"))
        rows_of = (self._ask.row(sql.READY_IN_LANE, (each.type, lane, MOST_UNMATCHED)) for lane in lanes)
        return min(MOST_UNMATCHED, sum(int(row[0]) for row in rows_of if row))

    def running_jobs(self) -> Iterator[Job]:
        found = map(rows.job, self._ask.each(sql.RUNNING_JOBS, (MOST_RUNNING,)))
        return (job for job in found if not is_comparison(job.type))

    def lost_workers(self, *, now: int) -> list[Worker]:
        found = self._ask.rows(sql.LOST_WORKERS, (now // HOUR_MS - RATE_HOURS, MOST_LOST_WORKERS))
        return [rows.worker(row) for row in found]

    def contested_workers(self, *, now: int) -> list[Worker]:
        found = self._ask.rows(sql.CONTESTED_WORKERS, (now - HOUR_MS, MOST_CONTESTED))
        return [rows.worker(row) for row in found]

    def quarantined_workers(self) -> list[Worker]:
        return [rows.worker(row) for row in self._ask.rows(sql.QUARANTINED_WORKERS, (MOST_QUARANTINED,))]

    # --- workers

    def worker_rates(self, *, now: int) -> dict[str, WorkerRates]:
        return _rates(self._ask.rows(sql.WORKER_RATES, (now // HOUR_MS - RATE_HOURS,)))

    def rates_among(self, workers: Collection[str], *, now: int) -> dict[str, WorkerRates]:
        if not workers:
            return {}
        this = now // HOUR_MS
        hours = msgspec.json.encode(list(range(this - RATE_HOURS + 1, this + 1))).decode()
        return _rates(self._ask.rows(sql.RATES_AMONG, (hours, msgspec.json.encode(sorted(workers)).decode())))

    def fleet_rates(self, *, now: int) -> WorkerRates:
        this = now // HOUR_MS
        ended: dict[str, int] = dict.fromkeys(Outcome, 0)
        for _, *flows in self._ask.rows(sql.HAPPENINGS, (HOUR_MS // 1000, this - RATE_HOURS + 1, this)):
            for what, n in zip(FLOWS, flows, strict=True):
                if what in ended and n is not None:
                    ended[what] += n
        return WorkerRates({what: n for what, n in ended.items() if n})

    def rates_of(self, worker_id: str, *, now: int) -> WorkerRates:
        return self.rates_among([worker_id], now=now).get(worker_id, WorkerRates())

    # --- one job

    @of_one_moment
    def surroundings(self, job: Job) -> Surroundings:
        asked = self._ask.rows(sql.FLEET, (job.type, int(job.requires is not None)))
        fleet = _fleet(asked, accepted=job.options is None, requires=job.requires)
        kind, urgent, run = ordinary(job.type), 0, 0
        later = deferred(self._ask)
        for status, type_, priority, n in self._ask.rows(sql.JOB_COUNTS_OF_TYPE, (kind,)):
            if type_ == job.type and status == JobStatus.PENDING and priority < job.priority:
                urgent += max(0, n - later.get((type_, priority), 0))
            if status == JobStatus.RUNNING:
                run += n
        older, own, own_running = self._before(job)
        in_groups = job.of_group is None and self._ask.row(sql.ANY_IN_TURN, (job.type,)) is not None
        types = all_settings(self._ask.rows(sql.TYPE_SETTINGS))
        settings = types.get(kind, NOTHING_SET)
        # Comparisons run beside the others, within the same limits.
        alike = [kind, *(each for each in types if is_comparison(each) and ordinary(each) == kind)]
        run += sum(int(self._ask.rows(sql.RUNNING_OF_TYPE, (each,))[0][0]) for each in alike[1:])
        runners: list[int] = []
        if settings.max_running is not None and run >= settings.max_running:
            for each in alike:
                runners += [row[0] for row in self._ask.rows(sql.RUNNERS_OF_TYPE, (each, MOST_RUNNERS))]
        owed = self._ask.row(sql.OWED_OF_TYPE, (kind,)) if settings.rate_count is not None else None
        load = TypeLoad(run, *owed) if owed else TypeLoad(run)
        ahead = urgent + min(older, MOST_AHEAD)
        held: tuple[str, ...] = ()
        if fleet.quarantined:
            held = tuple(row[0] for row in self._ask.rows(sql.QUARANTINED_OF_TYPE, (job.type, MOST_QUARANTINED)))
        exact = older <= MOST_AHEAD
        probe = None
        if is_open(settings) and (asked_for := self._ask.row(sql.BREAKER_OF_TYPE, (kind,))) is not None:
            known = rows.in_a_row(asked_for[0])
            probe = known.probe_at if known is not None else None
        first = tuple(sorted(runners)[:MOST_RUNNERS])
        return Surroundings(fleet, ahead, exact, run, settings, first, load, held, own, own_running, in_groups, probe)

    def _before(self, job: Job) -> tuple[int, int, int]:
        """How many ready jobs are before it at its priority, at least, how many of these are of its group, and how
        many of its group run; no more than MOST_AHEAD and one jobs, or groups, are looked at."""
        if job.of_group is None:
            row = self._ask.row(sql.AHEAD, (job.type, job.lane, job.priority, job.id, MOST_AHEAD + 1))
            return (row[0] if row else 0), 0, 0
        place = (job.turn, job.id)
        asked = (job.type, job.lane, job.priority, job.of_group, *place, MOST_AHEAD + 1)
        own = int(self._ask.rows(sql.OWN_AHEAD, asked)[0][0])
        running, weight = self._ask.row(sql.RUNNING_OF_GROUP, (job.type, job.priority, job.of_group)) or (0, 1)
        mine = (running + own) // weight
        of_others = (job.type, job.lane, job.priority, mine, *place, job.of_group, MOST_AHEAD + 1)
        groups = self._ask.rows(sql.GROUPS_AHEAD, of_others)
        others = sum(min(ready, max(0, mine * of - run) + (in_round == mine)) for ready, run, of, in_round in groups)
        return own + others, min(own, MOST_AHEAD), running

    def records_about(self, job_id: int, *, before: int, limit: int) -> list[AuditEntry]:
        return [AuditEntry(*row) for row in self._ask.rows(sql.AUDIT_OF_JOB, (str(job_id), before, limit))]

    # --- the audit log

    @of_one_moment
    def audit(self, filter_: AuditFilter, *, before: int, limit: int) -> tuple[list[AuditEntry], int | None]:
        found: list[AuditEntry] = []
        last, lowest = before, None
        if filter_.subject is not None:
            asked = self._ask.each(sql.AUDIT_OF, (filter_.subject, before))
        else:
            asked = self._ask.each(sql.AUDIT_BELOW, (before,))
        with closing(asked):
            for looked, row in enumerate(asked):
                entry = AuditEntry(*row)
                if looked == lists.AUDIT_SCAN or len(found) == limit:
                    return found, last
                last = entry.id
                if filter_.since is not None and entry.at < filter_.since:
                    # Ids are not in the order of time: is there a younger one among those that were written before?
                    if lowest is None:
                        ((lowest,),) = self._ask.rows(sql.LOWEST_AUDIT_SINCE, (filter_.since,))
                    if lowest is None or entry.id < lowest:
                        break
                if filter_.matches(entry):
                    found.append(entry)
        return found, None


def _rates(counted: Iterable[Row]) -> dict[str, WorkerRates]:
    """Of (worker, outcome, how many)."""
    outcomes: dict[str, dict[str, int]] = {}
    for worker_id, outcome, n in counted:
        outcomes.setdefault(worker_id, {})[outcome] = int(n)
    return {worker_id: WorkerRates(of_worker) for worker_id, of_worker in outcomes.items()}


def _fleet(counted: Iterable[Row], *, accepted: bool, requires: str | None) -> Fleet:
    """Each worker under the first thing that keeps jobs from it; an offline one that has unregistered is not
    counted. `accepted`: whether all of them heed the job as it is; `requires`: what it requires of their labels."""
    ready = draining = disabled = offline = deaf = unlabelled = held = 0
    without: list[str | None] = []
    for status, enabled, drain, registered, accepts, labels, quarantined, n in counted:
        if not enabled:
            disabled += n
        elif status == WorkerStatus.OFFLINE:
            offline += n if registered else 0
        elif drain:
            draining += n
        elif quarantined:
            held += n
        elif not (accepts or accepted):
            deaf += n
        elif requires is not None and not holds(labels, requires):
            unlabelled += n
            without.append(labels)
        else:
            ready += n
    missing = lacking(requires, without) if requires is not None else ()
    return Fleet(ready, draining, disabled, offline, deaf, unlabelled, missing, held)
