"""How long does the server take for each page of the dashboard, with few jobs and with a million?

    python -m bench.pages [--few 5000] [--many 1000000] [--workers 300] [--types 200] [--batches 10000] [--rounds 30]
                          [--only TEXT] [--quick] [--baseline] [--plot]

Two servers side by side, asked in turns, so that both see the same machine. What counts is the server's own time
(`Server-Timing`; for JSON, the time to the answer), and its ratio: the goal is at most 1.5, and 0.3 s. `CPU us` is
what the server of many took for it, and `CPU times` that beside the other's: these hold on a busy machine, too. The
small database has as many workers, types and batches as one page of them lists, and each worker as many attempts; and
each slot of each chart of each type has something to show, in both.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Any

from msgspec import Meta

from bench import filling, servers
from bench.load import Connection, connected
from bench.plan import Plan, command
from bench.report import Chart, Report
from bench.search import make_index
from blobforge.machinery.clock import wall_ms
from blobforge.store.figures import KEPT
from blobforge.store.sqlite.database import open_writer
from blobforge.store.sqlite.store import Store

RUNNING = 40  # jobs that are left running; a fleet of the same size in both
ROWS = {"workers": 100, "types": 100, "batches": 50}  # of one page
CAUSES = 12
# Pages of lists are asked for with as many rows as even the small database has.
PAGES = {
    "overview": "/",
    "overview, a week": "/?window=7d",
    "overview, 30 days": "/?window=30d",
    "overview, a week as tables": "/?window=7d&figures=tables",
    "jobs": "/jobs",
    "jobs, dead": "/jobs?status=dead&limit=5",
    "jobs, pdf of priority 3": "/jobs?type=pdf&priority=3&limit=2",
    "jobs, by a common tag": "/jobs?tag=library",
    "jobs, by a rare tag": "/jobs?tag=rare",
    "jobs, of a worker": "/jobs?worker=bench-1&limit=5",
    "jobs, of a batch": "/jobs?batch=1",
    "jobs, text in the path": "/jobs?q=volume",
    "jobs, text in no path": "/jobs?q=nothing+like+this",
    "jobs, one cause": "/jobs?failure=1&limit=2",
    "jobs, of the last day": "/jobs?created_since={day}",
    "jobs, the largest first": "/jobs?sort=-size",
    "jobs, the longest first": "/jobs?sort=-duration",
    "jobs, the latest ended first": "/jobs?sort=-ended",
    "job": "/jobs/500",
    "source and result of a job": "/jobs/2/view",
    "family of a job": "/jobs/2/family",
    "failures": "/failures",
    "types": "/types",
    "type": "/types/pdf",
    "type, 30 days": "/types/pdf?window=30d",
    "batches": "/batches",
    "batches, not ended": "/batches?going=true&limit=5",
    "batch, the largest": "/batches/1",
    "batch": "/batches/2",
    "submit": "/submit",
    "operations": "/operations",
    "operation": "/operations/1",
    "canaries": "/canaries",
    "canary": "/canaries/1",
    "find": "/find?q=bench-1",
    "workers": "/workers",
    "workers, most failures first": "/workers?sort=failed",
    "worker": "/workers/bench-1",
    "add a machine": "/add-machine?type=pdf",
    "tokens": "/admin/tokens",
    "users": "/admin/users",
    "webhooks": "/admin/webhooks",
    "webhook": "/admin/webhooks/1",
    "audit": "/admin/audit",
    "backup": "/admin/backup",
    "servers": "/admin/servers",
    "settings": "/admin/settings",
    "sign-in": "/login",
    "documentation of the API": "/api/docs",
    "history of an hour": "/api/stats/history?window=1h",
    "history of a day": "/api/stats/history?window=24h",
    "history of a week": "/api/stats/history?window=7d",
    "history of 30 days": "/api/stats/history?window=30d",
    "history of a type, 30 days": "/api/stats/history?window=30d&type=pdf",
    "times of 30 days": "/api/stats/times?window=30d",
    "causes of 30 days": "/api/stats/causes?window=30d",
}


Asked = tuple[servers.Server, Connection]


class Pages(Plan, frozen=True, kw_only=True):
    few: Annotated[int, Meta(description="jobs of the first server")] = 5000
    many: Annotated[int, Meta(description="jobs of the second one")] = 1_000_000
    workers: Annotated[int, Meta(description="workers of the second one")] = 300
    types: Annotated[int, Meta(description="types of the second one")] = 200
    batches: Annotated[int, Meta(description="batches of the second one")] = 10_000
    rounds: Annotated[int, Meta(description="requests for each page and server")] = 30
    warm: Annotated[int, Meta(description="requests before them, for templates and pages of the database")] = 3
    only: Annotated[str, Meta(description="pages whose name has this, alone; empty: all")] = ""


FULL = Pages()
QUICK = Pages(many=20_000, rounds=8)


async def run(plan: Pages) -> Report:
    day = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 86_400))
    wanted = {"workers": plan.workers, "types": plan.types, "batches": plan.batches}
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as scratch:
        async with AsyncExitStack() as stack:
            folders = []
            for name, jobs in (("few", plan.few), ("many", plan.many)):
                folders.append(folder := Path(scratch) / name)
                folder.mkdir()
                there = wanted if name == "many" else {kind: min(ROWS[kind], n) for kind, n in wanted.items()}
                scale = filling.Scale(**there, causes=CAUSES, charts=True)
                fill(folder / "blobforge.db", jobs, scale)
            asked = []
            for folder in folders:
                server = stack.enter_context(servers.blobforge(folder))
                connection = await stack.enter_async_context(connected(server))
                await furnish(connection)
                asked.append((server, connection))
            named = {page: path for page, path in PAGES.items() if plan.only in page}
            rows = [await _compare(page, path.format(day=day), asked, plan) for page, path in named.items()]
    title = (
        f"Server time of each page: {plan.few:,} jobs; and {plan.many:,} jobs, {plan.workers:,} workers, "
        f"{plan.types:,} types, {plan.batches:,} batches"
    )
    chart = Chart(x="what", y="many_ms", series="how", x_label="page", bars=True)
    return Report("pages", title, rows, headline="many_ms", chart=chart)


def fill(database: Path, jobs: int, scale: filling.Scale) -> None:
    """With an index of texts that is whole: how a page is served while it is made, `bench.search` asks. And with sums
    over all types of the slots that are over, as the samples of a month would have left them."""
    filling.history(database, jobs, running=RUNNING, scale=scale)
    store = Store(open_writer(database))
    make_index(store)
    now = wall_ms()
    with store.transaction(now=now):
        store.rollups.sum_up({step: now // 1000 // step for step in KEPT}, most=now)
    store.close()


async def furnish(connection: Connection) -> None:
    """One each of what its own page shows and no job brings about."""
    await connection.good("/api/jobs/priority", {"ids": [2], "priority": 5, "background": True})
    canary = {"types": ["pdf"], "made_by": "bench 2", "sample": 2, "need_worker": False}
    await connection.good("/api/canaries", canary)
    await connection.good("/api/admin/webhooks", {"url": "https://hooks.example", "events": ["worker.lost"]})


async def _compare(page: str, path: str, asked: Sequence[Asked], plan: Pages) -> dict[str, Any]:
    taken: list[list[float]] = [[] for _ in asked]
    before: list[float] = []
    errors = 0
    for turn in range(plan.rounds + plan.warm):
        if turn == plan.warm:
            before = [server.cpu() for server, _ in asked]
        for (_, connection), times in zip(asked, taken, strict=True):
            took, good = await _timed(connection, path)
            errors += not good
            if turn >= plan.warm:
                times.append(took)
    few, many = taken
    few_cpu, many_cpu = (max(0.001, server.cpu() - was) for (server, _), was in zip(asked, before, strict=True))
    return {
        "what": page, "how": "with many jobs", "few_ms": round(median(few), 2), "many_ms": round(median(many), 2),
        "many_p90_ms": round(quantiles(many, n=10)[-1], 2), "ratio": round(median(many) / median(few), 2),
        "cpu_us": round(many_cpu / plan.rounds * 1e6), "cpu_times": round(many_cpu / few_cpu, 2), "errors": errors,
    }  # fmt: skip


async def _timed(connection: Connection, path: str) -> tuple[float, bool]:
    """Milliseconds, and whether the answer was a good one."""
    began = time.perf_counter()
    answer = await connection.get(path)
    took = (time.perf_counter() - began) * 1000
    _, _, said = answer.head.partition(b"server-timing: page;dur=")
    return float(said.split(b"\r\n", 1)[0]) if said else took, answer.status == 200


if __name__ == "__main__":
    command("pages", __doc__ or "", FULL, QUICK, run)
