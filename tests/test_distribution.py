"""Times in buckets: quantiles are near, and a histogram counts each once."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as some

from blobforge.distribution import histogram, quantile
from blobforge.forecast import bucket_of, lower_edge, upper_edge


@given(some.lists(some.integers(200, 10**9), min_size=1), some.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_one_that_it_is(times: list[int], share: float) -> None:
    counts = Counter(map(bucket_of, times))
    found = quantile(counts, share)
    exact = sorted(times)[min(len(times) - 1, max(0, -int(-share * len(times) // 1) - 1))]
    assert found is not None
    assert lower_edge(bucket_of(exact)) * 0.999 <= found <= upper_edge(bucket_of(exact)) * 1.001
    bars = histogram(counts)
    assert len(bars) <= 24
    assert sum(bar.n for bar in bars) == len(times)
    assert [bar.least for bar in bars[1:]] == [bar.below for bar in bars[:-1]]
    assert bars[0].least <= min(times) * 1.001
    assert bars[-1].below >= max(times) * 0.999


def test_of_nothing_there_is_nothing() -> None:
    assert quantile({}, 0.5) is None
    assert histogram({}) == []
