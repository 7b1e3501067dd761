"""What turns of groups come to where jobs take unlike times: as docs/fairness.md says."""

from __future__ import annotations

import pytest

from tests.simulation.shares import SEEDS, ten_short_ones, unlike


@pytest.mark.parametrize("times", [1, 2, 10])
def test_starts_are_shared_evenly_and_workers_by_how_long_jobs_take(times: int) -> None:
    short = unlike(times)
    assert short.starts == pytest.approx(0.5, abs=0.01)
    assert short.held == pytest.approx(1 / (1 + times), abs=0.01)


@pytest.mark.parametrize("times", [2, 10])
def test_a_weight_makes_up_for_it(times: int) -> None:
    short = unlike(times, weights={"short": times})
    assert short.starts == pytest.approx(times / (1 + times), abs=0.01)
    assert short.held == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("seed", SEEDS)
def test_short_jobs_are_held_up_by_long_ones_and_not_starved(seed: int) -> None:
    """Each waits for a turn: of a hundred workers with jobs of ten hours one is free every six minutes."""
    every = 36_000 / 100
    assert ten_short_ones(seed=seed) < 10 * every
    assert ten_short_ones(weights={"short": 10}, seed=seed) < 2 * every
