"""Some of the seeds on every other engine: what a play does to the server and to its database is not SQLite's alone.

The others are played on a disk (`test_seeds_*.py`), where a kill leaves what the disk has at that moment.
"""

from __future__ import annotations

import gc
import os
import time
import traceback

import psutil
import pytest

from tests.fixtures.engines import ENGINES
from tests.fixtures.postgres import shared_cluster
from tests.simulation.history import Violation
from tests.simulation.play import Play, run, stage
from tests.simulation.seeds import CHUNK, name, play_all
from tests.simulation.several import SeveralPlay

SEEDS = 1000 if "SOAK" in os.environ else 20
# In 76 a connection is lost, and to try it again was a matter of the machine's clock: of how fast it plays.
CHUNKS = [
    *(range(at, min(at + CHUNK, SEEDS)) for at in range(0, SEEDS, CHUNK)),
    range(76, 77),
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seeds", CHUNKS, ids=name)
@pytest.mark.parametrize("engine", sorted(ENGINES.keys() - {"disk"}))
def test_promises_hold_on_each_other_engine(engine: str, seeds: range) -> None:
    play_all(seeds, engine)


@pytest.mark.parametrize("kind", [Play, SeveralPlay])
def test_a_play_leaves_no_connection(kind: type[Play]) -> None:
    """Of plays that follow one another, a database lets in so many only."""
    cluster = shared_cluster()
    before = cluster.clients()  # what other tests have left may end meanwhile
    with stage() as folder:
        run(1, folder, "postgres", kind)
    deadline = time.monotonic() + 30
    while left := cluster.clients() - before:  # what was closed last may be about to end there
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@pytest.mark.parametrize("kind", [Play, SeveralPlay])
def test_a_play_leaves_no_file_open(kind: type[Play]) -> None:
    """A thousand of them are played by one process."""
    shared_cluster()
    for seed in (1, 2):
        before = psutil.Process().num_fds()
        with stage() as folder:
            run(seed, folder, "postgres", kind)
        gc.collect()
    assert psutil.Process().num_fds() <= before


class Clinging(Play):
    """Ends by a bug, and does not let go of what it has taken."""

    async def run(self) -> None:
        raise RuntimeError("the bug")

    def leave(self) -> None:
        super().leave()
        raise RuntimeError("it does not let go")


def test_what_is_not_given_back_hides_no_bug() -> None:
    with stage() as folder, pytest.raises(Violation, match="seed 1: the server met a bug") as found:
        run(1, folder, "memory", Clinging)
    told = "".join(traceback.format_exception(found.value))
    assert "it does not let go" in told
    assert "the bug" in told.replace("met a bug", "")
