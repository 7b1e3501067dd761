"""The sample of a canary, and what its report says."""

from __future__ import annotations

import random
from collections import Counter

from blobforge.canary import (
    CanaryOutcome,
    CanaryVerdict,
    ComparedDocument,
    SampleCandidate,
    canary_of,
    ordinary,
    report,
    sample,
    type_for,
)


def test_the_type_of_a_comparison_leads_back() -> None:
    assert (ordinary(type_for("pdf", 7)), canary_of(type_for("pdf", 7))) == ("pdf", 7)
    assert (ordinary("pdf"), canary_of("pdf")) == ("pdf", None)


def test_a_sample_is_spread_over_types_sizes_and_former_failures() -> None:
    """Of a thousand small documents, ten large ones and three that had failed, each kind is there."""
    small = [SampleCandidate(number, "pdf", 1000) for number in range(1000)]
    large = [SampleCandidate(number, "pdf", 10_000_000) for number in range(1000, 1010)]
    failed = [SampleCandidate(number, "pdf", 1000, cause=4) for number in range(1010, 1013)]
    other = [SampleCandidate(2000, "scan", None)]
    picked = sample([*small, *large, *failed, *other], 40, random.Random(0))
    assert len(picked) == len(set(picked)) == 40
    assert picked == sorted(picked)
    kinds = Counter(
        "small" if n < 1000 else "large" if n < 1010 else "failed" if n < 2000 else "other" for n in picked
    )
    assert kinds == {"small": 26, "large": 10, "failed": 3, "other": 1}
    assert len(sample(small[:5], 40, random.Random(0))) == 5, "all, where there are fewer"
    assert sample([], 40, random.Random(0)) == []


def pairs(*ratios: float, before: int = 10_000) -> list[ComparedDocument]:
    return [
        ComparedDocument(number, number, 1, "pdf", CanaryOutcome.SAME, before, round(before * ratio))
        for number, ratio in enumerate(ratios, 1)
    ]


def test_slower_as_a_whole_is_the_one_in_the_middle_and_not_a_few_that_were_held_up() -> None:
    held_up = report(pairs(*[1.0] * 90, *[50.0] * 10), slower=1.5)
    assert (held_up.verdict, held_up.slower, held_up.median) == (CanaryVerdict.SAME, 10, 1.0)
    assert [each.ratio for each in held_up.worst] == [50.0] * 10
    assert report(pairs(*[1.6] * 60, *[1.0] * 40), slower=1.5).verdict is CanaryVerdict.SLOWER
    assert report(pairs(*[9.0] * 4), slower=1.5).verdict is CanaryVerdict.SAME, "too few say nothing"
    noise = report(pairs(*[3.0] * 100, before=4), slower=1.5)
    assert (noise.verdict, noise.slower) == (CanaryVerdict.SAME, 0), "milliseconds are noise"
    assert report(pairs(1.0, 0.5), slower=1.5).median == 0.75


def test_the_verdict_is_the_worst_that_there_is_to_say() -> None:
    same = pairs(*[2.0] * 9)
    said = {
        "failed": "failed", "different": "different", "unproven": "unproven", "gone": "slower", "cancelled": "slower",
        "waiting": "running", "running": "running",
    }  # fmt: skip
    for outcome, verdict in said.items():
        one = [ComparedDocument(99, 99, 1, "pdf", CanaryOutcome(outcome))]
        assert report([*same, *one], slower=1.5).verdict == verdict
    assert report([], slower=1.5).verdict is CanaryVerdict.NOTHING
