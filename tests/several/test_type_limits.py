"""Limits of types hold over all servers: three of them, with many claimers each, start no more than may run at once,
and no faster than the rate; and everything is done in the end."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import trio

from actors.messages import Batch
from tests.fixtures.local import LocalServer
from tests.several.house import House
from tests.simulation.kinds import Begun, TypeRules, TypeSet
from tests.store.making import submission

JOBS = 60
CLAIMERS = 8  # at each server
MOST = 3
WORK = 0.4  # seconds
IN_TIME = 600.0


class Crew:
    """Claimers that wait, work, and take the next job with every other completion. `done`: jobs; `seen`: how many ran
    at once, as often as one of them looked."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.done: set[int] = set()
        self.seen: Counter[int] = Counter()

    async def run(self, servers: list[LocalServer]) -> None:
        with trio.fail_after(IN_TIME):
            async with trio.open_nursery() as nursery:
                for number, server in enumerate(servers * CLAIMERS):
                    nursery.start_soon(self._claimer, server, f"w{number}")

    async def _claimer(self, server: LocalServer, name: str) -> None:
        await server.register(name)
        while len(self.done) < JOBS:
            grant = await server.claim(name, wait=5)
            while grant is not None and grant["job"] is not None:
                grant = await self._work(server, name, grant)

    async def _work(self, server: LocalServer, name: str, grant: Any) -> Any:
        [(running,)] = self._house.execute("SELECT count(*) FROM jobs WHERE status = 'running'")
        self.seen[running] += 1
        await trio.sleep(WORK)
        job = grant["job"]["id"]
        body = {"worker_id": name, "lease": grant["lease"], "claim_next": job % 2 == 0}
        status, answer = await server.call("POST", f"/api/jobs/{job}/complete", body)
        assert status == 200, answer
        self.done.add(job)
        return answer.get("next")


async def submitted(server: LocalServer, **limits: Any) -> None:
    await server.ask(Batch(tuple(submission(number) for number in range(JOBS))))
    status, answer = await server.call("PATCH", "/api/types/pdf", limits)
    assert status == 200, answer


async def test_no_more_run_at_once_than_may(house: House, autojump_clock: Any) -> None:
    crew = Crew(house)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(house.server(name)) for name in "abc"]
        await submitted(servers[0], max_running=MOST)
        await crew.run(servers)
    assert max(crew.seen) == MOST, crew.seen
    assert len(crew.done) == JOBS
    runs = house.execute("SELECT started_at, ended_at FROM attempts ORDER BY started_at")
    for at, _ in runs:
        assert sum(began <= at < ended for began, ended in runs) <= MOST, "by the servers' own records, too"


async def test_no_more_are_started_than_the_rate_gives(house: House, autojump_clock: Any) -> None:
    count, seconds = 5, 10
    crew = Crew(house)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(house.server(name)) for name in "abc"]
        await submitted(servers[0], rate={"count": count, "seconds": seconds})
        await crew.run(servers)
        own = {"pdf": TypeSet(None, None, count, seconds * 1000)}
        starts = house.execute("SELECT job_id, started_at FROM attempts ORDER BY started_at")
        began = [Begun(str(job), "pdf", at) for job, at in starts]
        assert TypeRules().committed(own, own, began, {}) == []
    assert len(crew.done) == JOBS
    took = (began[-1].at - began[0].at) / 1000
    assert took <= 2 * JOBS * seconds / count, "and nobody slept past what it gives"
