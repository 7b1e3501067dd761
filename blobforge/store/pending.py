"""What a transaction has changed and has not written yet, and the set of changes that is made of it.

State owned here: how each job and worker that was changed was before, and what is new, gone or seen of all else.
Nothing gets in or out of it but by the journal of the working set, so that what is undone is not written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from blobforge.batch import JobBatch
from blobforge.breaker import RowOfFailures
from blobforge.chain import Kin
from blobforge.failures import Cause
from blobforge.fairness import GroupClock
from blobforge.job import Job
from blobforge.people import AuditEntry
from blobforge.store.bulk import AttemptEnd, CauseSeen, Changes, FileSeen
from blobforge.store.needs import GroupPlace
from blobforge.store.tallies import Ended, Tallies
from blobforge.worker import Worker

MOST_FORGOTTEN = 1_000  # turns of groups that are long past, at once


class Pending:
    """What one transaction has changed. `jobs_were` and `workers_were` are the rows as they were read."""

    def __init__(self) -> None:
        self.jobs_were: dict[int, Job | None] = {}
        self.workers_were: dict[str, Worker | None] = {}
        self.made: dict[int, Job] = {}  # as they were made
        self.paths_new: list[tuple[int, int, str]] = []
        self.started: list[Job] = []
        self.endings: dict[tuple[int, int], AttemptEnd] = {}
        self.ended: list[Ended] = []
        self.results_dropped: dict[tuple[int, int], bool] = {}
        self.results_but: dict[int, int | None] = {}
        self.results: dict[tuple[int, int], str] = {}
        self.files_forgotten: dict[str, bool] = {}
        self.files_seen: dict[str, FileSeen] = {}
        self.files_kept: dict[str, str] = {}
        self.types_forgotten: dict[str, bool] = {}
        self.types_asked: dict[tuple[str, str], bool] = {}
        self.causes_seen: list[tuple[int, str, int]] = []
        self.causes_new: dict[int, Cause] = {}
        self.claims_kept: list[tuple[str, str, list[tuple[int, int]], int]] = []
        self.answers_kept: list[tuple[str, str, bytes, bytes, int]] = []
        self.owed: dict[str, tuple[int, int]] = {}  # by type
        self.in_a_row: dict[str, RowOfFailures | None] = {}  # by type
        self.clocks: dict[tuple[str, int], GroupClock] = {}
        self.turns: dict[GroupPlace, int] = {}
        self.past: dict[tuple[str, int], int] = {}  # turns of groups up to that one say nothing any more
        self.batches: dict[int, JobBatch] = {}
        self.kin: list[Kin] = []
        self.families: list[tuple[int, int]] = []  # (root, how many more)
        self.families_less: list[int] = []  # the root of each job that was deleted
        self.batches_less: list[tuple[int, str]] = []  # (batch, type) of each job that was deleted
        self.undos: list[tuple[str, int, str, str, int]] = []
        self.audit: list[AuditEntry] = []
        self.deliveries: list[tuple[int, str, int, str, int, str | None]] = []
        self.arrived: list[Job] = []
        # What neither a claim nor a completion changes.
        self._rare = (
            self.paths_new, self.results_dropped, self.results_but, self.results, self.files_forgotten,
            self.files_seen, self.files_kept, self.types_forgotten, self.types_asked, self.causes_seen,
            self.causes_new, self.claims_kept, self.answers_kept, self.undos, self.owed, self.in_a_row,
            self.clocks, self.turns, self.past, self.batches, self.audit, self.deliveries,
            self.kin, self.families, self.families_less,
            self.batches_less,
        )  # fmt: skip
        self._all = (
            self.jobs_were, self.workers_were, self.made, self.started, self.endings, self.ended,
            self.arrived, *self._rare,
        )  # fmt: skip

    def clear(self) -> None:
        for changed in self._all:
            if changed:
                changed.clear()

    def changes(self, jobs: Mapping[int, Job | None], workers: Mapping[str, Worker | None]) -> Changes:
        """What is to be written, where these are the rows as they are now."""
        made, moved, gone = self._sorted_jobs(jobs)
        tallies = Tallies()
        changes = Changes(made, moved, gone, self.started, list(self.endings.values()), tallies)
        changes.batches_started = _batches_started(self.started)
        if self.workers_were or any(self._rare) or _some_renamed(moved):
            self._add_rare(changes, jobs, workers)
        changes.texts = self._texts_changed(changes)
        _count_jobs(tallies, made, moved, gone)
        for batch, type_ in self.batches_less:
            tallies.gone(batch, type_)
        if self.ended:
            tallies.ended(self.ended)
        if self.arrived:
            tallies.count(self.arrived, +1)
            for job in self.arrived:
                tallies.tagged(None, job)
            tallies.made(self.arrived, submitted=False)
        return changes

    def _add_rare(
        self, changes: Changes, jobs: Mapping[int, Job | None], workers: Mapping[str, Worker | None]
    ) -> None:
        """What neither a claim nor a completion changes."""
        changes.more = True
        self._add_workers(changes, workers)
        changes.tags_added = [(tag, job.id) for was, job in changes.moved for tag in job.tags if tag not in was.tags]
        changes.tags_removed = [
            (tag, was.id) for was, job in changes.moved for tag in was.tags if tag not in job.tags
        ]
        changes.batches_joined = [
            (each, job.id) for was, job in changes.moved for each in job.batches if each not in was.batches
        ]
        changes.batches_left = [
            (each, was.id) for was, job in changes.moved for each in was.batches if each not in job.batches
        ]
        changes.batches = [
            (number, each.closed_at, each.ended_at, each.endings) for number, each in sorted(self.batches.items())
        ]
        changes.kin = [
            (each.parent, each.attempt, each.step, each.name, each.job_id, int(each.lent))
            for each in self.kin
            if jobs[each.job_id] is not None
        ]
        if self.families:
            more: Counter[int] = Counter()
            for root, n in self.families:
                more[root] += n
            changes.families = sorted(more.items())
        changes.families_less = sorted(Counter(self.families_less).items())
        changes.paths = [path for path in self.paths_new if jobs[path[0]] is not None]
        changes.results_dropped = list(self.results_dropped)
        changes.results_but = list(self.results_but.items())
        changes.results = [(*key, result) for key, result in self.results.items()]
        changes.files_forgotten = list(self.files_forgotten)
        changes.files = list(self.files_seen.values())
        changes.files_kept = list(self.files_kept.items())
        changes.types_forgotten = list(self.types_forgotten)
        changes.types_asked = list(self.types_asked)
        changes.causes = self._all_causes_seen()
        changes.claim_keys = self.claims_kept
        changes.repeated = self.answers_kept
        changes.undos = self.undos
        changes.owed = [(type_, *owed) for type_, owed in sorted(self.owed.items())]
        changes.in_a_row = [(type_, *in_a_row_values(row)) for type_, row in sorted(self.in_a_row.items())]
        changes.clocks = [(*key, *clock) for key, clock in sorted(self.clocks.items())]
        changes.turns = [(*place, turn) for place, turn in sorted(self.turns.items())]
        changes.turns_past = [(*of, turn, MOST_FORGOTTEN) for of, turn in sorted(self.past.items())]
        changes.audit = self.audit
        changes.deliveries = self.deliveries

    def _texts_changed(self, changes: Changes) -> list[tuple[int]]:
        """Jobs that were there before, and are gone or have other tags or paths now."""
        if not (changes.more or changes.gone):
            return []
        changed = {job_id for _, job_id in (*changes.tags_added, *changes.tags_removed)}
        changed.update(job_id for job_id, _, _ in changes.paths)
        changed.update(job.id for was, job in changes.moved if job.source_path != was.source_path)
        changed.difference_update(job.id for job in changes.made)
        changed.update(job.id for job in changes.gone)
        return [(job_id,) for job_id in sorted(changed)]

    def _sorted_jobs(self, jobs: Mapping[int, Job | None]) -> tuple[list[Job], list[tuple[Job, Job]], list[Job]]:
        """Those that were made, as they were made; those that have moved on, also since then; those that are gone."""
        made: list[Job] = []
        moved: list[tuple[Job, Job]] = []
        gone: list[Job] = []
        were = self.jobs_were
        for job_id in sorted(were):
            before, after = were[job_id], jobs[job_id]
            if before is None:
                if after is None:
                    continue
                before = self.made[after.id]
                made.append(before)
            if after is None:
                gone.append(before)
            elif after is not before:
                moved.append((before, after))
        return made, moved, gone

    def _add_workers(self, changes: Changes, known: Mapping[str, Worker | None]) -> None:
        workers: list[Worker] = []
        beats: list[Worker] = []
        gone: list[str] = []
        for worker_id in sorted(self.workers_were):
            before, after = self.workers_were[worker_id], known[worker_id]
            if after is None:
                if before is not None:
                    gone.append(worker_id)
            elif before is not None and _beat_only(before, after):
                beats.append(after)
                continue
            else:
                workers.append(after)
            changes.tallies.worker(before, after)
        changes.workers, changes.beats, changes.workers_gone = workers, beats, gone

    def _all_causes_seen(self) -> list[CauseSeen]:
        """Each cause once."""
        seen: dict[int, CauseSeen] = {}
        for number, example, at in self.causes_seen:
            known = seen.get(number)
            if known is None:
                seen[number] = CauseSeen(number, example, at, at, 1, self.causes_new.get(number))
            else:
                latest = example if at >= known.last else known.example
                first, last = min(known.first, at), max(known.last, at)
                seen[number] = CauseSeen(number, latest, first, last, known.n + 1, known.new)
        return [seen[number] for number in sorted(seen)]


def in_a_row_values(row: RowOfFailures | None) -> tuple[int | None, str | None]:
    """The columns of `breakers` beside the type."""
    return (row.hour, msgspec.json.encode(row).decode()) if row is not None else (None, None)


def _count_jobs(tallies: Tallies, made: list[Job], moved: list[tuple[Job, Job]], gone: list[Job]) -> None:
    if moved:
        tallies.count([before for before, _ in moved], -1)
        tallies.count([after for _, after in moved], +1)
        for before, after in moved:
            if before.tags or after.tags:
                tallies.tagged(before, after)
    if made:
        tallies.made(made, submitted=True)
        tallies.count(made, +1)
        for job in made:
            tallies.tagged(None, job)
    if gone:
        tallies.count(gone, -1)
        for job in gone:
            tallies.tagged(job, None)


def _some_renamed(moved: list[tuple[Job, Job]]) -> bool:
    """Whether one of them may have another path, other tags or batches."""
    for before, after in moved:
        if (
            before.tags is not after.tags
            or before.batches is not after.batches
            or before.source_path is not after.source_path
        ):
            return True
    return False


def _batches_started(started: list[Job]) -> list[tuple[int, int]]:
    """Batches of which a job was started, and when the first was."""
    first: dict[int, int] = {}
    for job in started:
        for batch in job.batches:
            assert job.started_at is not None
            first[batch] = min(job.started_at, first.get(batch, job.started_at))
    return sorted(first.items())


def _beat_only(before: Worker, after: Worker) -> bool:
    if before.status is not after.status:
        return False
    return replace(before, last_heartbeat=after.last_heartbeat, updated_at=after.updated_at) == after
