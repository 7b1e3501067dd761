"""What kept counters lack, where servers of an older release have moved jobs without them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

import msgspec

from blobforge.store.tallies import Tallies

K = TypeVar("K")
V = TypeVar("V")


class Miscounts(msgspec.Struct, frozen=True):
    """What was found on one snapshot, after the recount of this number was begun and while `older` was the last turn
    of a server of an older release.

    `lacking`: by how much counters of jobs, tags, batches, converters and deferred jobs have to be
    moved. `unweighed`: jobs whose bytes may be others than those that stand there. There may be more of either
    than is told at once.
    """

    recount: int
    older: int
    lacking: Tallies
    unweighed: tuple[int, ...] = ()

    def pages(self, counters: int, jobs: int) -> Iterator[tuple[Tallies, tuple[int, ...]]]:
        """All of it, with at most so many counters or jobs each."""
        lacking = self.lacking
        for some in _some(lacking.jobs, counters):
            yield Tallies(jobs=some), ()
        for of_tags in _some(lacking.tags, counters):
            yield Tallies(tags=of_tags), ()
        for of_converters in _some(lacking.converters, counters):
            yield Tallies(converters=of_converters), ()
        for of_batches in _some(lacking.batches, counters):
            yield Tallies(batches=of_batches), ()
        for deferred in _some(lacking.deferred, counters):
            yield Tallies(deferred=deferred), ()
        for start in range(0, len(self.unweighed), jobs):
            yield Tallies(), self.unweighed[start : start + jobs]


def _some(counters: dict[K, V], most: int) -> Iterator[dict[K, V]]:
    all_ = iter(counters.items())
    while some := dict(islice(all_, most)):
        yield some
