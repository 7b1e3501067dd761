"""A seed is a play: run again, here or in another process, it is the same to the byte."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import pytest

from tests.simulation.history import Violation
from tests.simulation.play import run, stage

SEEDS = (3, 17, 29, 41)


def digest(seed: int) -> str:
    with stage() as folder:
        try:
            trace = run(seed, folder)
        except Violation as broken:  # then it has to break in the same way
            trace = str(broken).splitlines()
    return hashlib.sha256("\n".join(trace).encode()).hexdigest()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_replays_to_the_byte(seed: int) -> None:
    assert digest(seed) == digest(seed)


def test_so_it_does_in_another_process_with_other_hashes() -> None:
    program = f"from tests.simulation.test_replay import digest\nfor seed in {SEEDS}: print(digest(seed))"
    other = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    assert other.stdout.split() == [digest(seed) for seed in SEEDS]


def test_seeds_differ() -> None:
    assert len({digest(seed) for seed in SEEDS}) == len(SEEDS)
