"""Real processes over real HTTP: servers are killed, workers frozen past their leases, answers cut off in the middle.

What every client saw is one history, and the checker must find an order in which a server that keeps its promises can
have answered so. A history that it rejects is kept; `python -m tests.system.checker FILE` judges it again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
import trio

from blobforge.store.sqlite.check import check
from tests.fixtures.server import ServerProcess
from tests.system.history import Kind, Operation
from tests.system.storm import Storm, storm

SOAK = "SOAK" in os.environ  # `make soak`: the long version
KILLS, FREEZES = (200, 20) if SOAK else (20, 2)
WORKERS = (5, 21, 64) if SOAK else (16, 16, 16)  # in each process
SEED = int(os.environ.get("SEED") or (time.time() if SOAK else 20261123))
LEASE = 1.5  # seconds
LIMITS = {"worker_timeout": LEASE, "retry_backoff": 0, "max_attempts": 3, "max_losses": 4}
PATIENCE = 1800 if SOAK else 240  # seconds for all of it on the slowest machine


@pytest.mark.timeout(PATIENCE + 60)
async def test_every_client_was_told_what_a_server_that_keeps_its_promises_says(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", **LIMITS)
    said = {"timeout": round(LEASE * 1e9), "max_attempts": 3, "max_losses": 4}
    with storm(
        tmp_path, [server], rules=said, workers=WORKERS, seed=SEED, whole=lambda: check(server.database)
    ) as blowing:
        with trio.fail_after(PATIENCE):
            await blowing.blow_over(lambda: play(blowing))
        operations = blowing.judged()
    it_was_a_storm(operations, blowing.cuts)


async def play(blowing: Storm) -> None:
    """Kills at random points, some of them close together; freezes, with time for leases to expire."""
    freezes = set(range(KILLS // (2 * FREEZES), KILLS, KILLS // FREEZES))
    for kill in range(KILLS):
        if kill in freezes:
            await freeze(blowing.dice.choice(blowing.clients))
        await trio.sleep(blowing.dice.uniform(0.0, 0.6))
        blowing.down()
        await blowing.up()


async def freeze(process: subprocess.Popen[bytes]) -> None:
    """Stop all clients of a process until their leases have expired, with a server there to say so."""
    process.send_signal(signal.SIGSTOP)
    await trio.sleep(LEASE * 1.5)
    process.send_signal(signal.SIGCONT)


def it_was_a_storm(operations: list[Operation], cuts: int) -> None:
    """Of everything there was something, or the test has tested nothing."""
    seen = Counter((each.kind, each.status if each.returned else 0) for each in operations)
    assert seen[Kind.DOWN, 0] == KILLS
    assert cuts > KILLS / 4
    for kind in (Kind.SUBMIT, Kind.CLAIM, Kind.COMPLETE):
        assert seen[kind, 200] + seen[kind, 201] > KILLS
    assert seen[Kind.CLAIM, 0] > KILLS / 2
    assert seen[Kind.COMPLETE, 409] + seen[Kind.FAIL, 409] + seen[Kind.RELEASE, 409] > 0
    outcomes = Counter(outcome for each in operations if each.kind is Kind.READ for _, outcome in each.said["tries"])
    assert outcomes["lost"] > FREEZES
    assert outcomes["failed"] > 0
    assert outcomes["released"] > 0
