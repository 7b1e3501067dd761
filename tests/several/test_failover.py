"""A failover under Patroni, under load, in synchronous mode: nothing that was acknowledged is lost."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import trio

from tests.fixtures.patroni import Patroni, running_patroni
from tests.fixtures.seaweed import Seaweed
from tests.several.crew import Crew, put_sources
from tests.several.fleet import running_fleet

SOAK = bool(os.environ.get("SOAK"))
WORKERS = 16
FAILOVERS = 20 if SOAK else 1
SECONDS_EACH = 0.2  # of a job


@pytest.mark.timeout(120 + 60 * FAILOVERS)
async def test_failovers_in_synchronous_mode_lose_nothing(seaweed: Seaweed, tmp_path: Path) -> None:
    jobs = 120 * FAILOVERS
    hashes = await trio.to_thread.run_sync(put_sources, seaweed, tmp_path.name, jobs)
    with running_patroni() as cluster, running_fleet(tmp_path, cluster.url, seaweed, servers=2) as fleet:
        crew = Crew(fleet.url, fleet.token, workers=WORKERS, seconds_each=SECONDS_EACH)
        until_answered: list[float] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: crew.submit(hashes, pause=0.05))
            nursery.start_soon(crew.work, jobs)
            for _ in range(FAILOVERS):
                await _some_more(crew, 20)
                killed = await trio.to_thread.run_sync(cluster.kill_leader)
                began = time.monotonic()
                await _some_more(crew, WORKERS + 1)  # those that were on their way back had been committed
                until_answered.append(time.monotonic() - began)
                if len(until_answered) < FAILOVERS:
                    await trio.to_thread.run_sync(cluster.heal, killed)
        print("seconds from the kill until work went on:", sorted(round(each, 1) for each in until_answered))
        assert sorted(crew.completed) == sorted(crew.submitted), "each acknowledged once"
        await trio.to_thread.run_sync(_all_there, cluster, crew.completed)


async def _some_more(crew: Crew, count: int) -> None:
    """So many more completions have been acknowledged."""
    wanted = len(crew.completed) + count
    while len(crew.completed) < wanted:
        await trio.sleep(0.05)


def _all_there(cluster: Patroni, acknowledged: list[int]) -> None:
    """What the new leader has, is all that was acknowledged, each by one attempt that was accepted."""
    found = cluster.execute("SELECT id FROM jobs WHERE status = 'completed' ORDER BY id")
    assert [row[0] for row in found] == sorted(acknowledged)
    accepted = cluster.execute("SELECT job_id, count(*) FROM attempts WHERE outcome = 'completed' GROUP BY job_id")
    assert {count for _, count in accepted} == {1}
    [(turns, entries, last)] = cluster.execute(
        "SELECT (SELECT n FROM turn), (SELECT max(n) - min(n) + 1 - count(*) FROM log), (SELECT max(n) FROM log)"
    )
    assert entries == 0, "the log has gaps"
    assert turns == last
