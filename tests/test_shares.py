"""What turns of groups come to where jobs take unlike times: as docs/fairness.md says."""

from __future__ import annotations

import pytest

from tests.simulation.shares import SEEDS, among_many, ten_short_ones, unlike


@pytest.mark.parametrize("times", [1, 2, 10])
def test_workers_are_shared_evenly_however_long_jobs_take(times: int) -> None:
    short = unlike(times)
    assert short.held == pytest.approx(0.5, abs=0.01)
    assert short.starts == pytest.approx(times / (1 + times), abs=0.01)


@pytest.mark.parametrize("times", [1, 10])
def test_and_by_weight(times: int) -> None:
    assert unlike(times, weight=4).held == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize(("groups", "held"), [(10, 0.5), (50, 0.5), (100, 1 / 11)])
def test_where_there_are_fewer_workers_than_groups_starts_are_shared(groups: int, held: float) -> None:
    """Each group has a worker or none: then it is turns alone that decide."""
    assert among_many(10, groups=groups).held == pytest.approx(held, abs=0.02)


@pytest.mark.parametrize("seed", SEEDS)
def test_short_jobs_wait_for_the_next_free_worker_and_then_no_more(seed: int) -> None:
    """Of a hundred workers with jobs of ten hours one is free every six minutes."""
    assert ten_short_ones(seed=seed) < 2 * 36_000 / 100
