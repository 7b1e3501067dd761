"""The rows that a transaction has read, or will: what is known of the database while it is open.

State owned here: each row as it is in the transaction, also as the effects have changed it since it was read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, TypeVar

from blobforge.batch import JobBatch
from blobforge.fairness import GroupClock
from blobforge.job import PRIORITIES, Attempt, Job, JobStatus
from blobforge.jobtype import NOTHING_SET, TypeLoad
from blobforge.options import LineGroup, QueueLine
from blobforge.store.bulk import BulkAccess
from blobforge.store.claim_order import ClaimOrder, is_kept, is_ready
from blobforge.store.files import Doom, FileRecord
from blobforge.store.needs import Claimant, FailuresInARow, Found, GroupPlace, LatestEnd, Needs, TurnsRead
from blobforge.store.turn_order import TurnOrder
from blobforge.worker import Worker

K = TypeVar("K")
V = TypeVar("V")
# Ready jobs that are read ahead for one line, at most: an answer may have large ones, and each is in memory.
MOST_AHEAD = 512
MOST_REMEMBERED = 10_000  # workers of which type and labels are remembered beyond the transaction


class KnownRows:
    """What is not there has not been asked for; None: there is no such row."""

    def __init__(self, bulk: BulkAccess) -> None:
        self._bulk = bulk
        self.jobs: dict[int, Job | None] = {}
        self.by_hash: dict[str, tuple[int, ...]] = {}
        self.running_of: dict[str, dict[int, bool]] = {}  # by worker: whether it runs this job now
        self.ready: dict[QueueLine, ClaimOrder] = {}
        self.kept: dict[QueueLine, ClaimOrder] = {}
        self.ahead: dict[Any, int] = {}  # by line or group: ready jobs that may still be asked for
        self.ready_of: dict[LineGroup, ClaimOrder] = {}
        self.kept_of: dict[LineGroup, ClaimOrder] = {}
        self.turned: dict[LineGroup, TurnOrder] = {}
        # (type, labels) of workers as they were read last, to guess with: what is wrong or missing is asked for anew.
        self._labels: dict[str, tuple[str, str | None]] = {}
        self.workers: dict[str, Worker | None] = {}
        self.attempts: dict[tuple[int, int], Attempt | None] = {}
        self.failed: dict[int, tuple[str, ...]] = {}
        self.online: dict[str, tuple[int, frozenset[str]]] = {}  # by type: as many as were asked for
        self.files: dict[str, FileRecord | None] = {}
        self.dooms: dict[str, Doom | None] = {}
        self.paths: dict[tuple[str, str], frozenset[int]] = {}  # by source and path: the jobs that have it
        self.claim_keys: dict[tuple[str, str], list[tuple[int, int]]] = {}
        self.repeated: dict[tuple[str, str], tuple[bytes, bytes, int] | None] = {}
        self.causes: dict[str, int | None] = {}
        self.loads: dict[str, TypeLoad] = {}  # of types with limits, as their jobs stand in the transaction
        self.in_a_row: dict[str, FailuresInARow] = {}  # by type
        self.clocks: dict[tuple[str, int], GroupClock | None] = {}
        self.turns: dict[GroupPlace, int | None] = {}
        self.runs: dict[GroupPlace, int] = {}  # jobs of groups that run, as they do in the transaction
        self.alone: dict[tuple[str, int], int] = {}  # the same of those without a group, by type and priority
        self.converters: set[str] = set()  # those that are surely there
        self.converters_less: set[str] = set()  # those that a job or a worker has no longer
        self.latest: dict[str, list[LatestEnd]] = {}  # by worker: as they were when it was asked
        self.no_set_unused = False  # of requirements: each is a job's, as was looked for in the transaction
        self.batches: dict[int, JobBatch | None] = {}
        self.batches_changed: dict[int, bool] = {}  # of whose jobs some have ended, or have not any more
        self.new_ids: list[int] = []
        self.ids_given: dict[str, int] = {}  # "": how many of them
        self.new_types: dict[str, bool] = {}  # of jobs that are new: the engine does not know them yet
        self._read = (
            self.jobs, self.by_hash, self.running_of, self.ready, self.kept, self.ahead, self.workers,
            self.attempts, self.failed, self.online, self.files, self.dooms, self.paths, self.claim_keys,
            self.repeated, self.causes, self.loads, self.new_ids, self.ids_given, self.ready_of, self.kept_of,
            self.converters, self.converters_less, self.latest, self.clocks, self.turns, self.in_a_row,
            self.batches, self.turned, self.runs, self.alone,
        )  # fmt: skip

    def forget(self) -> None:
        """Believe nothing that was read."""
        self.no_set_unused = False
        for read in self._read:
            if read:
                read.clear()

    def clear(self) -> None:
        """The transaction has ended."""
        self.forget()
        self.new_types.clear()
        self.batches_changed.clear()

    def lose_converter(self, converter: str | None) -> None:
        """One job or worker has it no longer; there may be others that do."""
        if converter is not None:
            self.converters.discard(converter)
            self.converters_less.add(converter)

    def load_ahead(self, needs: Needs) -> None:
        self._load_rows_ahead(needs)
        jobs = (self.jobs.get(job_id) for job_id in needs.ending)
        batches = {batch for job in jobs if job is not None for batch in job.batches} - self.batches.keys()
        if batches:
            self.take_in(asked := Needs(batches=batches), self._bulk.load(asked))

    def _load_rows_ahead(self, needs: Needs) -> None:
        if self._bulk.far:
            self._load_all_ahead(needs)
            return
        kept = needs.kept
        if not needs.ready:
            needs.kept = 0
        self._load_lines_ahead(needs, needs.ready)
        if needs.claimants and len(self._bulk.requirement_sets()):
            self._load_groups_ahead(needs, kept)
        if not needs.next_of and not needs.ready_for:
            return
        wanted: Counter[QueueLine] = Counter(line for line in self._lines_after(needs) if line not in self.ready)
        for key, lines in needs.ready_for.items():  # a claim that is repeated is given no others
            for line, most in lines.items() if not self.claim_keys[key] else ():
                if line not in self.ready:
                    wanted[line] += most
        if wanted:
            self._load_lines_ahead(Needs(kept=kept), wanted)

    def _load_all_ahead(self, needs: Needs) -> None:
        """At once, also what a claim that is repeated will not be given."""
        wanted = Counter(needs.ready)
        for lines in needs.ready_for.values():
            wanted.update(lines)
        needs.ready = {line: min(most, MOST_AHEAD) for line, most in wanted.items()}
        if needs.claimants and len(self._bulk.known_sets):
            self._add_groups(needs, needs.claimants, self._guessed, ending=needs.ending)
        found = self._bulk.load(needs)
        jobs = {job.id: job for job in found.jobs}
        wanted.update(QueueLine(jobs[job_id].type, lane) for job_id, lane in needs.next_of if job_id in jobs)
        needs.ready = {line: min(most, MOST_AHEAD) for line, most in wanted.items()}
        for read in (found.ready, found.kept):
            for line in needs.ready:
                read.setdefault(line, [])  # there was none
        self.ahead.update(wanted)
        self.take_in(needs, found)

    def _load_groups_ahead(self, whole: Needs, kept: int) -> None:
        self._add_groups(needs := Needs(kept=kept), whole.claimants, self._known, ending=whole.ending)
        if needs.groups or needs.turned:
            self.take_in(needs, self._bulk.load(needs))

    def _add_groups(
        self,
        needs: Needs,
        claimants: Iterable[Claimant],
        worker: Callable[[Claimant], tuple[tuple[str, ...], str | None] | None],
        *,
        ending: Collection[int],
    ) -> None:
        """The lines of jobs with requirements or groups that these may be given, by what is known of their workers:
        of which types, and with which labels. The groups of jobs that are `ending` may come forward by that."""
        sets = self._bulk.known_sets
        wanted: Counter[LineGroup] = Counter()
        turned: Counter[LineGroup] = Counter()
        for each in claimants:
            if (found := worker(each)) is not None:
                wanted[sets.lines(*found, each.accepted)] += each.limit
                for lines in sets.lines_in_turns(*found, each.accepted) if sets.any_in_groups else ():
                    turned[lines] += each.limit
        wanted.pop((), None)
        self.ahead.update(wanted)
        self.ahead.update(turned)
        needs.groups, needs.turned = (
            {group: min(most, MOST_AHEAD) for group, most in each.items()} for each in (wanted, turned)
        )
        if turned:
            needs.clocks |= {lines[0].type for lines in turned}
            needs.in_hand = set(ending)

    def _known(self, claimant: Claimant) -> tuple[tuple[str, ...], str | None] | None:
        worker = self.workers.get(claimant.worker_id)
        if worker is None or (claimant.key is not None and self.claim_keys.get((worker.id, claimant.key))):
            return None
        after = self.jobs.get(claimant.after) if claimant.after is not None else None
        types = claimant.types or ((after.type,) if after is not None else ())
        return types, worker.labels

    def _guessed(self, claimant: Claimant) -> tuple[tuple[str, ...], str | None] | None:
        known = self._labels.get(claimant.worker_id)
        return (claimant.types or (known[0],), known[1]) if known is not None else None

    def _load_lines_ahead(self, needs: Needs, wanted: Mapping[QueueLine, int]) -> None:
        if wanted:
            self.ahead.update(wanted)
            needs.ready = {line: min(most, MOST_AHEAD) for line, most in wanted.items()}
        self.take_in(needs, self._bulk.load(needs))

    def _lines_after(self, needs: Needs) -> Iterator[QueueLine]:
        """Those in which the next ones of jobs in hand stand."""
        for job_id, lane in needs.next_of:
            job = self.jobs.get(job_id)
            if job is not None:
                yield QueueLine(job.type, lane)

    def take_in(self, needs: Needs, found: Found) -> None:
        """What is known already is newer, or the same."""
        jobs, workers = self.jobs, self.workers
        for job in found.jobs:
            jobs.setdefault(job.id, job)
        for job_id in needs.jobs:
            jobs.setdefault(job_id, None)
        for worker in found.workers:
            workers.setdefault(worker.id, worker)
        self._remember_labels(found.workers)
        for worker_id in needs.workers:
            workers.setdefault(worker_id, None)
        self._take_in_runs(needs, found)
        if needs.ready or needs.groups or needs.turned:
            self._take_in_lines(needs, found)
        if needs.clocks:
            self._take_in_clocks(needs, found)
        _take_in_all(self.batches, {batch.id: batch for batch in found.batches}, needs.batches)
        self.new_ids += found.new_ids
        for type_, load in found.loads.items():
            self.loads.setdefault(type_, load)
        for type_ in needs.loads:
            self.loads.setdefault(type_, TypeLoad())
        for type_, failures in found.in_a_row.items():
            self.in_a_row.setdefault(type_, failures)
        if needs.sources or needs.beside or needs.running_of:
            self._take_in_lists(needs, found)
        _take_in_all(self.files, found.files, needs.files)
        _take_in_all(self.dooms, found.dooms, needs.dooms)
        for worker_id in needs.latest:
            self.latest.setdefault(worker_id, found.latest.get(worker_id, []))
        if needs.claim_keys or needs.repeated or needs.causes or needs.attempts or needs.failed or needs.paths:
            self._take_in_rare(needs, found)

    def _remember_labels(self, workers: Iterable[Worker]) -> None:
        if not (self._bulk.far and len(self._bulk.known_sets)):
            return
        for worker in workers:
            if len(self._labels) >= MOST_REMEMBERED:
                self._labels.clear()
            self._labels[worker.id] = (worker.type, worker.labels)

    def _take_in_rare(self, needs: Needs, found: Found) -> None:
        self.failed.update(found.failed)
        attempts = {(attempt.job_id, attempt.attempt): attempt for attempt in found.attempts}
        _take_in_all(self.attempts, attempts, needs.attempts)
        for claim_key in needs.claim_keys:
            self.claim_keys.setdefault(claim_key, found.claim_keys.get(claim_key, []))
        _take_in_all(self.repeated, found.repeated, needs.repeated)
        _take_in_all(self.causes, found.causes, needs.causes)
        for path in needs.paths:
            self.paths.setdefault(path, found.paths.get(path, frozenset()))

    def _take_in_lists(self, needs: Needs, found: Found) -> None:
        if needs.sources or needs.beside:
            asked = {job.source_hash for job in found.jobs if job.id in needs.beside}
            of: dict[str, set[int]] = {source: set() for source in needs.sources | asked}
            for job in found.jobs:
                if job.source_hash in of:
                    of[job.source_hash].add(job.id)
            for source, ids in of.items():
                self.by_hash.setdefault(source, tuple(sorted(ids)))
        if needs.running_of:
            held: dict[str | None, list[int]] = {worker_id: [] for worker_id in needs.running_of}
            for job in found.jobs:
                if job.status is JobStatus.RUNNING and job.worker_id in held:
                    held[job.worker_id].append(job.id)
            for worker_id in needs.running_of:
                self.running_of.setdefault(worker_id, dict.fromkeys(held[worker_id], True))

    def _take_in_lines(self, needs: Needs, found: Found) -> None:
        for line, most in needs.ready.items():
            if most and line not in self.ready:
                self.ready[line] = self.order((line,), is_ready, found.ready[line], most)
            if needs.kept and line not in self.kept:
                self.kept[line] = self.order((line,), is_kept, found.kept[line], needs.kept)
        for group, most in needs.groups.items():
            if group not in self.ready_of:
                self.ready_of[group] = self.order(group, is_ready, found.ready_of[group], most)
        for group in needs.turned:
            if group not in self.turned:
                self.turned[group] = self._turn_order(group, found.turned[group])
        for group in chain(needs.groups, needs.turned) if needs.kept else ():
            if group not in self.kept_of:
                self.kept_of[group] = self.order(group, is_kept, found.kept_of[group], needs.kept)

    def _take_in_runs(self, needs: Needs, found: Found) -> None:
        for place, running in found.runs.items():
            self.runs.setdefault(place, running)
        for place in needs.runs:
            self.runs.setdefault(place, 0)

    def _turn_order(self, group: LineGroup, read: TurnsRead) -> TurnOrder:
        type_ = group[0].type
        for job in read.jobs:
            self.jobs.setdefault(job.id, job)
        for (priority, named, _), (_, running) in read.groups.items():
            self.runs.setdefault(GroupPlace(type_, priority, named), running)
        weights = self._bulk.type_settings().get(type_, NOTHING_SET).weights
        return TurnOrder(group, self.jobs, self.runs, weights, read)

    def _take_in_clocks(self, needs: Needs, found: Found) -> None:
        for type_ in needs.clocks:
            for priority in PRIORITIES:
                key = (type_, priority)
                self.clocks.setdefault(key, found.clocks.get(key))
                # Of what has no virtual time yet these are not counted: it may get one in this transaction.
                if found.counted and key in found.alone:
                    self.alone.setdefault(key, found.alone[key])
        _take_in_all(self.turns, found.turns, needs.turns)

    def order(
        self, lines: Collection[QueueLine], may_be_had: Callable[[Job], bool], read: list[Job], most: int
    ) -> ClaimOrder:
        for job in read:
            self.jobs.setdefault(job.id, job)
        return ClaimOrder(lines, may_be_had, self.jobs, read, whole=len(read) < most)


def _take_in_all(known: dict[K, V | None], found: Mapping[K, V | None], asked: Iterable[K]) -> None:
    """What was found, and of what was not that there is none; but where it is known already."""
    for key, value in found.items():
        known.setdefault(key, value)
    for key in asked:
        known.setdefault(key, None)
