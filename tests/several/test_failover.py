"""A failover under Patroni. In synchronous mode, under load: nothing that was acknowledged is lost. Without it: what
the standby had not got is lost, which all servers notice and say."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

import pytest
import trio

from blobforge.client import AsyncClient
from blobforge.client.errors import ApiError
from blobforge.store.postgres.check import check
from tests.fixtures.patroni import Patroni, running_patroni
from tests.fixtures.seaweed import Seaweed
from tests.several.crew import Crew, put_sources
from tests.several.fleet import running_fleet
from tests.several.streams import Reader

SOAK = bool(os.environ.get("SOAK"))
WORKERS = 16
FAILOVERS = 20 if SOAK else 1
# Jobs come for as long as the failovers last, with the time in which a node comes back: up to 80 s each in the soak.
JOBS_EACH, PAUSE = (200, 0.4) if SOAK else (120, 0.05)
SECONDS_EACH = 0.2  # of a job


@pytest.mark.timeout(120 + 120 * FAILOVERS)
async def test_failovers_in_synchronous_mode_lose_nothing(seaweed: Seaweed, tmp_path: Path) -> None:
    jobs = JOBS_EACH * FAILOVERS
    hashes = await trio.to_thread.run_sync(put_sources, seaweed, tmp_path.name, jobs)
    with running_patroni() as cluster, running_fleet(tmp_path, cluster.url, seaweed, servers=2) as fleet:
        crew = Crew(fleet.url, fleet.token, workers=WORKERS, seconds_each=SECONDS_EACH)
        until_answered: list[float] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: crew.submit(hashes, pause=PAUSE))
            nursery.start_soon(crew.work, jobs)
            for _ in range(FAILOVERS):
                await _some_more(crew, 20)
                killed = await trio.to_thread.run_sync(cluster.kill_leader)
                began = time.monotonic()
                await _some_more(crew, WORKERS + 1)  # those that were on their way back had been committed
                until_answered.append(time.monotonic() - began)
                if len(until_answered) < FAILOVERS:
                    cluster.start_node(killed)
                    await trio.to_thread.run_sync(cluster.becomes_whole)
        print("seconds from the kill until work went on:", sorted(round(each, 1) for each in until_answered))
        assert sorted(crew.completed) == sorted(crew.submitted), "each acknowledged once"
        await trio.to_thread.run_sync(_all_there, cluster, crew.completed)


@pytest.mark.timeout(180)
async def test_a_failover_without_synchronous_mode_is_noticed(seaweed: Seaweed, tmp_path: Path) -> None:
    hashes = await trio.to_thread.run_sync(put_sources, seaweed, tmp_path.name, 30)
    with (
        running_patroni(synchronous=False) as cluster,
        running_fleet(tmp_path, cluster.url, seaweed, servers=2, retry_backoff=0) as fleet,
    ):
        async with trio.open_nursery() as nursery, AsyncClient(fleet.url, token=fleet.token, patience=90) as client:

            async def submitted(some: list[str]) -> list[int]:
                return [(await client.submit_job("pdf", each, max_attempts=1)).job_id for each in some]

            readers = [Reader([lambda url=each.url: url], fleet.token) for each in fleet.servers]
            await client.register("w", "pdf")
            kept = await submitted(hashes[:10])
            [before] = await client.claim("w", ["pdf"], claim_key=secrets.token_hex(8), wait=10)
            for reader in readers:
                nursery.start_soon(reader.run)
                await reader.began.wait()
            await trio.to_thread.run_sync(cluster.cut_standby_off)
            lost = await submitted(hashes[10:20])
            await client.complete(before.job.id, "w", before.lease or "")
            [after] = await client.claim("w", ["pdf"], claim_key=secrets.token_hex(8), wait=10)
            for reader in readers:
                await _hears_of(reader, after.job.id)
            await trio.to_thread.run_sync(cluster.kill_leader)

            # The numbers that were given are not given again, whatever they had been given to.
            again = await submitted(hashes[10:])
            assert min(again) > max(lost), (lost, again)
            for job_id in lost:
                with pytest.raises(ApiError) as refused:
                    await client.get_job(job_id)
                assert refused.value.status == 404
            # No lease of the lost history is good, and what it was for is done again.
            for held in (before, after):
                with pytest.raises(ApiError) as refused:
                    await client.complete(held.job.id, "w", held.lease or "")
                assert refused.value.status == 409
            completed: list[int] = []
            while len(completed) < len(kept) + len(again):
                for claimed in await client.claim("w", ["pdf"], claim_key=secrets.token_hex(8), wait=10):
                    assert claimed.lease not in {before.lease, after.lease}
                    await client.complete(claimed.job.id, "w", claimed.lease or "")
                    completed.append(claimed.job.id)
            assert sorted(completed) == sorted(kept + again)
            for server, reader in zip(fleet.servers, readers, strict=True):
                assert "goes on from elsewhere" in server.logged(), server.folder.name
                assert reader.resyncs > 0, server.folder.name
            nursery.cancel_scope.cancel()
        assert check(cluster.url) == []
        print("lost, and noticed: jobs", lost, "and what became of", before.job.id, "and", after.job.id)


async def _hears_of(reader: Reader, job_id: int) -> None:
    while not any(told.data.get("job_id") == job_id for told in reader.told):
        await trio.sleep(0.05)


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
