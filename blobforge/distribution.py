"""How long things took, as counts in the buckets of durations (`forecast.py`): quantiles, and a histogram. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from blobforge.forecast import lower_edge, upper_edge


class HistogramStep(msgspec.Struct, frozen=True):
    """`n` took from `least` up to `below` ms."""

    least: float
    below: float
    n: int


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The time (ms) that `share` of them stayed below, as if they lay evenly in each bucket; None: there are none."""
    wanted = share * sum(counts.values())
    found = None
    for bucket, n in sorted(counts.items()):
        if n > 0:
            found = lower_edge(bucket) + (upper_edge(bucket) - lower_edge(bucket)) * min(1.0, wanted / n)
            if wanted <= n:
                break
            wanted -= n
    return found


def histogram(counts: Mapping[int, int], *, most: int = 24) -> list[HistogramStep]:
    """From the first bucket that counts something to the last one; as many of them together as it takes to be no more
    than `most`."""
    there = [bucket for bucket, n in counts.items() if n > 0]
    if not there:
        return []
    first, last = min(there), max(there)
    wide = -(-(last - first + 1) // most)
    return [
        HistogramStep(
            lower_edge(each),
            upper_edge(min(each + wide - 1, last)),
            sum(counts.get(bucket, 0) for bucket in range(each, each + wide)),
        )
        for each in range(first, last + 1, wide)
    ]
