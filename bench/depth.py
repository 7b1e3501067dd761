"""Does anything grow with the number of jobs: claims, statistics, lists?

    python -m bench.depth [--sizes 10000,1000000,10000000] [--rounds 200] [--quick] [--baseline] [--plot]

One server for each size, asked in turns, one request at a time, so that all of them see the same machine. Half of the
jobs have ended, the other half waits. `ratio` is the median beside that of the smallest database; the goal is 1.3.
Ten million jobs take some minutes to lay in, and 7 GB.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from bench import filling, servers
from bench.load import Connection, connected, encode, one_by_one
from bench.plan import Plan, command
from bench.report import Chart, Report
from blobforge.store.lists import Cursor
from web.api.jobs import encode_cursor

WORKER = "bench-deep"
PDF = filling.TYPES[0]
DEEP_OFFSET = 4000  # within the smallest database, and the same for all


class Depths(Plan, frozen=True, kw_only=True):
    sizes: Annotated[tuple[int, ...], Meta(description="numbers of jobs")] = (10_000, 1_000_000, 10_000_000)
    rounds: Annotated[int, Meta(description="requests of each kind and size")] = 200


FULL = Depths()
QUICK = Depths(sizes=(10_000, 100_000), rounds=30)
Asked = Callable[[Connection, int], Awaitable[bool]]  # one request of a database with so many jobs: was it good?


async def claim(connection: Connection, _: int) -> bool:
    answer = await connection.post("/api/jobs/claim", encode({"worker_id": WORKER, "job_type": PDF}))
    return answer.status == 200 and answer.json()["job"] is not None  # left running: the worker is the same


def _get(path: Callable[[int], str]) -> Asked:
    async def get(connection: Connection, jobs: int) -> bool:
        return (await connection.get(path(jobs))).status == 200

    return get


def _middle(jobs: int) -> str:
    return encode_cursor(Cursor(priority=3, id=jobs // 2))


KINDS: dict[str, Asked] = {
    "claim": claim,
    "stats": _get(lambda _: "/api/stats"),
    "first page": _get(lambda _: "/api/jobs"),
    "first page, pending": _get(lambda _: "/api/jobs?status=pending"),
    "deep page, by cursor": _get(lambda jobs: f"/api/jobs?cursor={_middle(jobs)}"),
    "deep page, by offset": _get(lambda _: f"/api/jobs?offset={DEEP_OFFSET}"),
    "one job": _get(lambda jobs: f"/api/jobs/{jobs // 2}"),
}


async def run(plan: Depths) -> Report:
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder:
        async with AsyncExitStack() as stack:
            asked: dict[int, Connection] = {}
            places: dict[int, Path] = {}
            for wanted in plan.sizes:
                place = Path(folder) / f"{wanted}"
                place.mkdir()
                places[filling.history(place / "blobforge.db", wanted)] = place
            # Only then the servers: one that waits for minutes closes the connection.
            for jobs, place in places.items():
                server = stack.enter_context(servers.blobforge(place))
                asked[jobs] = await stack.enter_async_context(connected(server))
                await asked[jobs].good("/api/workers/register", {"id": WORKER, "type": PDF})
            rows = [row for kind, ask in KINDS.items() for row in await _compare(kind, ask, asked, plan.rounds)]
    chart = Chart(x="jobs", y="p50_ms", series="kind", x_label="jobs in the database", log_y=True)
    return Report("depth", "Requests by the number of jobs", rows, headline="p50_ms", chart=chart)


async def _compare(kind: str, ask: Asked, asked: dict[int, Connection], rounds: int) -> list[dict[str, Any]]:
    subjects = {jobs: partial(ask, connection, jobs) for jobs, connection in sorted(asked.items())}
    found = await one_by_one(rounds, subjects)
    return [{"what": f"{kind}, {jobs:,} jobs", "kind": kind, "jobs": jobs} | each for jobs, each in found.items()]


if __name__ == "__main__":
    command("depth", __doc__ or "", FULL, QUICK, run)
