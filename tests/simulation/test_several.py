"""Several servers on one database, by seeds: whatever becomes of each, the promises hold over all of them, and every
event is told at every one, once and in order."""

from __future__ import annotations

import os

import pytest

from tests.simulation import seeds
from tests.simulation.play import run, stage
from tests.simulation.seeds import name, play_all
from tests.simulation.several import SeveralPlay

SEEDS = seeds.SEEDS // 20 if "SOAK" in os.environ else 6  # a play of three servers takes as long as some forty of one
CHUNK = 25 if "SOAK" in os.environ else 3
CHUNKS = [range(at, min(at + CHUNK, SEEDS)) for at in range(0, SEEDS, CHUNK)]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("chunk", CHUNKS, ids=name)
def test_promises_hold_over_several_servers(chunk: range) -> None:
    play_all(chunk, "postgres", SeveralPlay)


def test_a_seed_with_several_servers_replays_to_the_byte() -> None:
    with stage() as folder:
        first, again = (run(10, folder, "postgres", SeveralPlay) for _ in range(2))
    assert first == again
