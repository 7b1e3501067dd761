"""What do settings of types cost a claim: where nothing is set, and where limits are?

    python -m bench.limits [--revision e7f22b8] [--workers 64,16,1] [--quick] [--baseline] [--plot]

Claim+complete cycles over HTTP (claim, then complete), each server with a database of its own, in turns in one run:
the revision before types had settings, this checkout with nothing set, and with `max_running`, a rate and a worker
time-out set that are in nobody's way. `times` is the median beside the revision's; latencies are those of a cycle.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from bench import claim, servers
from bench.load import Tally, connected, encode, measure, side_by_side
from bench.plan import Plan, command
from bench.report import Chart, Report
from bench.servers import ROOT, Server
from bench.versus import checked_out, fill

UNUSED, USED = "nothing set", "limits set"
SET = {"max_running": 1_000_000, "rate": {"count": 1_000_000, "seconds": 1}, "worker_timeout": 3600}


class Limited(Plan, frozen=True, kw_only=True):
    seconds: Annotated[float, Meta(description="length of one run")] = 3.0
    revision: Annotated[str, Meta(description="what to compare with: anything that git knows")] = "e7f22b8"
    workers: Annotated[tuple[int, ...], Meta(description="numbers of workers")] = (64, 16, 1)
    jobs: Annotated[int, Meta(description="jobs to lay in; the run ends with an error when they run out")] = 200_000


FULL = Limited()
QUICK = Limited(seconds=0.5, warmup=0.2, runs=1, workers=(16, 1), jobs=20_000)


async def _set(server: Server) -> None:
    async with connected(server) as connection:
        answer = await connection.ask(connection.request("PATCH", f"/api/types/{claim.TYPE}", encode(SET)))
        assert answer.status == 200, answer


async def run(plan: Limited) -> Report:
    rows: list[dict[str, Any]] = []
    with checked_out(plan.revision) as earlier, ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="blobforge-bench-")))
        running: dict[str, Server] = {}
        for name, root in ((plan.revision, earlier), (UNUSED, ROOT), (USED, ROOT)):
            folder = place / f"{len(running)}"
            fill(root, folder, plan.jobs)
            running[name] = stack.enter_context(servers.blobforge_of(root, folder))
            await claim.register(running[name], max(plan.workers))
        await _set(running[USED])
        for count in plan.workers:
            rows += await _in_turns(plan, running, count)
    chart = Chart(x="workers", y="per_second", series="how", x_label="workers")
    return Report("limits", "Claims by what is set for their type", rows, chart=chart)


async def _in_turns(plan: Limited, running: dict[str, Server], count: int) -> list[dict[str, Any]]:
    subjects: dict[str, Callable[[], Awaitable[Tally]]] = {}
    for name, server in running.items():
        await measure(server, claim.single, clients=count, seconds=plan.warmup)
        subjects[name] = partial(measure, server, claim.single, clients=count, seconds=plan.seconds)
    found = await side_by_side(plan.runs, subjects)
    first = found[plan.revision]["per_second"]
    return [
        row
        | {"what": f"{count} workers: {name}", "how": name, "workers": count}
        | ({"times": round(row["per_second"] / first, 3)} if name != plan.revision else {})
        for name, row in found.items()
    ]


if __name__ == "__main__":
    command("limits", __doc__ or "", FULL, QUICK, run)
