"""A quarter of the seeds: whatever goes wrong, the promises hold, and in the end everything drains."""

from __future__ import annotations

import pytest

from tests.simulation.seeds import chunks, name, play_all


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seeds", chunks(2), ids=name)
def test_promises_hold(seeds: range) -> None:
    play_all(seeds)
