"""How values are spread, as plain numbers: what a part counts of itself, for the metrics."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from functools import partial

import msgspec

# Seconds. From a commit on a fast disk to a question that runs into its deadline.
FAST_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

# Of an object store: the deadline of a question is seconds, that of reading a whole object a quarter of an hour.
SLOW_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 300.0, 900.0)


class Spread(msgspec.Struct):
    """How many values fell below each bound, and their sum. Used by one thread at a time.

    Kept here and not in a metrics library's histogram: an actor knows no metrics, and to add a value costs a third of
    a microsecond.
    """

    bounds: tuple[float, ...] = FAST_SECONDS
    counts: list[int] = []  # the last one is for what is above every bound
    total: float = 0.0

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def up_to(self) -> list[tuple[float, int]]:
        """(bound, how many values were not above it), in rising order; the last bound is infinite."""
        found, running = [], 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            found.append((bound, running))
        return found


class Calls:
    """What was asked of a part that may be slow or away, by operation: `seconds` of what was answered, and `failures`
    with their reason."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, Spread] = defaultdict(partial(Spread, SLOW_SECONDS))
        self.failures: Counter[tuple[str, str]] = Counter()
