"""Some of the seeds on every other engine: what a play does to the server and to its database is not SQLite's alone.

The others are played on a disk (`test_seeds_*.py`), where a kill leaves what the disk has at that moment.
"""

from __future__ import annotations

import pytest

from tests.fixtures.engines import ENGINES
from tests.simulation.seeds import play_all

SEEDS = range(20)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", sorted(ENGINES.keys() - {"disk"}))
def test_promises_hold_on_each_other_engine(engine: str) -> None:
    play_all(SEEDS, engine)
