"""The jobs of the open transaction: looked up, lined up for their claims, made, moved and deleted.

A change is guarded by the state that it started from, here and once more where it is written.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator
from itertools import islice

from msgspec.structs import replace

from blobforge.batch import ENDED, JobBatch, is_unfinished
from blobforge.breaker import HOUR_MS, RowOfFailures
from blobforge.canary import ordinary
from blobforge.chain import Kin
from blobforge.fairness import STEP, Alone, GroupClock, InTurn
from blobforge.job import PRIORITIES, Job, JobStatus
from blobforge.jobtype import NOTHING_SET, TypeLoad, TypeSettings
from blobforge.options import WITH_OPTIONS, LineGroup, QueueLine
from blobforge.store.claim_order import ClaimOrder, is_kept, is_ready, place
from blobforge.store.errors import StaleState
from blobforge.store.knownrows import MOST_AHEAD
from blobforge.store.needs import FailuresInARow, GroupPlace, Needs
from blobforge.store.opentransaction import OpenTransaction
from blobforge.store.turn_order import NotRead


class JobRows(OpenTransaction):
    """Verbs on jobs, their lines and their paths."""

    def job(self, job_id: int) -> Job | None:
        if not self._open or job_id not in self._rows.jobs:
            self._ask(Needs(jobs={job_id}))
        return self._rows.jobs[job_id]

    def read_ahead(self, job_ids: Collection[int]) -> None:
        """These are asked for soon: they are read in one question."""
        if missing := {job_id for job_id in job_ids if not self._open or job_id not in self._rows.jobs}:
            self._ask(Needs(jobs=missing))

    @property
    def no_set_unused(self) -> bool:
        """Whether it was looked for sets of requirements that no job has, in this transaction, in vain."""
        return self._open and self._rows.no_set_unused

    def note_no_set_unused(self) -> None:
        self._rows.no_set_unused = True

    def same_job(self, source_hash: str, type_: str, options: str | None) -> Job | None:
        """The job of this source and type, with these options."""
        for job in self.jobs_by_hash(source_hash):
            if job.type == type_ and job.options == options:
                return job
        return None

    def jobs_by_hash(self, source_hash: str) -> list[Job]:
        """All jobs of one source, whatever their type."""
        if not self._open or source_hash not in self._rows.by_hash:
            self._ask(Needs(sources={source_hash}), pending=True)
        found = (self._rows.jobs[job_id] for job_id in self._rows.by_hash[source_hash])
        return [job for job in found if job is not None]

    def has_source(self, source_hash: str) -> bool:
        """Whether there is a job of this source."""
        return bool(self.jobs_by_hash(source_hash))

    def jobs_of_worker(self, worker_id: str) -> list[Job]:
        """The jobs that this worker runs now."""
        if not self._open or worker_id not in self._rows.running_of:
            self._ask(Needs(running_of={worker_id}), pending=True)
        held = self._rows.running_of[worker_id]
        found = (self._rows.jobs[job_id] for job_id in sorted(held) if held[job_id])
        return [job for job in found if job is not None]

    def pick_ready(self, lines: tuple[QueueLine, ...], limit: int, group: LineGroup = ()) -> list[Job]:
        """The next jobs that any worker may have: urgent first, then the oldest, over all `lines` together, and those
        of the `group`, which are read as one."""
        if group and not (self._open and _is_empty(self._rows.ready_of.get(group))):
            return self._pick_with(group, lines, limit)
        if limit == 1 and self._open:
            lines = tuple([line for line in lines if not _is_empty(self._rows.ready.get(line))])
            if not lines:
                return []
            if len(lines) == 1 and (order := self._rows.ready.get(lines[0])) is not None:
                first = order.first()
                if first is not None or order.whole:
                    return [first] if first is not None else []
        wanted = dict.fromkeys(lines)
        if not self._open:
            self._read_anew()
        while True:
            missing = {line: self._ahead_of(line, limit) for line in wanted if line not in self._rows.ready}
            if missing:
                self._ask(Needs(ready=missing), pending=True)
            orders = [_to_the_end_of(self._rows.ready[line]) for line in wanted]
            try:
                return list(islice(orders[0] if len(orders) == 1 else heapq.merge(*orders, key=place), limit))
            except _Short:
                # Only now is it known: those that were read are given out. The others are read from the start.
                for line in wanted:
                    del self._rows.ready[line]

    def _pick_with(self, group: LineGroup, lines: tuple[QueueLine, ...], limit: int) -> list[Job]:
        wanted = dict.fromkeys(lines)
        if not self._open:
            self._read_anew()
        while True:
            missing = {line: self._ahead_of(line, limit) for line in wanted if line not in self._rows.ready}
            groups = {} if group in self._rows.ready_of else {group: self._ahead_of(group, limit)}
            if missing or groups:
                self._ask(Needs(ready=missing, groups=groups), pending=True)
            orders = [self._rows.ready_of[group], *[self._rows.ready[line] for line in wanted]]
            try:
                return list(islice(heapq.merge(*map(_to_the_end_of, orders), key=place), limit))
            except _Short:
                del self._rows.ready_of[group]
                for line in wanted:
                    del self._rows.ready[line]

    def _ahead_of(self, line: QueueLine | LineGroup, limit: int) -> int:
        return max(limit, min(MOST_AHEAD, self._rows.ahead.get(line, 0)))

    def pick_kept(self, line: QueueLine, limit: int) -> list[Job]:
        """The next jobs of a line that are kept from some workers, in the same order."""
        if not self._open:
            self._read_anew()
        while True:
            if (order := self._rows.kept.get(line)) is not None and order.whole and not order:
                return []
            if order is None:
                self._ask(Needs(ready={line: 0}, kept=limit), pending=True)
            try:
                return list(islice(_to_the_end_of(self._rows.kept[line]), limit))
            except _Short:
                del self._rows.kept[line]

    def pick_kept_of(self, group: LineGroup, limit: int, *, turned: bool = False) -> list[Job]:
        """The same of a group of lines. `turned`: their jobs have turns."""
        if not self._open:
            self._read_anew()
        while True:
            if _is_empty(order := self._rows.kept_of.get(group)):
                return []
            if order is None:
                lines = {group: self._ahead_of(group, 1)}
                needs = Needs(turned=lines, kept=limit) if turned else Needs(groups=lines, kept=limit)
                self._ask(needs, pending=True)
            try:
                return list(islice(_to_the_end_of(self._rows.kept_of[group]), limit))
            except _Short:
                del self._rows.kept_of[group]

    def pick_in_turn(self, group: LineGroup, limit: int, beside: Collection[Job] = ()) -> list[InTurn]:
        """The next ready jobs of a group of lines whose jobs take turns, with those `beside`, which are kept from
        other workers."""
        if not self._open:
            self._read_anew()
        most = self._ahead_of(group, limit)
        unknown = {each for job in beside if (each := _group_place(job)) is not None and each not in self._rows.runs}
        if unknown:
            self._ask(Needs(runs=unknown), pending=True)
        while True:
            if group not in self._rows.turned:
                self._ask(Needs(turned={group: most}, clocks={group[0].type}), pending=True)
            try:
                return self._rows.turned[group].pick(limit, beside)
            except NotRead:
                del self._rows.turned[group]
                most *= 2

    def weights_changed(self) -> None:
        """Those of groups may be others: in which order their jobs come is not known any more."""
        self._rows.turned.clear()

    def group_clocks(self, type_: str) -> dict[int, GroupClock]:
        """The virtual times of a type, by priority: those of its jobs that have a group."""
        if not self._open or (type_, PRIORITIES[0]) not in self._rows.clocks:
            self._ask(Needs(clocks={type_}))
        found = {priority: self._rows.clocks[type_, priority] for priority in PRIORITIES}
        return {priority: clock for priority, clock in found.items() if clock is not None}

    def alone(self, type_: str, priority: int) -> Alone:
        """What decides there between jobs without a group and those with one."""
        if not self._open or (type_, priority) not in self._rows.alone:
            self._ask(Needs(clocks={type_}), pending=True)
        clock = self.group_clocks(type_).get(priority)
        return Alone(clock if clock is not None else GroupClock(), self._rows.alone.get((type_, priority), 0))

    def last_turn(self, place: GroupPlace) -> int | None:
        """The turn of the last job of the group that entered the queue; None: it is long past."""
        if not self._open or place not in self._rows.turns:
            places = self._places_beside(place)
            self._ask(Needs(clocks={each.type for each in places}, turns=places))
        return self._rows.turns[place]

    def _places_beside(self, place: GroupPlace) -> set[GroupPlace]:
        """With those of the other jobs that were read, there and where they are: it is most often asked for all."""
        known = [job for job in self._rows.jobs.values() if job is not None and job.of_group is not None]
        places = {GroupPlace(job.type, job.priority, job.of_group) for job in known if job.of_group is not None}
        places |= {place._replace(group=job.of_group) for job in known if job.of_group is not None}
        return {place, *(each for each in places if each not in self._rows.turns)}

    def save_clock(self, type_: str, priority: int, clock: GroupClock) -> None:
        self._journal.put(self._rows.clocks, (type_, priority), clock)
        self._journal.put(self._pending.clocks, (type_, priority), clock)

    def save_turn(self, place: GroupPlace, turn: int, *, now: int) -> None:
        """That of a job that enters the queue at this virtual time."""
        self._journal.put(self._rows.turns, place, turn)
        self._journal.put(self._pending.turns, place, turn)
        self._journal.put(self._pending.past, (place.type, place.priority), now - STEP)

    def knows_type(self, type_: str) -> bool:
        """Whether there is a job of this type (or was, until a moment ago)."""
        return type_ in self._bulk.known_types() or type_ in self._rows.new_types

    def count_types(self) -> int:
        return len(self._bulk.known_types() | self._rows.new_types.keys())

    def type_settings(self, type_: str) -> TypeSettings:
        """What is set for jobs of this type; of comparisons, for jobs like those that they are held against."""
        settings = self._bulk.type_settings()
        return settings.get(ordinary(type_), NOTHING_SET) if settings else NOTHING_SET

    def type_load(self, type_: str) -> TypeLoad:
        """How much of the type's limits is taken, by what has happened in the transaction, too."""
        if not self._open or type_ not in self._rows.loads:
            self._ask(Needs(loads={type_}), pending=True)
        return self._rows.loads[type_]

    def save_owed(self, type_: str, load: TypeLoad) -> None:
        """Another load of its bucket; the number of running jobs follows these."""
        self._journal.put(self._rows.loads, type_, load)
        self._journal.put(self._pending.owed, type_, (load.owed, load.owed_at))

    def in_a_row(self, type_: str) -> FailuresInARow:
        """What has failed in a row of this type, and what was completed, by what the transaction has done, too."""
        if not self._open or type_ not in self._rows.in_a_row:
            self._ask(Needs(in_a_row={type_}), pending=True)
        return self._rows.in_a_row[type_]

    def save_in_a_row(self, type_: str, row: RowOfFailures | None) -> None:
        known = self.in_a_row(type_)
        self._journal.put(self._rows.in_a_row, type_, known._replace(row=row))
        self._journal.put(self._pending.in_a_row, type_, row)

    def _count_completed(self, type_: str, *, now: int) -> None:
        if (known := self._rows.in_a_row.get(type_)) is not None:
            hour = now // HOUR_MS
            completed = {**known.completed, hour: known.completed.get(hour, 0) + 1}
            self._journal.put(self._rows.in_a_row, type_, known._replace(completed=completed))

    def _count_running(self, before: Job, after: Job | None) -> None:
        for job, change in ((before, -1), (after, +1)):
            if job is not None and job.status is JobStatus.RUNNING and (load := self._rows.loads.get(job.type)):
                self._journal.put(self._rows.loads, job.type, replace(load, running=load.running + change))

    def _count_of_groups(self, before: Job, after: Job | None) -> None:
        """How many jobs of groups run, and of none."""
        runs = after is not None and after.status is JobStatus.RUNNING
        if after is not None and runs and before.status is JobStatus.RUNNING and before.priority == after.priority:
            return
        for job, change in ((before, -1), (after, +1)):
            if job is None or job.status is not JobStatus.RUNNING:
                continue
            if (place := _group_place(job)) is None:
                if (running := self._rows.alone.get(key := (job.type, job.priority))) is not None:
                    self._journal.put(self._rows.alone, key, running + change)
                continue
            if (running := self._rows.runs.get(place)) is not None:
                self._journal.put(self._rows.runs, place, running + change)
            if change < 0:
                for order in self._rows.turned.values():
                    order.has_stopped(place)

    def insert_jobs(self, jobs: list[Job]) -> list[Job]:
        """Store new jobs (their `id` is ignored), and return them with the ids that they got, in their order."""
        return [self._insert(job) for job in jobs]

    def _insert(self, job: Job) -> Job:
        given = self._rows.ids_given.get("", 0)
        if given == len(self._rows.new_ids):
            self._rows.take_in(asked := Needs(new_jobs=1), self._bulk.load(asked))
        stored = replace(job, id=self._rows.new_ids[given])
        journal = self._journal
        journal.put(self._rows.ids_given, "", given + 1)
        journal.put(self._pending.jobs_were, stored.id, None)
        journal.put(self._rows.jobs, stored.id, stored)
        journal.put(self._pending.made, stored.id, stored)
        if not self.knows_type(stored.type):
            journal.put(self._rows.new_types, stored.type, True)
        if (of := self._rows.by_hash.get(stored.source_hash)) is not None:
            journal.put(self._rows.by_hash, stored.source_hash, (*of, stored.id))
        self._line_up(stored)
        if stored.batches:
            self._count_unfinished(None, stored)
        return stored

    def save_job(self, before: Job, after: Job) -> None:
        """A transition, guarded by the state that it started from. Raises StaleState, now or when it is written."""
        current = self._unchanged(before)
        journal = self._journal
        if before.id not in self._pending.jobs_were:
            journal.put(self._pending.jobs_were, before.id, current)
        journal.put(self._rows.jobs, before.id, after)
        if after.type != current.type and not self.knows_type(after.type):
            journal.put(self._rows.new_types, after.type, True)
        if current.source_hash != after.source_hash:
            self._has_another_source(current, after)
        if current.lane != after.lane:
            self._rows.no_set_unused = False
        if current.made_by != after.made_by:
            self._rows.lose_converter(current.made_by)
        if self._rows.running_of:
            self._hold(current, after)
        if self._rows.loads:
            self._count_running(current, after)
        if self._rows.clocks or self._rows.runs:
            self._count_of_groups(current, after)
        if current.batches or after.batches:
            self._count_unfinished(current, after)
        if after.status in ENDED and after.status is not current.status:
            journal.add(self.ended, after)
        if after.status is JobStatus.PENDING:
            self._line_up(after)

    def _has_another_source(self, before: Job, after: Job) -> None:
        for source, job_ids in ((before.source_hash, ()), (after.source_hash, (after.id,))):
            if (of := self._rows.by_hash.get(source)) is not None:
                there = (*(each for each in of if each != after.id), *job_ids)
                self._journal.put(self._rows.by_hash, source, there)

    def delete_job(self, job: Job, *, replaced: bool = False) -> None:
        """Remove the job with its tags, its results and the records of its attempts. `replaced`: another job stands
        for it in its batches, which do not count it as gone. Raises StaleState."""
        current = self._unchanged(job)
        journal = self._journal
        if job.id not in self._pending.jobs_were:
            journal.put(self._pending.jobs_were, job.id, current)
        journal.put(self._rows.jobs, job.id, None)
        if (root := current.family) is not None:
            journal.add(self._pending.families_less, root)
        if not replaced:
            for batch in current.batches:
                journal.add(self._pending.batches_less, (batch, current.type))
        self._rows.lose_converter(current.made_by)
        self._rows.no_set_unused = False
        if (of := self._rows.by_hash.get(job.source_hash)) is not None:
            journal.put(self._rows.by_hash, job.source_hash, tuple(each for each in of if each != job.id))
        self._hold(current, None)
        if self._rows.loads:
            self._count_running(current, None)
        if self._rows.clocks or self._rows.runs:
            self._count_of_groups(current, None)
        if current.batches:
            self._count_unfinished(current, None)

    def beat_job(self, job: Job, *, progress: str | None, now: int) -> None:
        """Renew the lease of a running attempt and keep its progress, where it sent any. Raises StaleState."""
        current = self._unchanged(job)
        if current.status is not JobStatus.RUNNING:
            raise StaleState(f"job {job.id} was no longer running attempt {job.attempt}")
        if progress is None or progress == current.progress:
            self.save_job(current, replace(current, heartbeat_at=now, updated_at=now))
        else:
            self.save_job(
                current, replace(current, heartbeat_at=now, updated_at=now, progress=progress, progress_at=now)
            )

    def _unchanged(self, job: Job) -> Job:
        """The job as it is now. Raises StaleState when it has moved on from what was read."""
        current = self._rows.jobs.get(job.id)
        if current is None:
            current = self.job(job.id)
        if current is None or current.status is not job.status or current.attempt != job.attempt:
            raise StaleState(f"job {job.id} was no longer {job.status} (attempt {job.attempt})")
        return current

    def _line_up(self, job: Job) -> None:
        if job.lane > WITH_OPTIONS:
            for group, order in (self._rows.ready_of if is_ready(job) else self._rows.kept_of).items():
                if job.line in group and (is_ready(job) or is_kept(job)):
                    order.enter(job)
            for group, in_turn in self._rows.turned.items() if is_ready(job) else ():
                if job.line in group:
                    in_turn.enter(job)
            return
        lines = self._rows.ready if is_ready(job) else self._rows.kept
        line = lines.get(job.line)
        if line is not None and (lines is self._rows.ready or is_kept(job)):
            line.enter(job)

    def _hold(self, before: Job, after: Job | None) -> None:
        if (
            before.status is JobStatus.RUNNING
            and (held := self._rows.running_of.get(before.worker_id or "")) is not None
        ):
            self._journal.put(held, before.id, False)
        if after is None or after.status is not JobStatus.RUNNING:
            return
        if (held := self._rows.running_of.get(after.worker_id or "")) is not None:
            self._journal.put(held, after.id, True)

    # --- chains

    def add_kin(self, kin: Kin) -> None:
        """A job has come of an output; what came of it before stays."""
        self._journal.add(self._pending.kin, kin)

    def count_family(self, root: int, more: int) -> None:
        """So many more jobs have come of this one."""
        self._journal.add(self._pending.families, (root, more))

    # --- batches

    def batch(self, batch_id: int) -> JobBatch | None:
        # What is pending has changed no batch that was not asked for: it was, when the first of its jobs did.
        if not self._open or batch_id not in self._rows.batches:
            self._ask(Needs(batches={batch_id}))
        return self._rows.batches[batch_id]

    def save_batch(self, batch: JobBatch) -> None:
        """Closed, ended, or going on again: all else of it follows its jobs."""
        self._journal.put(self._rows.batches, batch.id, batch)
        self._journal.put(self._pending.batches, batch.id, batch)

    @property
    def has_batches_changed(self) -> bool:
        """Whether there would be any in `batches_changed`."""
        return bool(self._rows.batches_changed)

    def batches_changed(self) -> list[JobBatch]:
        """Those of whose jobs some have ended, or have not any more, since this was asked; by their numbers."""
        changed = sorted(self._rows.batches_changed)
        for batch_id in changed:
            self._journal.drop(self._rows.batches_changed, batch_id)
        found = map(self.batch, changed)
        return [batch for batch in found if batch is not None]

    def batch_changed(self, batch_id: int) -> None:
        """It is to be among these."""
        self._journal.put(self._rows.batches_changed, batch_id, True)

    def _count_unfinished(self, before: Job | None, after: Job | None) -> None:
        was = before.batches if before is not None and is_unfinished(before) else ()
        now = after.batches if after is not None and is_unfinished(after) else ()
        if was == now:
            return
        for batch_id, change in (*((each, -1) for each in was), *((each, +1) for each in now)):
            if (batch_id in was) != (batch_id in now) and (batch := self.batch(batch_id)) is not None:
                changed = replace(batch, unfinished=batch.unfinished + change)
                self._journal.put(self._rows.batches, batch_id, changed)
                self.batch_changed(batch_id)

    # --- further paths of a source

    def has_path(self, job: Job, path: str) -> bool:
        """Whether this is one of the job's paths."""
        if path == job.source_path or job.more_paths == 0:
            return path == job.source_path
        key = (job.source_hash, path)
        if not self._open or key not in self._rows.paths:
            self._ask(Needs(paths={key}), pending=bool(self._pending.paths_new))
        return job.id in self._rows.paths[key]

    def add_path(self, job: Job, path: str) -> None:
        """A further one, the last that `job.more_paths` counts."""
        key = (job.source_hash, path)
        if key in self._rows.paths:
            self._journal.put(self._rows.paths, key, self._rows.paths[key] | {job.id})
        self._journal.add(self._pending.paths_new, (job.id, job.more_paths, path))


def _is_empty(order: ClaimOrder | None) -> bool:
    """Whether no job stands there, as is known."""
    return order is not None and order.whole and not order


def _group_place(job: Job) -> GroupPlace | None:
    return GroupPlace(job.type, job.priority, job.of_group) if job.of_group is not None else None


class _Short(Exception):
    """The line is longer than what was read of it."""


def _to_the_end_of(line: ClaimOrder) -> Iterator[Job]:
    yield from line
    if not line.whole:
        raise _Short
