"""Other orders of a list of jobs than its own, which is by priority and then newest first.

A job has the key of an order, or has none. Those with a key come first, by it and then by id; the others follow in
the list's own order. So no job is left out by an order.

Of more jobs than are sorted at once, an index has those with a key. By size it has the large ones: each that is in it
costs its submission as much as a fifth of all else, and the smaller ones follow as if they had none.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from blobforge.job import Job, JobStatus
from blobforge.store.filters import JobFilter

HIGHEST: Final = 2**63 - 1  # beyond every key
UNKNOWN: Final = -1  # the size of a source of which none was said: by size, each job has a key where all are sorted
LARGE: Final = 8 << 20  # bytes: sources of that size, and larger ones, are in the index by size
MOST_TRIES: Final = 2**31 - 1  # the same of the key that a database keeps in 32 bits


class JobSort(StrEnum):
    """By what jobs are sorted; with a `-`, the highest first. `created`: as they were submitted; `ended`: when they
    completed, died or were cancelled; `duration`: how long the attempt took that completed the job; `-size`: of the
    source; `-tries`: how often they were tried, where that is more than once."""

    CREATED = "created"
    NEWEST = "-created"
    ENDED = "ended"
    LAST_ENDED = "-ended"
    DURATION = "duration"
    LONGEST = "-duration"
    LARGEST = "-size"
    MOST_TRIED = "-tries"

    @property
    def by(self) -> str:
        return self.removeprefix("-")

    @property
    def down(self) -> bool:
        return self.startswith("-")

    @property
    def start(self) -> int:
        """A key before all others."""
        highest = MOST_TRIES if self is JobSort.MOST_TRIED else HIGHEST
        return highest if self.down else -highest

    def may_have_key(self, filter_: JobFilter) -> bool:
        """Whether a job that the filter takes may have a key."""
        if self.by == "ended":
            return filter_.status in (None, *WITH_END)
        completed = filter_.status in (None, JobStatus.COMPLETED) and filter_.failure is None
        return self.by != "duration" or completed

    def indexed_key(self, job: Job) -> int | None:
        """The key by which an index has the job."""
        key = self.key(job)
        return None if self is JobSort.LARGEST and key is not None and key < LARGE else key

    def key(self, job: Job) -> int | None:
        match self.by:
            case "created":
                return job.id
            case "ended":
                return job.completed_at if job.status in WITH_END else None
            case "duration":
                return took(job)
            case "size":
                return job.source_size if job.source_size is not None else UNKNOWN
            case _:
                return job.attempts if job.attempts > 1 else None


WITH_END: Final = (JobStatus.COMPLETED, JobStatus.DEAD, JobStatus.CANCELLED)


def took(job: Job) -> int | None:
    """How long the attempt took that completed the job, in ms; None of others."""
    if job.status is not JobStatus.COMPLETED or job.completed_at is None or job.started_at is None:
        return None
    return job.completed_at - job.started_at
