"""A rolling upgrade behind a load balancer, under workers, and back: no request fails that a client with our retries
would see, and no lease is lost."""

from __future__ import annotations

import os
from pathlib import Path

import trio

from blobforge.store.postgres.check import check
from tests.fixtures.postgres import Cluster
from tests.fixtures.seaweed import Seaweed
from tests.several.crew import Crew, put_sources
from tests.several.fleet import running_fleet
from tests.several.next_release import KNOWN

SOAK = bool(os.environ.get("SOAK"))
WORKERS = 64
SUBMITTERS = 4
ROUNDS = 10 if SOAK else 1  # over and back
# Which server is restarted, and whether as one of the next release. Two know its schema then and one does not; and
# those of this release start where the schema is ahead.
RESTARTS = [(0, True), (1, True), (2, False), (0, False), (1, False)]


def all_wrote(postgres: Cluster, database: str, since: int) -> bool:
    """Whether each server has committed something after that turn."""
    wrote = f"""
        SELECT count(DISTINCT name) FROM presences JOIN log ON log.server = presences.id
         WHERE log.n > {since} AND log.told <> ''"""
    return postgres.execute(wrote, database=database) == [(3,)]


async def test_a_rolling_upgrade_over_and_back_under_64_workers(
    postgres: Cluster, seaweed: Seaweed, tmp_path: Path
) -> None:
    database = postgres.database()
    jobs = 240 * ROUNDS
    first = jobs // 3
    hashes = await trio.to_thread.run_sync(put_sources, seaweed, tmp_path.name, jobs)
    with running_fleet(tmp_path, postgres.url(database), seaweed) as fleet:
        crew = Crew(fleet.url, fleet.token, workers=WORKERS, seconds_each=0.5)
        with trio.fail_after(90 * ROUNDS):
            await crew.submit(hashes[:first], pause=0)
            async with trio.open_nursery() as nursery:
                for number in range(SUBMITTERS):
                    nursery.start_soon(lambda at=number: crew.submit(hashes[first + at :: SUBMITTERS], pause=0.1))
                nursery.start_soon(crew.work, jobs)
                for number, is_next in RESTARTS * ROUNDS:
                    assert len(crew.completed) < jobs, "it was too quick to show anything"
                    server, before = fleet.servers[number], len(crew.completed)
                    assert await trio.to_thread.run_sync(server.stop) == 0, server.logged()[-2000:]
                    server.is_next = is_next
                    await trio.to_thread.run_sync(server.start)
                    expected = [(len(KNOWN),)]
                    assert postgres.execute("SELECT schema FROM turn", database=database) == expected
                    ((since,),) = postgres.execute("SELECT n FROM turn", database=database)
                    # With servers of both kinds: also those that do not know the schema go on writing beside it.
                    while len(crew.completed) < min(before + 10, jobs) or not all_wrote(postgres, database, since):
                        assert len(crew.completed) < jobs, "not every server has written"
                        await trio.sleep(0.02)
        assert sorted(crew.completed) == sorted(crew.submitted), "each once, none missing"
        async with crew.client() as client:
            stats = await client.stats()
        assert stats.completed_jobs == jobs
        # With one attempt for each job, a lease that was lost would have killed it.
        attempts = postgres.execute("SELECT outcome, count(*) FROM attempts GROUP BY outcome", database=database)
        assert attempts == [("completed", jobs)]
        for server in fleet.servers:
            errors = [line for line in server.logged().splitlines() if '"level": "error"' in line]
            assert [line for line in errors if "blobforge.janitor" not in line] == [], "objects came before servers"
    assert check(postgres.url(database)) == []
    postgres.drop(database)
