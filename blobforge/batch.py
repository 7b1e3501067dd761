"""Batches: jobs that were submitted for one thing, by a name, and when all of that has ended.

A job may be in several: the same document, submitted for two of them, is one job, and each batch waits for it. A
batch is open until it is closed; closed, it ends when all of its jobs have, and each time again that one of them was
brought back. Pure: the time is an argument. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec.structs import replace

from blobforge.job import MOST_BATCHES, Job, JobStatus
from blobforge.refusals import Refusal, RefusalCode

GONE: Final = "gone"
"""Beside the statuses of jobs: what has been deleted since it was in the batch."""
ENDED: Final = frozenset({JobStatus.COMPLETED, JobStatus.DEAD, JobStatus.CANCELLED})
"""Jobs of which nothing more is to come by itself."""


class JobBatch(msgspec.Struct, frozen=True):
    """`metadata` is JSON as the client sent it, `submitter` the caller that made it (`Caller.subject`). `started_at`
    is when the first of its jobs was given to a worker. `ended_at`: it is closed, and all its jobs have ended, the
    last of them then; `endings` is how often that has been. `unfinished`: how many of its jobs have not ended.

    `callback` is a URL that is told when it ends, with its secret, encrypted (`blobforge/webhook.py`); `callback_to`
    the endpoint of that URL's host."""

    id: int
    name: str
    created_at: int
    metadata: str | None = None
    submitter: str | None = None
    closed_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    endings: int = 0
    unfinished: int = 0
    callback_to: int | None = None
    callback: str | None = None

    @property
    def state(self) -> str:
        if self.ended_at is not None:
            return "ended"
        return "closed" if self.closed_at is not None else "open"


def is_unfinished(job: Job) -> bool:
    """Whether a batch still waits for the job."""
    return job.status not in ENDED


def closed(batch: JobBatch, *, now: int) -> JobBatch:
    """No job comes to it any more. One that is closed stays as it is."""
    return batch if batch.closed_at is not None else replace(batch, closed_at=now)


def judged(batch: JobBatch, *, now: int) -> JobBatch:
    """As it stands after its jobs have changed: it has ended, or goes on again."""
    over = batch.closed_at is not None and batch.unfinished == 0
    if over and batch.ended_at is None:
        return replace(batch, ended_at=now, endings=batch.endings + 1)
    if not over and batch.ended_at is not None:
        return replace(batch, ended_at=None)
    return batch


def joined(batches: tuple[int, ...], batch: JobBatch) -> tuple[int, ...] | Refusal:
    """The batches of a job that is submitted for this one. A batch that it is in already has it, closed or not."""
    if batch.id in batches:
        return batches
    if batch.closed_at is not None:
        detail = f"Batch {batch.id} ({batch.name}) is closed: it takes no further jobs. Make another one."
        return Refusal(RefusalCode.BATCH_CLOSED, detail, field="batch")
    if len(batches) >= MOST_BATCHES:
        detail = (
            f"The job of this source is in {MOST_BATCHES} batches already. Delete some that you do not need any more."
        )
        return Refusal(RefusalCode.BATCHES_FULL, detail, field="batch")
    return (*batches, batch.id)


def no_such_batch(batch_id: int, *, field: str | None = None) -> Refusal:
    return Refusal(RefusalCode.NO_SUCH_BATCH, f"There is no batch {batch_id}.", field=field)
