"""Which seeds are played: the first thousand in `make test`, any number (SEEDS) or one alone (SEED) in `make soak`.

They are shared out over the test files beside this, so that several processes can take them.
"""

from __future__ import annotations

import os

from tests.simulation.play import Play, run, stage

PARTS = 4
CHUNK = 25  # seeds in one test
SEEDS = int(os.environ.get("SEEDS", "5000" if "SOAK" in os.environ else "1000"))
SEED = os.environ.get("SEED")


def chunks(part: int) -> list[range]:
    """The seeds of one test file, some for each of its tests."""
    if SEED is not None:
        return [range(int(SEED), int(SEED) + 1)] if part == 0 else []
    return [range(start, min(start + CHUNK, SEEDS)) for start in range(part * CHUNK, SEEDS, PARTS * CHUNK)]


def name(seeds: range) -> str:
    return f"{seeds.start}-{seeds.stop - 1}"


def play_all(seeds: range, engine: str = "disk", kind: type[Play] = Play) -> None:
    """Play them one after the other; the first that breaks a promise says how, and how to see it again."""
    with stage() as folder:
        for seed in seeds:
            run(seed, folder, engine, kind)
