"""Durations, the end of a running job, and the end of the queue: ranges that hold what they promise."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blobforge.forecast import (
    ENOUGH,
    Durations,
    Load,
    bucket_of,
    expected_end,
    lower_edge,
    outlook,
    share_done,
    still_for,
    upper_edge,
)
from blobforge.job import Job, JobStatus

NOW = 1_795_000_000_000
MINUTE = 60_000


def durations(*ms: int) -> Durations:
    counts: dict[int, int] = {}
    for each in ms:
        counts[bucket_of(each)] = counts.get(bucket_of(each), 0) + 1
    return Durations(counts)


def running(*, ran: int, progress: object = None, heard: int = 0, quiet: int | None = None) -> Job:
    """A job that began `ran` ms ago, heard of `heard` ms ago, whose progress was news `quiet` ms ago."""
    text = msgspec.json.encode(progress).decode() if progress is not None else None
    news = NOW - (quiet if quiet is not None else heard) if progress is not None else None
    return Job(
        1, "pdf", JobStatus.RUNNING, 3, "ab" * 32, NOW - ran, NOW, 3,
        worker_id="w", lease="x", started_at=NOW - ran, heartbeat_at=NOW - heard, progress=text, progress_at=news,
    )  # fmt: skip


@given(st.integers(0, 10**9))
def test_a_duration_lies_in_its_bucket(ms: int) -> None:
    bucket = bucket_of(ms)
    # The edges are computed in floats: a millisecond to either side is none.
    assert lower_edge(bucket) - 1 <= ms <= upper_edge(bucket) + 1


@given(st.lists(st.integers(1000, 10**7), min_size=ENOUGH, max_size=200), st.floats(0.05, 0.95))
def test_a_quantile_is_that_of_the_durations_within_a_bucket(ms: list[int], share: float) -> None:
    found = durations(*ms).quantile(share)
    assert found is not None
    exact = sorted(ms)[min(len(ms) - 1, math.ceil(share * len(ms)) - 1)]
    assert exact / 1.2 <= found <= exact * 1.2


def test_what_has_run_long_already_will_run_longer() -> None:
    known = durations(*[MINUTE] * 50, *[60 * MINUTE] * 50)
    fresh = expected_end(running(ran=0), known, now=NOW)
    late = expected_end(running(ran=5 * MINUTE), known, now=NOW)
    assert fresh is not None
    assert late is not None
    assert fresh.earliest < NOW + 2 * MINUTE  # half of them take a minute
    assert late.earliest > NOW + 40 * MINUTE  # and this is none of those
    assert late.by == "durations"


def test_beyond_all_that_was_seen_nothing_is_said() -> None:
    assert expected_end(running(ran=600 * MINUTE), durations(*[MINUTE] * 50), now=NOW) is None
    assert expected_end(running(ran=0), durations(*[MINUTE] * (ENOUGH - 1)), now=NOW) is None
    assert expected_end(running(ran=0), None, now=NOW) is None


@pytest.mark.parametrize(
    ("progress", "share"),
    [
        ({"percent": 40}, 0.4), ({"percent": 40.5}, 0.405), ({"done": 3, "total": 12}, 0.25), ({"percent": 250}, 1.0),
        ({"percent": -1}, 0.0), ({"done": 3, "total": 0}, None), ({"percent": "40"}, None), ({"percent": True}, None),
        ({"stage": "ocr"}, None), ([], None), (None, None), ({"percent": None, "done": 1, "total": 2}, 0.5),
    ],
)  # fmt: skip
def test_how_much_is_done(progress: object, share: float | None) -> None:
    assert share_done(msgspec.json.encode(progress).decode()) == share


def test_its_own_pace_counts_more_than_that_of_others() -> None:
    job = running(ran=30 * MINUTE, heard=10_000, progress={"percent": 50})
    found = expected_end(job, durations(*[MINUTE] * 50), now=NOW)
    assert found is not None
    assert found.by == "progress"
    assert found.earliest < NOW + 30 * MINUTE < found.latest
    nearly = expected_end(running(ran=90 * MINUTE, progress={"percent": 90}), None, now=NOW)
    assert nearly is not None
    assert nearly.latest - nearly.earliest < found.latest - found.earliest  # the further, the surer


@given(st.integers(1, 10**9), st.floats(0, 100), st.integers(0, 10**8))
def test_an_expected_end_is_a_range_that_is_not_over(ran: int, percent: float, heard: int) -> None:
    found = expected_end(running(ran=ran, heard=heard, progress={"percent": percent}), None, now=NOW)
    assert found is None or NOW <= found.earliest <= found.latest


def test_the_outlook_holds_the_truth_in_about_half_of_the_cases() -> None:
    """Queues of jobs with heavy-tailed durations, played through: the range is the middle half that it says it is."""
    dice = random.Random(7)

    def one() -> int:
        return round(dice.lognormvariate(math.log(20 * MINUTE), 0.8))

    hits = 0
    for _ in range(200):
        known = durations(*(one() for _ in range(60)))
        ends = [0] * 4  # four run at once, from now on
        waiting = 40
        for _ in range(waiting):
            slot = ends.index(min(ends))
            ends[slot] += one()
        found = outlook({"pdf": Load(waiting, 4)}, {"pdf": known}, {"pdf"})
        assert found.low_seconds is not None
        assert found.high_seconds is not None
        hits += found.low_seconds * 1000 <= max(ends) <= found.high_seconds * 1000
    assert 60 <= hits <= 160


def test_what_is_unknown_is_said_to_be_unknown() -> None:
    known = {"pdf": durations(*[MINUTE] * 20)}
    assert outlook({}, {}, ()).low_seconds == 0
    idle = outlook({"pdf": Load(5, 0)}, known, {"pdf"})
    assert (idle.low_seconds, idle.high_seconds) == (None, None)
    assert "pdf: jobs wait, and none runs" in idle.words
    new = outlook({"pdf": Load(5, 1), "ocr": Load(1, 1)}, known, {"pdf", "ocr"})
    assert new.low_seconds is None
    assert "ocr: fewer than 5 jobs have been completed" in new.words
    both = outlook({"pdf": Load(5, 1)}, known, {"pdf"})
    assert both.low_seconds is not None
    assert both.high_seconds is not None
    assert "1 job goes on side by side" in both.words
    assert "one case of two" in both.words
    assert 5 * 60 <= both.high_seconds <= 7 * 60


def test_a_paused_type_is_said_to_be_paused() -> None:
    known = {"pdf": Durations({40: 100})}
    found = outlook({"pdf": Load(5, 1, most=0)}, known, {"pdf"})
    assert found.low_seconds is None
    assert "pdf: paused" in found.words
    assert outlook({"pdf": Load(0, 1, most=0)}, known, {"pdf"}).low_seconds is not None, "what runs goes on"


def test_a_type_without_workers_hides_the_outlook_of_no_other() -> None:
    known = {"pdf": durations(*[MINUTE] * 20), "scan": durations(*[MINUTE] * 20)}
    found = outlook({"pdf": Load(5, 1), "scan": Load(9, 1), "ocr": Load(3, 0)}, known, {"pdf", "scan"})
    assert (found.low_seconds, found.high_seconds) == (None, None)
    assert "ocr: no worker is online" in found.words
    high = {type_: each.high_seconds for type_, each in found.types.items()}
    assert high["ocr"] is None
    assert high["pdf"] is not None
    assert high["scan"] is not None
    whole = outlook({"pdf": Load(5, 1), "scan": Load(9, 1)}, known, {"pdf", "scan"})
    assert whole.high_seconds == max(high["pdf"], high["scan"])  # side by side: the slowest decides
    assert whole.rest is None, "nothing is left out"
    assert found.rest is not None
    assert (found.rest.low_seconds, found.rest.high_seconds) == (whole.low_seconds, whole.high_seconds)
    assert "2 jobs go on side by side" in found.rest.words
    assert outlook({"ocr": Load(3, 0)}, known, {"pdf"}).rest is None


def test_with_no_worker_online_nothing_is_foretold() -> None:
    found = outlook({"pdf": Load(5, 1)}, {"pdf": durations(*[MINUTE] * 20)}, ())
    assert (found.low_seconds, found.high_seconds) == (None, None)
    assert "pdf: no worker is online" in found.words


@pytest.mark.parametrize(
    ("job", "known", "still"),
    [
        (running(ran=50 * MINUTE, progress={"percent": 1}, quiet=29 * MINUTE), None, False),
        (running(ran=50 * MINUTE, progress={"percent": 1}, quiet=31 * MINUTE), None, True),
        # Others of its type take hours: then half an hour without news is nothing.
        (running(ran=50 * MINUTE, progress={"percent": 1}, quiet=31 * MINUTE), [300 * MINUTE] * 9, False),
        (running(ran=500 * MINUTE), None, False),
        (running(ran=500 * MINUTE), [MINUTE] * 9, True),
        (running(ran=20 * MINUTE), [MINUTE] * 9, False),
        (running(ran=500 * MINUTE), [MINUTE] * 2, False),
    ],
)
def test_a_job_that_stands_still(job: Job, known: list[int] | None, still: bool) -> None:
    assert (still_for(job, durations(*known) if known else None, now=NOW) is not None) == still
