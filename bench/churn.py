"""Does a claim on PostgreSQL take longer for what is there, or what was?

    python -m bench.churn [--few 10000] [--many 1000000] [--churned 1000000] [--rounds 300] [--quick]
                          [--baseline] [--plot]

Servers side by side, each on a database of its own, asked in turns, one claim at a time, so that all see the same
machine: few jobs are pending; many are; few are left of many that were claimed and completed over HTTP, by 16 workers
in batches of 100; the same with a snapshot held open all the while, so that no dead row could be cleaned up. `ratio`
is the median beside that of few jobs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from bench import claim, clusters, servers
from bench.load import Connection, Turn, connected, encode, measure, one_by_one
from bench.plan import BenchError, Plan, command
from bench.report import Chart, Report
from bench.servers import Server

BATCH = 100
CHURNERS = 16
WORKER = "bench-0"
CHURN_SECONDS = 5.0  # at a time


class Churn(Plan, frozen=True, kw_only=True):
    few: Annotated[int, Meta(description="jobs that are pending where there are few")] = 10_000
    many: Annotated[int, Meta(description="jobs that are pending where there are many")] = 1_000_000
    churned: Annotated[int, Meta(description="jobs that were claimed and completed before")] = 1_000_000
    rounds: Annotated[int, Meta(description="claims at each database")] = 300


FULL = Churn()
QUICK = Churn(few=2000, many=40_000, churned=40_000, rounds=60)


async def run(plan: Churn) -> Report:
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder, clusters.running() as cluster:
        fill = partial(clusters.pending, workers=CHURNERS, type_=claim.TYPE)
        few = cluster.template("few", partial(fill, jobs=plan.few))
        many = cluster.template("many", partial(fill, jobs=plan.many))
        before = cluster.template("before", partial(fill, jobs=plan.few + plan.churned))
        databases = {
            f"{plan.few:,} pending": (few, 0),
            f"{plan.many:,} pending": (many, 0),
            f"{plan.churned:,} churned": (before, plan.churned),
            f"{plan.churned:,} churned under a snapshot": (before, plan.churned),
        }
        asked: dict[str, Connection] = {}
        running: dict[str, Server] = {}
        async with AsyncExitStack() as stack:
            for number, (name, (template, churned)) in enumerate(databases.items()):
                place = Path(folder) / f"{number}"
                place.mkdir()
                url = cluster.url(cluster.database(template))
                running[name] = stack.enter_context(servers.blobforge(place, BLOBFORGE_DATABASE_URL=url))
                if "snapshot" in name:
                    stack.enter_context(_snapshot(url))
                await _churn(running[name], churned)
            for name, server in running.items():
                asked[name] = await stack.enter_async_context(connected(server))
            subjects = {name: partial(_claim, connection) for name, connection in asked.items()}
            found = await one_by_one(plan.rounds, subjects)
    rows = [{"what": f"a claim, {name}", "kind": name, "how": "claim"} | row for name, row in found.items()]
    chart = Chart(x="kind", y="p50_ms", series="how", x_label="", bars=True)
    return Report(
        "churn", "A claim on PostgreSQL, by what is there and what was", rows, headline="p50_ms", chart=chart
    )


@contextmanager
def _snapshot(url: str) -> Iterator[None]:
    """A report that takes its time."""
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT count(*) FROM turn")
        yield


async def _churn(server: Server, jobs: int) -> None:
    """So many are claimed and completed."""
    left = jobs // BATCH

    async def turn(connection: Connection, number: int) -> Turn:
        nonlocal left
        if left <= 0:
            return Turn(0)
        left -= 1
        return await claim.batch(BATCH, connection, number)

    while left > 0:
        tally = await measure(server, turn, clients=CHURNERS, seconds=CHURN_SECONDS)
        if tally.errors:
            raise BenchError(f"{tally.errors} errors while jobs were churned")


async def _claim(connection: Connection) -> bool:
    answer = await connection.post("/api/jobs/claim", encode({"worker_id": WORKER, "job_type": claim.TYPE}))
    return answer.status == 200 and answer.json()["job"] is not None  # left running


if __name__ == "__main__":
    command("churn", __doc__ or "", FULL, QUICK, run)
