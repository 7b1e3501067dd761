"""The order of jobs whose groups take turns, in memory: the next ones of some lines, as they were read, and as the
transaction has changed them.

State owned here: the places of candidates, group by group. Which of them may still be had, the jobs themselves say;
how many jobs of each group run, the working set.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from blobforge.fairness import InTurn, Weights, rounds
from blobforge.job import Job
from blobforge.options import QueueLine
from blobforge.store.claim_order import is_ready
from blobforge.store.needs import GroupPlace, TurnsRead

Key = tuple[int, str]  # priority and group


class NotRead(Exception):
    """What comes next is not known: more is to be read."""


class NextOfGroup(NamedTuple):
    """The first job of its group from `at` on in its queue; in the order in which they come. `is_job`: else further
    ones of the group come behind this place, which were not read.
    """

    priority: int
    round: int
    turn: int
    job_id: int
    is_job: bool
    group: str
    at: int


class _Queue:
    """Those of one group. `whole`: no further ones are in the database."""

    __slots__ = ("at", "places", "whole")

    def __init__(self, places: list[tuple[int, int]], *, whole: bool) -> None:
        self.places = places  # (turn, id), in their order
        self.whole = whole
        self.at = 0  # before it, none may be had


class TurnOrder:
    """Those of the `lines` of one type. `runs`: how many jobs of each group run, of all groups that stand here."""

    __slots__ = ("_in_hand", "_jobs", "_last", "_lines", "_next", "_queues", "_runs", "_type", "_unsure", "_weights")

    def __init__(
        self,
        lines: Collection[QueueLine],
        jobs: Mapping[int, Job | None],
        runs: Mapping[GroupPlace, int],
        weights: Weights,
        read: TurnsRead,
    ) -> None:
        self._lines = frozenset(lines)
        self._type = next(iter(lines)).type
        self._jobs = jobs
        self._runs = runs
        self._weights = weights
        self._last = read.last
        self._in_hand = read.in_hand
        self._unsure = False
        self._queues: dict[Key, _Queue] = {}
        places: defaultdict[Key, list[tuple[int, int]]] = defaultdict(list)
        by_lane: defaultdict[tuple[int, str, int], list[tuple[int, int]]] = defaultdict(list)
        for job in read.jobs:
            group = job.of_group or ""
            places[job.priority, group].append((job.turn, job.id))
            by_lane[job.priority, group, job.lane].append((job.turn, job.id))
        # Each lane was read from its head on. Behind the last one of a lane with more, others of the group may come.
        for lane, (n, _) in read.groups.items():
            key, known = lane[:2], by_lane[lane]
            queue = self._queues.setdefault(key, _Queue(sorted(places[key]), whole=True))
            if len(known) < n:
                end = max(known, default=min(places[key], default=(0, 0)))
                queue.whole, queue.places = False, [place for place in queue.places if place <= end]
        self._next: list[NextOfGroup] = []
        self.rewind()

    def rewind(self) -> None:
        """Something was undone: those that were passed by may be had again."""
        for queue in self._queues.values():
            queue.at = 0
        self._next = [each for key in self._queues if (each := self._head(key)) is not None]
        heapq.heapify(self._next)

    def enter(self, job: Job) -> None:
        """The job may be had from now on, in its place."""
        if job.of_group is None:
            return
        key, at = (job.priority, job.of_group), (job.turn, job.id)
        queue = self._queues.get(key)
        if queue is None:
            running = self._runs.get(GroupPlace(self._type, *key))
            if running is None:
                self._unsure = True
                return
            if self._last is not None and key not in self._in_hand:
                if (key[0], rounds(running, key[1], self._weights), *at) > self._last:
                    return  # where it comes among those that were not read is not known
                queue = _Queue([], whole=False)
            else:
                queue = _Queue([], whole=True)
            self._queues[key] = queue
        elif not queue.whole and (not queue.places or at > queue.places[-1]):
            return
        if at not in queue.places:
            insort(queue.places, at)
        queue.at = 0
        self._push(key)

    def has_stopped(self, place: GroupPlace) -> None:
        """A job of the group runs no more: the group may be in an earlier round."""
        if place.type != self._type:
            return
        key = (place.priority, place.group)
        if key in self._queues:
            self._push(key)
        elif self._last is not None and key not in self._in_hand:
            running = self._runs.get(place)
            where = rounds(running, place.group, self._weights) if running is not None else 0
            self._unsure = self._unsure or (place.priority, where) <= self._last[:2]

    def pick(self, limit: int, beside: Iterable[Job] = ()) -> list[InTurn]:
        """The next ones, so many at most; with those `beside`, which are kept from other workers. Raises NotRead."""
        if self._unsure:
            raise NotRead
        further: defaultdict[Key, list[tuple[int, int]]] = defaultdict(list)
        for job in beside:
            further[job.priority, job.of_group or ""].append((job.turn, job.id))
        if limit == 1 and not further:
            first = self._first()
            return [self._given(first)] if first is not None else []
        return self._pick(limit, further)

    def _pick(self, limit: int, further: Mapping[Key, list[tuple[int, int]]]) -> list[InTurn]:
        """What each one that is picked changes for the next one of its group, is held against that."""
        mixed = {key: self._mixed(key, places) for key, places in further.items()}
        allowed = frozenset(job_id for places in further.values() for _, job_id in places)
        queues = {**self._queues, **mixed}
        coming = [each for key, queue in queues.items() if (each := self._candidate(key, queue, 0, 0, allowed))]
        heapq.heapify(coming)
        picked: list[InTurn] = []
        taken: Counter[Key] = Counter()
        while coming and len(picked) < limit:
            first = coming[0]
            picked.append(self._given(first))
            key = (first.priority, first.group)
            taken[key] += 1
            following = self._candidate(key, queues[key], first.at + 1, taken[key], allowed)
            if following is None:
                heapq.heappop(coming)
            else:
                heapq.heapreplace(coming, following)
        if len(picked) < limit and self._last is not None:
            raise NotRead
        return picked

    def _mixed(self, key: Key, places: list[tuple[int, int]]) -> _Queue:
        """The group's queue with these among it, as far as it is known."""
        queue = self._queues.get(key)
        if queue is None:
            return _Queue(sorted(places), whole=True)
        if not queue.whole:
            places = [each for each in places if queue.places and each < queue.places[-1]]
        return _Queue(sorted({*queue.places, *places}), whole=queue.whole)

    def _first(self) -> NextOfGroup | None:
        """The next one of all, as things stand now."""
        coming = self._next
        while coming:
            first = coming[0]
            now = self._head((first.priority, first.group))
            if now == first:
                return first
            if now is None:
                heapq.heappop(coming)
            else:
                heapq.heapreplace(coming, now)
        if self._last is not None:
            raise NotRead
        return None

    def _given(self, candidate: NextOfGroup) -> InTurn:
        place = (candidate.priority, candidate.round, candidate.turn, candidate.job_id)
        if not candidate.is_job or (self._last is not None and place > self._last):
            raise NotRead
        job = self._jobs[candidate.job_id]
        assert job is not None
        return InTurn(candidate.round, job)

    def _push(self, key: Key) -> None:
        if (head := self._head(key)) is not None:
            heapq.heappush(self._next, head)

    def _head(self, key: Key) -> NextOfGroup | None:
        """The group's first one."""
        queue = self._queues[key]
        head = self._candidate(key, queue, queue.at, 0)
        queue.at = head.at if head is not None else len(queue.places)
        return head

    def _candidate(
        self, key: Key, queue: _Queue, at: int, taken: int, allowed: Collection[int] = ()
    ) -> NextOfGroup | None:
        """The group's first one from there on, where so many have been taken that do not run yet."""
        priority, group = key
        places = queue.places
        while at < len(places) and not self._may_be_had(priority, places[at], allowed):
            at += 1
        running = self._runs.get(GroupPlace(self._type, priority, group), 0)
        where = rounds(running + taken, group, self._weights)
        if at < len(places):
            return NextOfGroup(priority, where, *places[at], True, group, at)
        if queue.whole:
            return None
        turn, job_id = places[-1] if places else (0, 0)
        return NextOfGroup(priority, where, turn, job_id, False, group, at)

    def _may_be_had(self, priority: int, place: tuple[int, int], allowed: Collection[int]) -> bool:
        job = self._jobs.get(place[1])
        if job is None or job.priority != priority or job.turn != place[0] or job.line not in self._lines:
            return False
        return is_ready(job) or job.id in allowed
