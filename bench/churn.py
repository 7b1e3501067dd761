"""Does a claim take longer for what is there, or what was: on SQLite, and on PostgreSQL?

    python -m bench.churn [--few 10000] [--many 1000000] [--churned 1000000] [--rounds 300] [--quick]
                          [--baseline] [--plot]

Servers side by side, each on a database of its own, asked in turns, one claim at a time, so that all see the same
machine: few jobs are pending; many are; few are left of many that were claimed and completed over HTTP, by 16 workers
in batches of 100; on PostgreSQL also the same with a snapshot held open all the while, so that no dead row could be
cleaned up. `ratio` is the median beside that of few jobs on the same engine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from msgspec import Meta

from bench import claim, clusters, filling, servers
from bench.load import Connection, Turn, connected, encode, measure, one_by_one
from bench.plan import BenchError, Plan, command
from bench.report import Chart, Report
from bench.servers import Server

if TYPE_CHECKING:
    from tests.fixtures.postgres import Cluster

BATCH = 100
CHURNERS = 16
WORKER = "bench-0"
CHURN_SECONDS = 5.0  # at a time, at most
SLOWEST = 2000  # jobs a second: few are soon done, and what is left after that has another turn


class Churn(Plan, frozen=True, kw_only=True):
    few: Annotated[int, Meta(description="jobs that are pending where there are few")] = 10_000
    many: Annotated[int, Meta(description="jobs that are pending where there are many")] = 1_000_000
    churned: Annotated[int, Meta(description="jobs that were claimed and completed before")] = 1_000_000
    rounds: Annotated[int, Meta(description="claims at each database")] = 300


FULL = Churn()
QUICK = Churn(few=2000, many=40_000, churned=40_000, rounds=60)


class Case(NamedTuple):
    """A database with so many jobs pending, of which so many are claimed and completed before."""

    name: str
    jobs: int
    churned: int = 0
    snapshot: bool = False


Started = Callable[[Case], AbstractContextManager[tuple[str, Server]]]  # its engine, and the server


async def run(plan: Churn) -> Report:
    cases = [
        Case(f"{plan.few:,} pending", plan.few),
        Case(f"{plan.many:,} pending", plan.many),
        Case(f"{plan.churned:,} churned", plan.few + plan.churned, plan.churned),
    ]
    held = Case(f"{plan.churned:,} churned under a snapshot", plan.few + plan.churned, plan.churned, snapshot=True)
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder:
        rows = await _asked(plan, cases, partial(_on_sqlite, Path(folder)))
        with clusters.running() as cluster:
            rows += await _asked(plan, [*cases, held], partial(_on_postgres, cluster, Path(folder)))
    chart = Chart(x="kind", y="p50_ms", series="how", x_label="", bars=True)
    return Report("churn", "A claim, by what is there and what was", rows, headline="p50_ms", chart=chart)


async def _asked(plan: Churn, cases: Sequence[Case], started: Started) -> list[dict[str, Any]]:
    """The rows of one engine."""
    asked: dict[str, Connection] = {}
    running: dict[str, Server] = {}
    async with AsyncExitStack() as stack:
        for case in cases:
            engine, server = stack.enter_context(started(case))
            running[case.name] = server
            await claim.register(server, CHURNERS)
            await _churn(server, case.churned)
        for name, server in running.items():
            asked[name] = await stack.enter_async_context(connected(server))
        found = await one_by_one(plan.rounds, {name: partial(_claim, each) for name, each in asked.items()})
    return [{"what": f"{engine}: a claim, {name}", "kind": name, "how": engine} | row for name, row in found.items()]


@contextmanager
def _on_sqlite(folder: Path, case: Case) -> Iterator[tuple[str, Server]]:
    place = folder / f"sqlite {case.name}"
    place.mkdir()
    filling.pending(place / "blobforge.db", case.jobs, claim.TYPE)
    with servers.blobforge(place) as server:
        yield "SQLite", server


@contextmanager
def _on_postgres(cluster: Cluster, folder: Path, case: Case) -> Iterator[tuple[str, Server]]:
    place = folder / f"postgres {case.name}"
    place.mkdir()
    template = cluster.template(f"of_{case.jobs}", partial(clusters.pending, jobs=case.jobs, type_=claim.TYPE))
    url = cluster.url(cluster.database(template))
    with (
        servers.blobforge(place, BLOBFORGE_DATABASE_URL=url) as server,
        _snapshot(url) if case.snapshot else nullcontext(),
    ):
        yield "PostgreSQL", server


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
        seconds = min(CHURN_SECONDS, left * BATCH / SLOWEST + 0.1)
        tally = await measure(server, turn, clients=CHURNERS, seconds=seconds)
        if tally.errors:
            raise BenchError(f"{tally.errors} errors while jobs were churned")


async def _claim(connection: Connection) -> bool:
    answer = await connection.post("/api/jobs/claim", encode({"worker_id": WORKER, "job_type": claim.TYPE}))
    return answer.status == 200 and answer.json()["job"] is not None  # left running


if __name__ == "__main__":
    command("churn", __doc__ or "", FULL, QUICK, run)
