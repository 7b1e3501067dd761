"""The claim order in memory: the next jobs of one line, or of several, as they were read, and as the transaction has
changed them.

State owned here: the places (priority, turn, id) of candidates. Which of them may still be had, the jobs themselves
say.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterator, Mapping

from blobforge.job import Job, JobStatus
from blobforge.options import QueueLine

ClaimPlace = tuple[int, int, int]  # priority, turn (0: it has no group), id


def place(job: Job) -> ClaimPlace:
    return job.priority, job.turn, job.id


def is_ready(job: Job) -> bool:
    """Whether any worker may have it now."""
    return job.status is JobStatus.PENDING and job.not_before is None and not job.avoid


def is_kept(job: Job) -> bool:
    """Whether it may be had by all workers but some."""
    return job.status is JobStatus.PENDING and bool(job.avoid)


class ClaimOrder:
    """Those that stand in one line, or in several that are read as one. `may_be_had` tells which jobs belong here.

    `whole`: no further ones are in the database. Else nothing is known of what comes behind the last that was read.
    """

    __slots__ = ("_at", "_jobs", "_lines", "_may_be_had", "_places", "whole")

    def __init__(
        self,
        lines: Collection[QueueLine],
        may_be_had: Callable[[Job], bool],
        jobs: Mapping[int, Job | None],
        read: list[Job],
        *,
        whole: bool,
    ) -> None:
        self._lines = lines if len(lines) == 1 else frozenset(lines)
        self._may_be_had = may_be_had
        self._jobs = jobs
        self._places = sorted(map(place, read))
        self._at = 0  # before it, none may be had
        self.whole = whole

    def enter(self, job: Job) -> None:
        """The job may be had from now on, in its place."""
        at = place(job)
        if not self.whole and (not self._places or at > self._places[-1]):
            return  # where it comes among those that were not read is not known
        index = bisect_left(self._places, at)
        if index == len(self._places) or self._places[index] != at:
            insort(self._places, at)
        self._at = min(self._at, index)

    def rewind(self) -> None:
        """Something was undone: those that were passed by may be had again."""
        self._at = 0

    def __len__(self) -> int:
        """How many have stood here."""
        return len(self._places)

    def first(self) -> Job | None:
        """The next one that may be had, of those that are known."""
        return next(iter(self), None)

    def __iter__(self) -> Iterator[Job]:
        """Those that may be had, in claim order."""
        passed = True
        for index in range(self._at, len(self._places)):
            at = self._places[index]
            job = self._jobs.get(at[2])
            in_place = job is not None and job.priority == at[0] and job.turn == at[1]
            if job is not None and in_place and job.line in self._lines and self._may_be_had(job):
                passed = False
                yield job
            elif passed:
                self._at = index + 1
