"""What has been kept long enough is pruned by one of several servers, also when that one is gone."""

from __future__ import annotations

from typing import Any

import trio

from tests.several.house import House
from tests.several.streams import LogReader

KEPT = 600.0  # seconds


async def test_jobs_are_pruned_once(house: House, autojump_clock: Any) -> None:
    log = LogReader(house.url)
    given = {"retention_cancelled": KEPT}
    async with house.server("b", **given) as b, house.server("c", **given) as c:
        async with house.server("a", **given) as a:
            jobs = [await (a, b, c)[number % 3].submit(b"%d" % number) for number in range(9)]
            for number, job_id in enumerate(jobs[:6]):
                status, _ = await (a, b, c)[number % 3].call("POST", f"/api/jobs/{job_id}/cancel")
                assert status == 200
            await trio.sleep(KEPT * 2)
            assert sum(server.parts.janitor.pruned for server in (a, b, c)) == 6
        first = [server for server in (b, c) if server.parts.presence.rank() == 0]
        assert len(first) == 1
        for job_id in jobs[6:]:
            await b.call("POST", f"/api/jobs/{job_id}/cancel")
        await trio.sleep(KEPT * 2)
        _, stats = await c.call("GET", "/api/stats")
        assert stats["total_jobs"] == 0
    log.read()
    log.close()
    assert sum(each.data["count"] for each in log.told() if each.name == "jobs_pruned") == len(jobs)
