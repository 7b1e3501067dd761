"""`GET /metrics`, put together: what HTTP has come to, what the parts say, what the database says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.registry import Collector

from blobforge.store.commons import Figures
from blobforge.store.errors import DatabaseError
from blobforge.store.reading import Reader
from web.metrics import http, objects, queue, servers
from web.metrics.attempts import Attempts
from web.metrics.counting import Counting
from web.metrics.parts import PartsMetrics
from web.presence import Presence
from web.reads import ReadPool
from web.shared import Shared

__all__ = ["CONTENT_TYPE", "Metrics"]


class Metrics:
    """`requests` and `attempts` are told as things happen; the rest is read on demand. `now` is in ms. Where there
    can be other servers, each sample says of which it is."""

    def __init__(
        self,
        parts: PartsMetrics,
        counting: Counting,
        reads: ReadPool,
        presence: Presence,
        shared: Shared,
        *,
        now: Callable[[], int],
    ) -> None:
        self.attempts = Attempts()
        self.parts = parts
        self.requests = counting.requests
        self._counting = counting
        self._reads = reads
        self._presence = presence
        self._shared = shared
        self._now = now

    async def text(self) -> bytes:
        """The exposition.

        What stands in memory is read on trio's thread, which owns it; the database is asked, and the text written,
        in the reader's: with many job types that takes milliseconds.
        """
        known = [*self._known(), *servers.families(self._presence.servers(), await self._figures())]
        server = self._presence.name
        write = partial(_written, known=known, server=server, now=self._now())
        return await self._reads.run(write)

    async def _figures(self) -> Figures | None:
        try:
            return await self._shared.ask(lambda commons: commons.figures())
        except DatabaseError:
            return None  # that it is away is told by what reads it

    def _known(self) -> Iterable[Metric]:
        yield from http.requests(self._counting)
        yield from self.attempts.families()
        yield from self.parts.families(self._counting)
        yield from http.clients(self._counting)
        yield from objects.store_calls(self._counting.objects)


def _written(reader: Reader, *, known: list[Metric], server: str | None, now: int) -> bytes:
    families = chain(known, queue.families(reader, now=now))
    return generate_latest(_Once(families if server is None else _labelled(families, server)))


def _labelled(families: Iterable[Metric], server: str) -> Iterable[Metric]:
    """With the server's name, whatever the address is that they are scraped at."""
    for family in families:
        family.samples = [sample._replace(labels={"server": server, **sample.labels}) for sample in family.samples]
        yield family


class _Once(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
