"""Reading from the database beside the writer. State owned here: the readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from blobforge.job import Job
from blobforge.machinery.hop import Hop, in_thread
from blobforge.machinery.outage import Outage
from blobforge.operation import MOST_OPEN, Operation
from blobforge.store.errors import DatabaseError, StoreUnavailable
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor, ListedWorker, Page
from blobforge.store.reading import Reader
from blobforge.worker import WorkerFilter

T = TypeVar("T")

CONNECTIONS = 4  # reads are short; more threads would only take turns


class ReadPool:
    """A few readers of the database, each used by one thread at a time. `opened` opens one."""

    def __init__(self, opened: Callable[[], Reader], *, hop: Hop | None = None, outage: Outage | None = None) -> None:
        self._hop = hop or in_thread
        self._idle = [opened() for _ in range(CONNECTIONS)]
        self._limiter = trio.CapacityLimiter(CONNECTIONS)
        self._failing = False  # since the last answer
        self.outage = outage or Outage()

    async def run(self, read: Callable[[Reader], T]) -> T:
        """Call `read` with a reader, in a thread. Raises what it raises, and DatabaseError."""
        async with self._limiter:
            reader = self._idle.pop()
            try:
                answer = await self._hop(partial(_asked, reader, read))
            except DatabaseError as error:
                self.outage.met("read", error, whole=not isinstance(error.__cause__, StoreUnavailable))
                self._failing = True
                raise
            finally:
                self._idle.append(reader)
        if self._failing:
            self.outage.over("read")
            self._failing = False
        return answer

    async def moment(self, read: Callable[[Reader], T]) -> T:
        """The same, where `read` asks several things that must agree: all of them of one moment."""
        return await self.run(partial(_of_one_moment, read))

    def close(self) -> None:
        for reader in self._idle:
            reader.close()


def _asked(reader: Reader, read: Callable[[Reader], T]) -> T:
    with reader.outages_told():
        return read(reader)


def _of_one_moment(read: Callable[[Reader], T], reader: Reader) -> T:
    with reader.snapshot():
        return read(reader)


class OperatorReads:
    """What the operator reads."""

    def __init__(self, reads: ReadPool) -> None:
        self._reads = reads

    async def open_operations(self) -> list[Operation]:
        return await self._reads.run(
            lambda reader: reader.open_operations(limit=2 * MOST_OPEN)  # the server's own, too
        )

    async def operation_jobs(self, operation_id: int, page: int) -> list[int]:
        return await self._reads.run(lambda reader: reader.operation_jobs(operation_id, page))

    async def operation_workers(self, operation_id: int, page: int) -> list[str]:
        return await self._reads.run(lambda reader: reader.operation_workers(operation_id, page))

    async def list_workers(self, wanted: WorkerFilter, after: str, limit: int) -> tuple[list[ListedWorker], bool]:
        return await self._reads.run(lambda reader: reader.roster.by_id(wanted, after=after, limit=limit))

    async def workers(self, ids: Sequence[str]) -> list[ListedWorker]:
        found = await self._reads.moment(lambda reader: [reader.roster.worker(id_) for id_ in ids])
        return [each for each in found if each is not None]

    async def list_jobs(self, wanted: JobFilter, cursor: Cursor, limit: int) -> Page:
        return await self._reads.run(lambda reader: reader.list_jobs(wanted, limit=limit, cursor=cursor))

    async def jobs(self, ids: Sequence[int]) -> list[Job]:
        found = await self._reads.moment(lambda reader: [reader.job_in_short(id_) for id_ in ids])
        return [job for job in found if job is not None]
