"""How many workers there should be: the arithmetic alone."""

from __future__ import annotations

import pytest

from blobforge.forecast import Durations, Load, bucket_of
from blobforge.scaling import MOST_IDLE, Staff, desired_workers

HOUR = 3600.0
MINUTE = {"pdf": Durations({bucket_of(60_000): 100})}  # a minute each, give or take the width of a bucket
MEAN = MINUTE["pdf"].mean_ms / 1000


def staff(online: int = 0, busy: int = 0) -> Staff:
    return Staff(online, busy, [])


def desired(waiting: int, running: int = 0, *, online: int = 0, busy: int = 0, drain: float = HOUR) -> int:
    return desired_workers({"pdf": Load(waiting, running)}, MINUTE, staff(online, busy), drain_seconds=drain)


def test_so_many_are_done_in_time() -> None:
    for waiting in (1, 59, 1000, 12_345):
        found = desired(waiting)
        assert (found - 1) * HOUR < waiting * MEAN <= found * HOUR
    assert desired(1000, drain=HOUR / 2) >= 2 * desired(1000) - 1


def test_what_runs_is_half_done_and_never_ended() -> None:
    assert desired(0, 7, online=9, busy=7) == 7
    assert desired(1, 7, online=9, busy=7) == 7
    assert desired(0, 0, online=9) == 0


def test_a_worker_counts_for_as_many_as_it_runs_side_by_side() -> None:
    alone, four = desired(10_000, 8, online=8, busy=8), desired(10_000, 8, online=2, busy=2)
    assert alone / 4 <= four <= alone / 4 + 1


def test_no_more_than_there_are_jobs() -> None:
    assert desired(3, drain=1.0) == 3


def test_of_what_is_not_known_as_many_as_there_are_and_at_least_one() -> None:
    def of(few: int, online: int) -> int:
        loads = {"new": Load(500, 0)}
        return desired_workers(loads, {"new": Durations({40: few})}, staff(online), drain_seconds=HOUR)

    assert of(4, online=6) == 6
    assert of(4, online=0) == 1
    assert of(5, online=6) != 6


def test_types_are_added_up() -> None:
    loads = {"pdf": Load(1000, 0), "other": Load(1000, 0)}
    both = {**MINUTE, "other": MINUTE["pdf"]}
    found = desired_workers(loads, both, staff(), drain_seconds=HOUR)
    assert found == pytest.approx(2 * desired(1000), abs=1)


def test_for_what_may_not_run_there_is_no_worker() -> None:
    def of(*loads: Load) -> int:
        named = dict(zip(("pdf", "other"), loads, strict=False))
        return desired_workers(named, {**MINUTE, "other": MINUTE["pdf"]}, staff(9, 2), drain_seconds=HOUR)

    assert of(Load(10_000, 2, most=0)) == 2, "paused: those that run something stay"
    assert of(Load(10_000, 2, most=5)) == 5
    assert of(Load(10_000, 2, most=5), Load(10_000, 0)) == 5 + desired(10_000)
    assert of(Load(10_000, 0, most=0), Load(60, 0)) == 2


def test_who_is_there() -> None:
    found = Staff.of([("a", True, True), ("b", True, False), ("c", False, True), ("d", False, False)])
    assert found == Staff(online=2, busy=2, idle=["b", "d"])
    assert len(Staff.of((f"{n}", True, False) for n in range(MOST_IDLE + 5)).idle) == MOST_IDLE
