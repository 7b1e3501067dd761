"""Pages of lists: jobs, the attempts of a worker, workers. How large a page may be, and where the next one begins."""

from __future__ import annotations

import msgspec

from blobforge.job import Job, Outcome
from blobforge.store.sorting import JobSort
from blobforge.worker import Worker

PAGE_BYTES = 1 << 20  # of what submitters and workers wrote into the jobs of one page: behind it, the page is short
# Of what workers wrote into one page of workers (metadata, labels). A thousand have 4 KiB each.
WORKERS_PAGE_BYTES = 4 << 20
SCAN_LIMIT = 20_000  # rows that one page may look at: about 60 ms
SORTED_AT_ONCE = 5_000  # jobs that are sorted for a page; where there may be more, an index has the order
LOOKED_FIRST = 300  # rows in which a text may be so often that a page is full of it
MOST_VERIFIED = 500  # jobs that an index gives for a text, of which it is counted how many have it
MOST_FOUND = 20_000  # jobs that an index gives for a text: where there are more, they match often enough on the way
WALKED_AT_ONCE = 1_000  # jobs that are read by id in one statement
AUDIT_SCAN = 20_000  # records that one page of a filtered audit log looks at
SMALL = 2_000  # jobs of a tag, or that a worker runs; where there are more, they match often enough on the way
MOST_ATTEMPTS = 50  # of a job, in one answer
MOST_IDS = 100  # of the jobs that one worker runs, beside it
NEWEST = 2**63 - 1  # beyond every id and every number of an attempt

ListedWorker = tuple[Worker, list[int]]  # a worker with the ids of the first jobs that it runs
ListPlace = tuple[int, int]  # of a job in the order of lists: its priority, and its id negated


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: the priority and the id of the last job looked at. Of another order than the list's own:
    the order, and the job's key in it; with no key, that page was among the jobs that have none."""

    priority: int = 0
    id: int = NEWEST
    sort: JobSort | None = None
    key: int | None = None


class Page(msgspec.Struct, frozen=True):
    """A page of jobs. `total` is exact, or what is known to match so far. `next` is None at the end."""

    jobs: list[Job]
    total: int
    exact: bool
    next: Cursor | None


class AttemptPlace(msgspec.Struct, frozen=True):
    """Where a page of a worker's attempts ended."""

    started_at: int = NEWEST
    job_id: int = NEWEST
    attempt: int = NEWEST


class WorkerAttempt(msgspec.Struct, frozen=True):
    """One attempt of a worker, with the job's type and path. Times in ms since the epoch."""

    job_id: int
    attempt: int
    type: str
    started_at: int
    ended_at: int | None
    outcome: Outcome | None
    kind: str | None
    error: str | None
    source_path: str | None

    @property
    def cursor(self) -> str:
        """Where a page that ends with it ended."""
        return f"{self.started_at}-{self.job_id}-{self.attempt}"


class RosterPage(msgspec.Struct, frozen=True):
    """A page for people, those that work first. `total` is how many match. `next` is (rank, id), None at the end."""

    workers: list[ListedWorker]
    total: int
    next: tuple[int, str] | None
