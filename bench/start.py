"""How long from the start of the process to ready, and how much memory is taken by then?

    python -m bench.start [--sizes 0,10000,1000000] [--runs 5] [--quick] [--baseline] [--plot]

The database is pending jobs, which a start must not read; `--running` of them are claimed, which it does read. The
row without jobs is what Python and its imports take.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from msgspec import Meta

from actors.effects import perform
from actors.effects.transaction import Rules, Transaction
from actors.messages import Claim, Register
from bench import filling, servers
from bench.load import connected
from bench.plan import Plan, command
from bench.report import Chart, Report
from blobforge.machinery.clock import wall_ms
from blobforge.store.sqlite.database import open_writer
from blobforge.store.sqlite.store import Store

WORKER = "bench-start"


class Starts(Plan, frozen=True, kw_only=True):
    sizes: Annotated[tuple[int, ...], Meta(description="numbers of pending jobs")] = (0, 10_000, 1_000_000)
    running: Annotated[int, Meta(description="jobs of each that run, where there are as many")] = 1000
    runs: Annotated[int, Meta(description="starts, of which the median is shown")] = 5


FULL = Starts()
QUICK = Starts(sizes=(0, 100_000), running=100, runs=1)


def lay_in(database: Path, jobs: int, running: int) -> None:
    filling.pending(database, jobs)
    store = Store(open_writer(database))
    with store.transaction():
        tx = Transaction(store, Rules(), wall_ms(), random.Random(1))
        perform(tx, Register(filling.ADMIN, WORKER, "pdf"))
        perform(tx, Claim(filling.ADMIN, WORKER, ("pdf",), limit=min(running, jobs)))
    store.close()


async def run(plan: Starts) -> Report:
    rows = []
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder:
        for jobs in plan.sizes:
            place = Path(folder) / f"{jobs}"
            place.mkdir()
            if jobs:
                lay_in(place / "blobforge.db", jobs, plan.running)
            rows.append(await _starts(place, jobs, plan.runs))
    chart = Chart(x="jobs", y="seconds", series="how", x_label="pending jobs", log_x=False)
    return Report("start", "From the start of the process to ready", rows, headline="seconds", chart=chart)


async def _starts(place: Path, jobs: int, runs: int) -> dict[str, Any]:
    times, memory, errors = [], [], 0
    for _ in range(runs):
        with servers.blobforge(place) as server:
            async with connected(server) as connection:
                errors += (await connection.get("/readyz")).status != 200
            times.append(round(server.started, 3))
            memory.append(server.rss_mib())
    return {
        "what": f"{jobs:,} pending jobs", "jobs": jobs, "how": "seconds to ready", "seconds": median(times),
        "rss_mib": round(median(memory), 1), "turns": runs, "errors": errors, "spread": [min(times), max(times)],
    }  # fmt: skip


if __name__ == "__main__":
    command("start", __doc__ or "", FULL, QUICK, run)
