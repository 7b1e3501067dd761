"""kill -9 in the middle of everything: what was acknowledged is there afterwards, and everything gets done."""

from __future__ import annotations

import os
import random

import apsw
import pytest
import trio

from tests.fixtures.server import ServerProcess
from tests.system.swarm import Swarm

SOAK = "SOAK" in os.environ  # `make soak`: the long version
JOBS, KILLS, SECONDS = (6000, 100, 1500) if SOAK else (600, 10, 110)


@pytest.mark.timeout(SECONDS + 60)
async def test_kills_lose_nothing_that_was_acknowledged(server: ServerProcess) -> None:
    swarm = Swarm(server, workers=64)
    dice = random.Random(20261123)

    async def killer() -> None:
        for kill in range(KILLS):
            # Each kill falls somewhere into the next share of the work, so that all of them meet work in progress.
            goal = JOBS * (kill + dice.random()) / (KILLS + 2)
            while len(swarm.seen.completed) < goal:
                await trio.sleep(0.002)
            swarm.alive = trio.Event()
            server.kill()
            check_acknowledged(server, swarm)
            await trio.to_thread.run_sync(server.start)
            swarm.alive.set()

    await swarm.submit(JOBS)
    with trio.fail_after(SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(killer)
            nursery.start_soon(swarm.work)
    assert swarm.seen.errors == []
    assert swarm.seen.lost > 0, "no kill met a request under way: the test tested nothing"
    assert set(swarm.seen.completed.values()) == {1}
    with server.client() as http:
        stats = http.get("/api/stats").json()
        assert (stats["total_jobs"], stats["completed_jobs"]) == (JOBS, JOBS)
    assert server.stop() == 0
    check_acknowledged(server, swarm)


def check_acknowledged(server: ServerProcess, swarm: Swarm) -> None:
    """With the server down: the database is whole, and holds all that any client was told."""
    database = apsw.Connection(str(server.database))
    try:
        assert database.execute("PRAGMA integrity_check").get == "ok"
        rows = dict(database.execute("SELECT id, status FROM jobs"))
        assert set(swarm.seen.submitted) <= set(rows)
        for job_id in swarm.seen.completed:
            assert rows[job_id] == "completed"
        # One accepted completion an attempt, one attempt a completion.
        accepted = dict(
            database.execute("SELECT job_id, count(*) FROM attempts WHERE outcome = 'completed' GROUP BY job_id")
        )
        assert accepted == {job_id: 1 for job_id, status in rows.items() if status == "completed"}
        counted = dict(database.execute("SELECT status, sum(n) FROM job_counts GROUP BY status HAVING sum(n) > 0"))
        real = dict(database.execute("SELECT status, count(*) FROM jobs GROUP BY status"))
        assert counted == real
    finally:
        database.close()


async def test_submissions_under_way_survive_kills_too(server: ServerProcess) -> None:
    swarm = Swarm(server, workers=16)

    async def killer() -> None:
        for goal in (40, 120, 200):
            while len(swarm.seen.submitted) < goal:
                await trio.sleep(0.002)
            swarm.alive = trio.Event()
            server.kill()
            check_acknowledged(server, swarm)
            await trio.to_thread.run_sync(server.start)
            swarm.alive.set()

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(killer)
            await swarm.submit(250)
        await swarm.work()
    assert swarm.seen.errors == []
    check_acknowledged(server, swarm)
