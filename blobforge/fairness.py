"""Turns of groups: whose job comes next, where jobs of several groups are ready with the same priority.

The group comes first of which the fewest jobs run, by its weight: whole multiples of the weight are its *rounds*, and
a group in an earlier round goes before one in a later round, however long the jobs of each take.

Among groups in the same round it is start-time fair queueing. Each job of a group gets a place, its *turn*, when it
enters the queue: behind the group's jobs before it, by a step that is the smaller the more weight the group has, and
never before the virtual time of its type and priority, which is the highest turn that was given out. The lowest turn
comes first. Jobs without a group have no turn: together they are one more group, in which priority and age decide as
ever, and whose first job has the place that its group has earned (`GroupClock.alone`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from blobforge.job import Job

STEP: Final = 1_000_000  # from one turn of a group to its next, at weight 1
MOST_WEIGHT: Final = 1_000
LONGEST_GROUP: Final = 100  # characters of its name
MOST_WEIGHTS: Final = 1_000  # groups of one type that have a weight of their own
Weights = Mapping[str, int]  # by group; "": of the jobs without one


class GroupClock(NamedTuple):
    """Of one type and priority: `now` is its virtual time; the next job without a group has its place at `alone`, or
    behind that.
    """

    now: int = STEP
    alone: int = STEP

    @property
    def next_alone(self) -> int:
        """The place of the next job without a group: a group that had nothing to do has saved nothing up."""
        return max(self.now, self.alone)

    def after(self, turn: int, weights: Weights) -> GroupClock:
        """Once a job was given out, with this turn; 0: one without a group."""
        if turn:
            return GroupClock(max(self.now, turn), self.alone)
        at = self.next_alone
        return GroupClock(at, at + step("", weights))


class InTurn(NamedTuple):
    """A job of a group that is given out, and the round in which its group is then."""

    round: int
    job: Job


class Alone(NamedTuple):
    """What decides between the jobs without a group, of one type and priority, and those with one."""

    clock: GroupClock = GroupClock()
    running: int = 0  # jobs without a group

    def after(self, job: Job, weights: Weights) -> Alone:
        """Once the job was given out."""
        return Alone(self.clock.after(job.turn, weights), self.running + (not job.turn))


def rounds(running: int, group: str, weights: Weights) -> int:
    """How many whole rounds of a group run with so many jobs: the number of the round in which its next one is."""
    return running // weights.get(group, 1)


def step(group: str, weights: Weights) -> int:
    """How far the turns of this group are apart."""
    return STEP // weights.get(group, 1)


def next_turn(clock: GroupClock, last: int | None, group: str, weights: Weights) -> int:
    """The turn of a job that enters the queue now. `last`: that of the group's job before it, where it is known: else
    that one has been given out long ago."""
    return clock.now if last is None else max(clock.now, last + step(group, weights))


def in_turns(
    alone: Iterable[Job],
    of_groups: Mapping[str, Sequence[InTurn]],
    between: Mapping[tuple[str, int], Alone],
    weights: Mapping[str, Weights],
    limit: int,
    rooms: Mapping[str, int],
) -> list[Job]:
    """The next `limit` jobs. `alone` are those without a group, of all types, by priority, then age; `of_groups` the
    others by type, in the order in which they come among themselves. `between` is by type and priority, `weights` by
    type; `rooms`: of some types no more than so many.

    Jobs of different types are not in turns: of two, the older one goes first, as ever.
    """
    between, rooms = dict(between), dict(rooms)
    queues = [[InTurn(0, job) for job in alone], *map(list, of_groups.values())]
    for queue in queues:
        queue.reverse()
    picked: list[Job] = []
    while len(picked) < limit:
        for queue in queues:
            while queue and rooms.get(queue[-1].job.type) == 0:
                queue.pop()
        heads = [queue for queue in queues if queue]
        if not heads:
            break
        first = heads[0]
        for queue in heads[1:]:
            if _comes_before(queue[-1], first[-1].job, between, weights):
                first = queue
        job = first.pop().job
        picked.append(job)
        key = (job.type, job.priority)
        between[key] = between.get(key, Alone()).after(job, weights.get(job.type, {}))
        if job.type in rooms:
            rooms[job.type] -= 1
    return picked


def _comes_before(
    mine: InTurn, other: Job, between: Mapping[tuple[str, int], Alone], weights: Mapping[str, Weights]
) -> bool:
    """Whether a job of a group comes before the first one of another queue."""
    job = mine.job
    if job.priority != other.priority:
        return job.priority < other.priority
    if job.type != other.type:
        return job.id < other.id
    clock, running = between.get((job.type, job.priority), Alone())
    their_round = rounds(running, "", weights.get(job.type, {}))
    return (mine.round, job.turn, job.id) < (their_round, clock.next_alone, other.id)
