"""What a large idle fleet costs: memory, CPU, and the latency of claims beside it.

    python -m bench.idle [--polls 10000] [--beat 30] [--seconds 30] [--quick] [--baseline] [--plot]

So many workers hold a long poll of up to a minute each and beat every `--beat` seconds, over connections that the
heartbeats share; `--probes` others claim jobs of another type all the while, and theirs are the latencies. Memory is
that of the server process at the end; the row without a fleet is what it takes in any case.
"""

from __future__ import annotations

import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import trio
from msgspec import Meta

from bench import filling, servers
from bench.load import BROKEN, Connection, Tally, connected, encode, median_row, timed
from bench.plan import BenchError, Plan, command
from bench.report import Chart, Report
from bench.servers import Server

IDLE_TYPE = "nothing"
TYPE = "pdf"
WAIT_SECONDS = 60
BEATERS = 64  # connections that the heartbeats share
PROBE_PAUSE = 0.05  # seconds between two claims of a probe
REGISTERING = 32  # at once: no faster than the server takes them, which also spreads the ends of the polls


class Idle(Plan, frozen=True, kw_only=True):
    polls: Annotated[tuple[int, ...], Meta(description="numbers of idle long polls")] = (0, 1000, 10_000)
    beat: Annotated[float, Meta(description="seconds between two heartbeats of a worker")] = 30.0
    probes: Annotated[int, Meta(description="workers that claim beside them")] = 4
    seconds: Annotated[float, Meta(description="length of one run")] = 30.0


FULL = Idle()
QUICK = Idle(polls=(0, 500), seconds=3, runs=1, beat=5)


class Fleet:
    """The idle workers."""

    def __init__(self, server: Server, size: int, beat: float, *, name: str = "idle") -> None:
        self._name = name
        self._server = server
        self._size = size
        self._beat = beat
        self._waiting = 0
        self.all_wait = trio.Event()
        self.errors = 0

    async def run(self) -> None:
        if not self._size:
            self.all_wait.set()
        slots = trio.Semaphore(REGISTERING)
        async with trio.open_nursery() as nursery:
            for number in range(self._size):
                nursery.start_soon(self._wait, number, slots)
            await self.all_wait.wait()
            for first in range(min(BEATERS, self._size)):
                nursery.start_soon(self._beats, range(first, self._size, BEATERS))

    async def _wait(self, number: int, slots: trio.Semaphore) -> None:
        body = encode({"worker_id": f"{self._name}-{number}", "job_type": IDLE_TYPE, "wait": WAIT_SECONDS})
        async with AsyncExitStack() as stack:
            async with slots:
                connection = await stack.enter_async_context(connected(self._server))
                await connection.good("/api/workers/register", {"id": f"{self._name}-{number}", "type": IDLE_TYPE})
            self._waiting += 1
            if self._waiting == self._size:
                self.all_wait.set()
            while True:
                await self._good(connection, "/api/jobs/claim", body)

    async def _beats(self, numbers: range) -> None:
        """Each of these workers once in the interval, evenly spread."""
        async with connected(self._server) as connection:
            due = trio.current_time()
            while True:
                for number in numbers:
                    due += self._beat / len(numbers)
                    await trio.sleep_until(due)
                    await self._good(connection, f"/api/workers/{self._name}-{number}/heartbeat", b"{}")

    async def _good(self, connection: Connection, path: str, body: bytes) -> None:
        try:
            answer = await connection.post(path, body)
        except BROKEN:
            self.errors += 1
            await trio.sleep_forever()  # counted; the others go on
        else:
            self.errors += answer.status != 200


async def run(plan: Idle) -> Report:
    servers.may_open(max(plan.polls) + BEATERS + REGISTERING)
    rows = []
    for polls in plan.polls:
        with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder:
            filling.pending(Path(folder) / "blobforge.db", jobs_for(plan), TYPE)
            with servers.blobforge(Path(folder)) as server:
                rows.append(await with_fleet(server, polls, plan))
    chart = Chart(x="polls", y="rss_mib", series="how", x_label="idle long polls", log_x=False)
    return Report("idle", "An idle fleet", rows, headline="p99_ms", chart=chart)


def jobs_for(plan: Idle) -> int:
    """As many as the probes may claim."""
    return round(plan.probes / PROBE_PAUSE * plan.seconds * plan.runs) + plan.probes


async def with_fleet(server: Server, polls: int, plan: Idle) -> dict[str, Any]:
    """One row: what a server costs and how it answers beside so many idle long polls."""
    fleet = Fleet(server, polls, plan.beat)
    tallies: list[Tally] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fleet.run)
        await fleet.all_wait.wait()
        await trio.sleep(plan.warmup)
        for number in range(plan.runs):
            before = fleet.errors
            tally = await _probed(server, plan, number)
            tally.errors += fleet.errors - before
            tallies.append(tally)
        memory = server.rss_mib()
        nursery.cancel_scope.cancel()
    row = median_row(tallies)
    del row["per_second"], row["spread"]
    return {"what": f"{polls:,} idle long polls", "polls": polls, "how": "server", "rss_mib": round(memory, 1)} | row


async def _probed(server: Server, plan: Idle, run_number: int) -> Tally:
    tally = Tally()

    async def probe(number: int) -> None:
        worker = f"probe-{run_number}-{number}"
        async with connected(server) as connection:
            await connection.good("/api/workers/register", {"id": worker, "type": TYPE})
            ask = encode({"worker_id": worker, "job_type": TYPE})
            while trio.current_time() - began < plan.seconds:
                sent = trio.current_time()
                answer = await connection.post("/api/jobs/claim", ask)
                tally.latencies.append(trio.current_time() - sent)
                given = answer.json()
                if answer.status != 200 or given["job"] is None:
                    raise BenchError(f"a probe was given nothing: {answer.status}")
                await connection.good(
                    f"/api/jobs/{given['job']['id']}/complete", {"worker_id": worker, "lease": given["lease"]}
                )
                tally.done += 1
                await trio.sleep(PROBE_PAUSE)

    async with timed(tally, server):
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(plan.probes):
                nursery.start_soon(probe, number)
    return tally


if __name__ == "__main__":
    command("idle", __doc__ or "", FULL, QUICK, run)
