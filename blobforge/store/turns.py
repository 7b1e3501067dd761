"""The place among the turns of groups that a job gets when it enters the queue, and gives up when it leaves it."""

from __future__ import annotations

from typing import Protocol

from msgspec.structs import replace

from blobforge.fairness import GroupClock, next_turn, step
from blobforge.job import Job, JobStatus
from blobforge.jobtype import TypeSettings
from blobforge.store.needs import GroupPlace


class KeepsTurns(Protocol):
    """What of a store this is about, inside its transaction."""

    def group_clocks(self, type_: str) -> dict[int, GroupClock]: ...
    def last_turn(self, place: GroupPlace) -> int | None: ...
    def save_clock(self, type_: str, priority: int, clock: GroupClock) -> None: ...
    def save_turn(self, place: GroupPlace, turn: int, *, now: int) -> None: ...
    def type_settings(self, type_: str) -> TypeSettings: ...


def with_turn(store: KeepsTurns, job: Job) -> Job:
    """The job, as it is to be saved, with the turn that it gets by entering the queue now; without a group it has
    none. One that is not in line (it waits for its source, or for its time to start, it runs, or has ended) takes
    none from its group: it gets another when it enters, or keeps this one where it is given back."""
    if job.of_group is None:
        return job
    clock = store.group_clocks(job.type).get(job.priority)
    if clock is None:
        store.save_clock(job.type, job.priority, clock := GroupClock())
    place = GroupPlace(job.type, job.priority, job.of_group)
    turn = next_turn(clock, store.last_turn(place), job.of_group, store.type_settings(job.type).weights)
    if _in_line(job):
        store.save_turn(place, turn, now=clock.now)
    return replace(job, turn=turn)


def give_up_turn(store: KeepsTurns, job: Job) -> None:
    """The job, as it was, leaves the queue without being given out, and its group's next one comes a step earlier: a
    group does not pay for jobs that it has cancelled. A turn that is past is lost, and so is that of a job that was
    given out and came back."""
    if job.of_group is None or not _in_line(job):
        return
    clock = store.group_clocks(job.type).get(job.priority)
    place = GroupPlace(job.type, job.priority, job.of_group)
    if clock is None or job.turn <= clock.now or (last := store.last_turn(place)) is None:
        return
    store.save_turn(place, last - step(job.of_group, store.type_settings(job.type).weights), now=clock.now)


def _in_line(job: Job) -> bool:
    return job.status in (JobStatus.PENDING, JobStatus.FAILED) and not job.waits_to_start
