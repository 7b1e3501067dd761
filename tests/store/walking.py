"""What a claim is to give out of groups, by a walk over all jobs as the open transaction has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from actors.effects import perform
from actors.effects.needs import needs_of
from actors.effects.transaction import Transaction
from actors.messages import Claim
from blobforge.fairness import GroupClock
from blobforge.job import PRIORITIES, Job, JobStatus
from blobforge.jobtype import TypeRoom
from blobforge.options import LineGroup, QueueLine
from blobforge.requirements import holds
from blobforge.store.needs import Needs
from blobforge.store.opentransaction import Unrecoverable
from tests.store.making import Book

WithGroups = Callable[..., tuple[list[Job], tuple[QueueLine, ...]]]
Rooms = Mapping[str, TypeRoom]
Clocks = dict[tuple[str, int], GroupClock]


class Walk:
    """`checked`: how many claims were held against it."""

    def __init__(self, book: Book) -> None:
        self._store: Any = book.store
        self.highest = 0  # id of a job
        self.checked = 0

    def jobs(self) -> dict[int, Job]:
        """All of them; what is known in memory stays as it is."""
        known = self._store._rows.jobs
        missing = {n for n in range(1, self.highest + 100) if n not in known}
        found = {job.id: job for job in self._store._bulk.load(Needs(jobs=missing)).jobs}
        found |= {n: job for n, job in known.items() if job is not None}
        self.highest = max(found, default=0)
        return found

    def held_against(self, real: WithGroups) -> WithGroups:
        """`actors.effects.turns.with_groups`, of which each answer is."""

        def walked(
            tx: Any,
            message: Claim,
            alone: Iterable[Job],
            in_turn: Iterable[LineGroup],
            limited: Mapping[str, TypeRoom],
        ) -> tuple[list[Job], tuple[QueueLine, ...]]:
            alone, types = list(alone), [lines[0].type for lines in in_turn]
            coming = _Coming(tx, self.jobs(), self._clocks(types))
            expected = coming.next(message, alone, types, {type_: each.room for type_, each in limited.items()})
            picked, withheld = real(tx, message, alone, in_turn, limited)
            assert [job.id for job in picked] == expected, message
            self.checked += 1
            return picked, withheld

        return walked

    def _clocks(self, types: Iterable[str]) -> Clocks:
        types = set(types)
        clocks: Clocks = {(type_, priority): GroupClock() for type_ in types for priority in PRIORITIES}
        if types:
            clocks |= self._store._bulk.load(Needs(clocks=types)).clocks
        known = self._store._rows.clocks.items()
        return clocks | {key: clock for key, clock in known if clock is not None and key in clocks}


class _Coming:
    """What comes next, as each one that is given out changes it."""

    def __init__(self, tx: Any, jobs: Mapping[int, Job], clocks: Clocks) -> None:
        self._tx = tx
        self._jobs = jobs
        self._clocks = clocks
        running = [job for job in jobs.values() if job.status is JobStatus.RUNNING]
        self._runs = Counter((job.type, job.priority, job.of_group) for job in running)

    def next(self, message: Claim, alone: list[Job], types: list[str], rooms: dict[str, int]) -> list[int]:
        worker = self._tx.store.worker(message.worker_id)
        of_groups = [job for job in self._jobs.values() if job.of_group is not None and job.type in types]
        ready = [job for job in of_groups if self._may_have(worker, message, job)]
        found: list[int] = []
        while len(found) < message.limit:
            ready, alone = ([job for job in each if rooms.get(job.type) != 0] for each in (ready, alone))
            heads = alone[:1]
            for type_ in types:
                heads += sorted([job for job in ready if job.type == type_], key=self._place)[:1]
            if not heads:
                break
            first = heads[0]
            for job in heads[1:]:
                if self._comes_before(job, first):
                    first = job
            (alone if first.of_group is None else ready).remove(first)
            found.append(first.id)
            self._take(first)
            if first.type in rooms:
                rooms[first.type] -= 1
        return found

    def _may_have(self, worker: Any, message: Claim, job: Job) -> bool:
        if job.status is not JobStatus.PENDING or (job.not_before is not None and not job.avoid):
            return False
        if worker.id in job.avoid and self._tx.store.another_worker(job.type, job.avoid, job.requires):
            return False
        if job.options is not None and "options" not in message.accepts:
            return False
        return job.requires is None or holds(worker.labels, job.requires)

    def _place(self, job: Job) -> tuple[int, int, int, int]:
        runs = self._runs[job.type, job.priority, job.of_group]
        weight = self._weights(job).get(job.of_group or "", 1)
        clock = self._clocks.get((job.type, job.priority), GroupClock())
        return job.priority, runs // weight, job.turn or clock.next_alone, job.id

    def _comes_before(self, job: Job, other: Job) -> bool:
        if job.type != other.type:
            return (job.priority, job.id) < (other.priority, other.id)
        return self._place(job) < self._place(other)

    def _take(self, job: Job) -> None:
        self._runs[job.type, job.priority, job.of_group] += 1
        clock = self._clocks.get((job.type, job.priority), GroupClock())
        self._clocks[job.type, job.priority] = clock.after(job.turn, self._weights(job))

    def _weights(self, job: Job) -> Mapping[str, int]:
        weights: Mapping[str, int] = self._tx.store.type_settings(job.type).weights
        return weights


def do(book: Book, messages: Sequence[Any], undone: int | None, *, ahead: bool) -> None:
    """In one transaction; one of them is undone, unless it is written already. `ahead`: needs are read ahead."""
    tx = Transaction(book.store, book.rules, book.now, book.dice)
    with book.store.transaction(needs_of((message, None) for message in messages) if ahead else None):
        for place, message in enumerate(messages):
            mark = book.store.mark()
            perform(tx, message, place)
            if place == undone:
                with suppress(Unrecoverable):
                    book.store.undo(mark)
