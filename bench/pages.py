"""How long does the server take for each page of the dashboard, with few jobs and with a million?

    python -m bench.pages [--few 1000] [--many 1000000] [--rounds 30] [--quick] [--baseline] [--plot]

Two servers side by side, asked in turns, so that both see the same machine. What counts is the server's own time
(`Server-Timing`; for JSON, the time to the answer), and its ratio: the goal is at most 1.5.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Any

from msgspec import Meta

from bench import filling, servers
from bench.load import Connection, connected
from bench.plan import Plan, command
from bench.report import Chart, Report

RUNNING = 40  # jobs that are left running; a fleet of the same size in both
# Pages of lists are asked for with as many rows as even the small database has.
PAGES = {
    "overview": "/",
    "jobs": "/jobs",
    "jobs, dead": "/jobs?status=dead&limit=5",
    "jobs, pdf of priority 3": "/jobs?type=pdf&priority=3",
    "jobs, by a common tag": "/jobs?tag=library",
    "jobs, by a rare tag": "/jobs?tag=rare",
    "jobs, of a worker": "/jobs?worker=bench-1&limit=5",
    "jobs, text in the path": "/jobs?q=volume",
    "jobs, one cause": "/jobs?failure=1&limit=5",
    "jobs, of the last day": "/jobs?created_since={day}",
    "job": "/jobs/500",
    "failures": "/failures",
    "workers": "/workers",
    "worker": "/workers/bench-1",
    "tokens": "/admin/tokens",
    "audit": "/admin/audit",
    "settings": "/admin/settings",
    "history of a week": "/api/stats/history?window=7d",
}


class Pages(Plan, frozen=True, kw_only=True):
    few: Annotated[int, Meta(description="jobs of the first server")] = 1000
    many: Annotated[int, Meta(description="jobs of the second one")] = 1_000_000
    rounds: Annotated[int, Meta(description="requests for each page and server")] = 30
    warm: Annotated[int, Meta(description="requests before them, for templates and pages of the database")] = 3


FULL = Pages()
QUICK = Pages(many=20_000, rounds=8)


async def run(plan: Pages) -> Report:
    day = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 86_400))
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as scratch:
        async with AsyncExitStack() as stack:
            asked = []
            for name, jobs in (("few", plan.few), ("many", plan.many)):
                folder = Path(scratch) / name
                folder.mkdir()
                filling.history(folder / "blobforge.db", jobs, running=RUNNING)
                server = stack.enter_context(servers.blobforge(folder))
                asked.append(await stack.enter_async_context(connected(server)))
            rows = [await _compare(page, path.format(day=day), asked, plan) for page, path in PAGES.items()]
    title = f"Server time of each page, {plan.few:,} and {plan.many:,} jobs"
    chart = Chart(x="what", y="many_ms", series="how", x_label="page", bars=True)
    return Report("pages", title, rows, headline="many_ms", chart=chart)


async def _compare(page: str, path: str, asked: list[Connection], plan: Pages) -> dict[str, Any]:
    few: list[float] = []
    many: list[float] = []
    errors = 0
    for turn in range(plan.rounds + plan.warm):
        for connection, times in zip(asked, (few, many), strict=True):
            took, good = await _timed(connection, path)
            errors += not good
            if turn >= plan.warm:
                times.append(took)
    return {
        "what": page, "how": "with many jobs", "few_ms": round(median(few), 2), "many_ms": round(median(many), 2),
        "many_p90_ms": round(quantiles(many, n=10)[-1], 2), "ratio": round(median(many) / median(few), 2),
        "errors": errors,
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
