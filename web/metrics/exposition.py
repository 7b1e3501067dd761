"""`GET /metrics`, put together: what HTTP has come to, what the parts say, what the database says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol

import msgspec
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.registry import Collector

from blobforge.store.reader import Reader
from web.metrics import http, queue
from web.metrics.attempts import Attempts
from web.metrics.house import House
from web.metrics.requests import Requests
from web.metrics.share import Cost, Counting, Share, added_up
from web.reads import ReadPool

__all__ = ["CONTENT_TYPE", "Elsewhere", "Metrics", "Told"]


class Told(Protocol):
    """Metrics as the handlers see them."""

    @property
    def requests(self) -> Requests: ...

    async def text(self) -> bytes:
        """The exposition: the same from whichever process is asked."""
        ...


class Elsewhere(msgspec.Struct, frozen=True):
    """What other processes have counted, those that have ended too; what each costs, by its number."""

    shares: list[Share]
    costs: dict[str, Cost]
    restarts: int


class Metrics:
    """`counting.requests` and `attempts` are told as things happen; the rest is read on demand.

    `elsewhere` asks the other processes, where there are any; `now` is in ms.
    """

    def __init__(
        self, house: House, counting: Counting, reads: ReadPool, database: Path, *, now: Callable[[], int]
    ) -> None:
        self.attempts = Attempts()
        self.house = house
        self.elsewhere: Callable[[], Awaitable[Elsewhere]] | None = None
        self._counting = counting
        self._reads = reads
        self._database = database
        self._now = now

    @property
    def requests(self) -> Requests:
        """See Told."""
        return self._counting.requests

    async def text(self) -> bytes:
        """See Told.

        What stands in memory is read on trio's thread, which owns it; the database is asked, and the text written,
        in the reader's: with many job types that takes milliseconds.
        """
        others = await self.elsewhere() if self.elsewhere is not None else None
        known = list(self._known(others))
        write = partial(_written, known=known, database=self._database, now=self._now())
        return await self._reads.run(write)

    def _known(self, others: Elsewhere | None) -> Iterable[Metric]:
        own = self._counting.share()
        share = own if others is None else added_up([own, *others.shares])
        yield from http.requests(share)
        yield from self.attempts.families()
        yield from self.house.families(share)
        yield from http.clients(share, {name: limit.total for name, limit in self._counting.limits.items()})
        yield from http.object_store(share)
        if others is not None:
            yield from http.fronts(others.costs, others.restarts)


def _written(reader: Reader, *, known: list[Metric], database: Path, now: int) -> bytes:
    return generate_latest(_Once(chain(known, queue.families(reader, database, now=now))))


class _Once(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
