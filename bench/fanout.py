"""How fast do events reach a thousand clients, and what do those cost that do not read?

    python -m bench.fanout [--clients 1000] [--stalled 0,100] [--rate 100] [--quick] [--baseline] [--plot]

Workers report progress `--rate` times a second; each report is one event to every client, with the time at which it
was sent in it. Latencies run from there to the healthy clients. `grown MiB`: by how much the server's memory has
grown from the first third of a run to its end; the stalled must not make it grow. `turns` are events received, and
`received` their share of those that there were; after a `resync` a client has missed some.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import trio
from msgspec import Meta

from bench import filling, servers
from bench.load import Connection, Tally, connected, encode, percentile, timed
from bench.plan import BenchError, Plan, command
from bench.report import Chart, Report
from bench.servers import Server

TYPE = "pdf"
WORKER = "bench-fanout"
SENDERS = 8  # connections that the reports share
JOBS = 100  # that report
PER_ADDRESS = 150  # streams; the server allows 200 by default


class Fanout(Plan, frozen=True, kw_only=True):
    clients: Annotated[int, Meta(description="SSE clients, the stalled ones among them")] = 1000
    stalled: Annotated[tuple[int, ...], Meta(description="how many of them never read")] = (0, 100)
    rate: Annotated[float, Meta(description="changes a second")] = 100.0
    seconds: Annotated[float, Meta(description="length of one run")] = 20.0


FULL = Fanout()
QUICK = Fanout(clients=100, stalled=(0, 10), rate=20, seconds=3, runs=1)


async def run(plan: Fanout) -> Report:
    servers.may_open(plan.clients)
    rows = []
    for stalled in plan.stalled:
        with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder:
            filling.pending(Path(folder) / "blobforge.db", JOBS, TYPE)
            with servers.blobforge(Path(folder)) as server:
                jobs = await _claimed(server)
                found = [await _one(server, plan, stalled, jobs) for _ in range(plan.runs)]
        rows.append(_row(plan, stalled, found))
    chart = Chart(x="stalled", y="p99_ms", series="how", x_label="clients that never read", log_x=False)
    return Report("fanout", "Events to many clients", rows, headline="p99_ms", chart=chart)


async def _claimed(server: Server) -> list[dict[str, Any]]:
    async with connected(server) as connection:
        await connection.good("/api/workers/register", {"id": WORKER, "type": TYPE})
        answer = await connection.good("/api/jobs/claim", {"worker_id": WORKER, "job_type": TYPE, "limit": JOBS})
    return [{"job_id": each["job"]["id"], "lease": each["lease"]} for each in answer["jobs"]]


async def _one(server: Server, plan: Fanout, stalled: int, jobs: list[dict[str, Any]]) -> dict[str, Any]:
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    numbers = [plan.clients - stalled, stalled, PER_ADDRESS]
    listeners = subprocess.Popen(  # noqa: ASYNC220 - to be started and talked to, which takes no time
        [sys.executable, "-m", "bench.listeners", host, port, *map(str, numbers)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=servers.ROOT,
    )  # fmt: skip
    assert listeners.stdin is not None
    assert listeners.stdout is not None
    try:
        listeners.stdin.write(server.headers.strip().replace("\r\n", "|") + "\n")
        listeners.stdin.flush()
        if (await trio.to_thread.run_sync(listeners.stdout.readline)).strip() != "ready":
            raise BenchError("the clients could not all connect")
        tally = Tally()
        memory: list[float] = []
        async with timed(tally, server), trio.open_nursery() as nursery:
            nursery.start_soon(_watch_memory, server, plan.seconds, memory)
            for number in range(SENDERS):
                nursery.start_soon(_report, server, plan, number, jobs, tally)
        listeners.stdin.close()  # they still read what is under way
        found: dict[str, Any] = json.loads(await trio.to_thread.run_sync(listeners.stdout.read))
    finally:
        listeners.kill()
        listeners.wait()
        listeners.stdout.close()
    found["latencies"].sort()
    expected = tally.done * (plan.clients - stalled)
    return found | {
        "p99": percentile(found["latencies"], 0.99), "rate": tally.rate, "errors": tally.errors + found["closed"],
        "share": len(found["latencies"]) / expected if expected else 0.0, "server_cpu": tally.server_cpu,
        "rss": server.rss_mib(), "grown": max(memory) - memory[len(memory) // 3],
    }  # fmt: skip


async def _report(server: Server, plan: Fanout, number: int, jobs: list[dict[str, Any]], tally: Tally) -> None:
    """Every `SENDERS`-th of the changes, at their times; when the server is late, so are they, and fewer."""
    async with connected(server) as connection:
        began = trio.current_time()
        count = number
        while (due := count / plan.rate) < plan.seconds and trio.current_time() - began < plan.seconds:
            await trio.sleep_until(began + due)
            tally.errors += not await _change(connection, jobs[count % len(jobs)])
            tally.done += 1
            count += SENDERS


async def _change(connection: Connection, job: dict[str, Any]) -> bool:
    beat = job | {"progress": {"stage": "bench", "sent": f"{time.monotonic():.6f}"}}
    answer = await connection.post(f"/api/workers/{WORKER}/heartbeat", encode({"jobs": [beat]}))
    return answer.status == 200


async def _watch_memory(server: Server, seconds: float, memory: list[float]) -> None:
    for _ in range(30):
        memory.append(server.rss_mib())
        await trio.sleep(seconds / 30)
    memory.append(server.rss_mib())


def _row(plan: Fanout, stalled: int, found: list[dict[str, Any]]) -> dict[str, Any]:
    found.sort(key=lambda each: each["p99"])
    middle = found[len(found) // 2]
    return {
        "what": f"{plan.clients:,} clients, {stalled} stalled, {plan.rate:g}/s",
        "stalled": stalled, "how": "p99 of the healthy", "per_second": round(middle["rate"], 1),
        "p50_ms": round(percentile(middle["latencies"], 0.5) * 1000, 1), "p99_ms": round(middle["p99"] * 1000, 1),
        "worst_ms": round(middle["latencies"][-1] * 1000, 1) if middle["latencies"] else 0.0,
        "received": round(middle["share"], 4), "resyncs": middle["resyncs"],
        "server_cpu": round(middle["server_cpu"], 2), "load_cpu": middle["load_cpu"],
        "rss_mib": round(middle["rss"], 1), "grown_mib": round(max(each["grown"] for each in found), 1),
        "turns": len(middle["latencies"]), "errors": sum(each["errors"] for each in found),
        "spread": [round(found[0]["p99"] * 1000, 1), round(found[-1]["p99"] * 1000, 1)],
    }  # fmt: skip


if __name__ == "__main__":
    command("fanout", __doc__ or "", FULL, QUICK, run)
