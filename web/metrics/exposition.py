"""`GET /metrics`, put together: what HTTP has come to, what the parts say, what the database says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client.registry import Collector

from blobforge.store.reader import Reader
from web.metrics import queue
from web.metrics.attempts import Attempts
from web.metrics.house import House
from web.metrics.requests import Requests

__all__ = ["CONTENT_TYPE", "Metrics"]


class Metrics:
    """`requests` and `attempts` are told as things happen; the rest is read on demand."""

    def __init__(self, house: House) -> None:
        self.requests = Requests()
        self.attempts = Attempts()
        self.house = house

    def reading(self, database: Path, *, now: int) -> Callable[[Reader], bytes]:
        """What a reader has to do to get the text of the exposition.

        What stands in memory is read here and now, on trio's thread, which owns it; the database is asked, and the
        text written, in the reader's: with many job types that takes milliseconds.
        """
        known = [*self.requests.families(), *self.attempts.families(), *self.house.families()]
        return lambda reader: generate_latest(_Once(chain(known, queue.families(reader, database, now=now))))


class _Once(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families
