"""How long from a submission at one server to the moment at which a worker that waits at another has the job?

    python -m bench.elsewhere [--polls 0,2000] [--jobs 200] [--servers 3] [--quick] [--baseline] [--plot]

Servers on one PostgreSQL of this machine, with so many idle long polls at each of them. A worker waits at the last
one, and jobs are submitted at the first, one at a time. The time runs as in `bench.wake`: it holds two commits, and
between them the way of what the first server has told through the log.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import trio
from msgspec import Meta

from bench import clusters, objects, servers
from bench.idle import BEATERS, REGISTERING, Fleet
from bench.load import Connection, Tally, connected, median_row, timed
from bench.plan import Plan, command
from bench.report import Chart, Report
from bench.servers import Server, Servers
from bench.wake import Sleepers, sources_in, submit_and_wait

BEAT = 10.0  # seconds


class Elsewhere(Plan, frozen=True, kw_only=True):
    polls: Annotated[tuple[int, ...], Meta(description="numbers of idle long polls at each server")] = (0, 2000)
    jobs: Annotated[int, Meta(description="jobs submitted in one run")] = 200
    servers: Annotated[int, Meta(description="how many servers there are")] = 3


FULL = Elsewhere()
QUICK = Elsewhere(polls=(0, 100), jobs=30, runs=1)


async def run(plan: Elsewhere) -> Report:
    servers.may_open(plan.servers * (max(plan.polls) + BEATERS + REGISTERING))
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder, ExitStack() as stack:
        place = Path(folder)
        (place / "s3").mkdir()
        variables = stack.enter_context(objects.store(place / "s3", s3=True))
        cluster = stack.enter_context(clusters.running())
        variables["BLOBFORGE_DATABASE_URL"] = cluster.url(cluster.database())
        members = []
        for number in range(plan.servers):
            (place / f"{number}").mkdir()
            variables["BLOBFORGE_SERVER_NAME"] = f"server-{number}"
            members.append(stack.enter_context(servers.blobforge(place / f"{number}", **variables)))
        sources = iter(await sources_in(members[0], plan.jobs * plan.runs * len(plan.polls)))
        for polls in plan.polls:
            rows.append(await _with_polls(members, polls, plan, sources))
    chart = Chart(x="polls", y="p50_ms", series="how", x_label="idle long polls at each server", log_x=False)
    return Report(
        "elsewhere", "From a submission to a worker that waits elsewhere", rows, headline="p50_ms", chart=chart
    )


async def _with_polls(members: list[Server], polls: int, plan: Elsewhere, sources: Iterator[str]) -> dict[str, Any]:
    all_of_them, tallies = Servers(members), []
    sleepers = Sleepers(members[-1])
    fleets = [Fleet(member, polls, BEAT, name=f"idle-{number}") for number, member in enumerate(members)]
    async with trio.open_nursery() as nursery:
        for fleet in fleets:
            nursery.start_soon(fleet.run)
        for fleet in fleets:
            await fleet.all_wait.wait()
        await nursery.start(sleepers.sleep, polls)
        async with connected(members[0]) as submitter:
            await trio.sleep(plan.warmup)
            for _ in range(plan.runs):
                tallies.append(
                    await _submitted(submitter, sleepers, itertools.islice(sources, plan.jobs), all_of_them)
                )
        tallies[-1].errors += sum(fleet.errors for fleet in fleets)
        memory = all_of_them.rss_mib() / len(members)
        nursery.cancel_scope.cancel()
    row = median_row(tallies)
    del row["per_second"], row["spread"]  # it is the pause that decides on the rate
    what = f"{len(members)} servers with {polls:,} idle long polls each"
    return {"what": what, "polls": polls, "how": "p50", "rss_mib": round(memory, 1)} | row


async def _submitted(submitter: Connection, sleepers: Sleepers, sources: Iterator[str], server: Server) -> Tally:
    sleepers.tally = Tally()
    async with timed(sleepers.tally, server):
        for source in sources:
            await submit_and_wait(submitter, sleepers, source)
    return sleepers.tally


if __name__ == "__main__":
    command("elsewhere", __doc__ or "", FULL, QUICK, run)
