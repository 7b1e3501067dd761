"""A rolling restart behind a load balancer, under workers: no request fails that a client with our retries would see,
and no lease is lost."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from tests.fixtures.postgres import Cluster
from tests.fixtures.seaweed import Seaweed
from tests.several.crew import Crew, put_sources
from tests.several.fleet import running_fleet

SOAK = bool(os.environ.get("SOAK"))
WORKERS = 64
ROUNDS = 10 if SOAK else 1  # restarts of all servers


async def test_a_rolling_restart_under_64_workers(postgres: Cluster, seaweed: Seaweed, tmp_path: Path) -> None:
    database = postgres.database()
    jobs = 180 * ROUNDS
    hashes = await trio.to_thread.run_sync(put_sources, seaweed, tmp_path.name, jobs)
    with running_fleet(tmp_path, postgres.url(database), seaweed) as fleet:
        crew = Crew(fleet.url, fleet.token, workers=WORKERS, seconds_each=0.3)
        with trio.fail_after(60 * ROUNDS):
            async with trio.open_nursery() as nursery:
                # It is the restart that decides how long there is something to do.
                nursery.start_soon(lambda: crew.submit(hashes, pause=0.03))
                nursery.start_soon(crew.work, jobs)
                for _ in range(ROUNDS):
                    for server in fleet.servers:
                        assert len(crew.completed) < jobs, "it was too quick to show anything"
                        assert await trio.to_thread.run_sync(server.stop) == 0, server.logged()[-2000:]
                        await trio.to_thread.run_sync(server.start)
        assert sorted(crew.completed) == sorted(crew.submitted), "each once, none missing"
        async with crew.client() as client:
            stats = await client.stats()
        assert stats.completed_jobs == jobs
        # With one attempt for each job, a lease that was lost would have killed it.
        attempts = postgres.execute("SELECT outcome, count(*) FROM attempts GROUP BY outcome", database=database)
        assert attempts == [("completed", jobs)]
    postgres.drop(database)
