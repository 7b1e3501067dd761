"""How long from a submission to the moment at which a waiting worker has the job?

    python -m bench.wake [--polls 1,100,1000] [--jobs 200] [--quick] [--baseline] [--plot]

So many workers hold a long poll each; jobs whose source is there already are submitted one at a time, each once the
one before was handed out. The time runs from before the submission is sent until the claim's answer is read, so it
holds two commits. `messages a job`: what the writer was sent for each job; 4 (submit, claim, complete, and the next
long poll) is one worker woken for one job, more would be a herd.
"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from pathlib import Path
from typing import Annotated, Any

import trio
from msgspec import Meta

from bench import servers
from bench.load import BROKEN, Connection, Tally, connected, connected_to, encode, median_row, timed
from bench.plan import BenchError, Plan, command
from bench.report import Chart, Report
from bench.servers import Server

TYPE = "wake"
SEED_TYPE = "seed"  # the jobs that bring the sources; no worker asks for them
WAIT_SECONDS = 60
PAUSE_SECONDS = 0.02  # between a job handed out and the next: the worker's next poll has arrived by then
PATIENCE_SECONDS = 30
UPLOADS_AT_ONCE = 8


class Wakes(Plan, frozen=True, kw_only=True):
    polls: Annotated[tuple[int, ...], Meta(description="numbers of idle long polls")] = (1, 100, 1000)
    jobs: Annotated[int, Meta(description="jobs submitted in one run")] = 200


FULL = Wakes()
QUICK = Wakes(polls=(1, 100), jobs=30, runs=1)


class Sleepers:
    """Workers that wait, and when each job was handed out."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._sent: dict[str, float] = {}
        self._came: dict[str, trio.Event] = {}
        self.tally = Tally()

    def expect(self, source: str) -> trio.Event:
        """A job of this source is submitted now; set when a worker has it."""
        self._sent[source] = trio.current_time()
        self._came[source] = trio.Event()
        return self._came[source]

    async def sleep(self, number: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """One worker: registers, then claims, completes, claims."""
        worker = f"wake-{number}"
        ask = encode({"worker_id": worker, "job_type": TYPE, "wait": WAIT_SECONDS})
        async with connected(self._server) as connection:
            await connection.good("/api/workers/register", {"id": worker, "type": TYPE})
            task_status.started()
            while True:
                try:
                    answer = await connection.post("/api/jobs/claim", ask)
                except BROKEN:
                    self.tally.errors += 1
                    return
                if answer.status != 200:
                    self.tally.errors += 1
                elif (job := answer.json()["job"]) is not None:
                    now = trio.current_time()
                    self.tally.latencies.append(now - self._sent.pop(job["source_hash"]))
                    self.tally.done += 1
                    body = {"worker_id": worker, "lease": answer.json()["lease"]}
                    await connection.good(f"/api/jobs/{job['id']}/complete", body)
                    self._came.pop(job["source_hash"]).set()


async def run(plan: Wakes) -> Report:
    servers.may_open(max(plan.polls))
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder,
        servers.blobforge(Path(folder)) as server,
    ):
        sources = iter(await sources_in(server, plan.jobs * plan.runs * len(plan.polls)))
        for polls in plan.polls:
            rows.append(await _with_polls(server, polls, plan, sources))
    chart = Chart(x="polls", y="p50_ms", series="how", x_label="idle long polls")
    return Report("wake", "From submission to a waiting worker", rows, headline="p50_ms", chart=chart)


async def _with_polls(server: Server, polls: int, plan: Wakes, sources: Any) -> dict[str, Any]:
    tallies, messages = [], []
    sleepers = Sleepers(server)
    async with trio.open_nursery() as nursery:
        for number in range(polls):
            await nursery.start(sleepers.sleep, number)
        await _until_all_wait(server, polls)
        async with connected(server) as submitter:
            for _ in range(plan.runs):
                sleepers.tally = Tally()
                before = await _metric(submitter, "blobforge_writer_messages_total")
                async with timed(sleepers.tally, server):
                    for source in itertools.islice(sources, plan.jobs):
                        await submit_and_wait(submitter, sleepers, source)
                after = await _metric(submitter, "blobforge_writer_messages_total")
                messages.append((after - before) / plan.jobs)
                tallies.append(sleepers.tally)
        nursery.cancel_scope.cancel()
    row = median_row(tallies)
    del row["per_second"], row["spread"]  # it is the pause that decides on the rate
    return {
        "what": f"{polls:,} idle long polls", "polls": polls, "how": "p50", "messages_a_job": round(max(messages), 2)
    } | row  # fmt: skip


async def submit_and_wait(submitter: Connection, sleepers: Sleepers, source: str) -> None:
    came = sleepers.expect(source)
    await submitter.good("/api/jobs", {"type": TYPE, "source_hash": source})
    with trio.move_on_after(PATIENCE_SECONDS) as patience:
        await came.wait()
    if patience.cancelled_caught:
        raise BenchError(f"nobody was given a job within {PATIENCE_SECONDS} s")
    await trio.sleep(PAUSE_SECONDS)


async def sources_in(server: Server, count: int) -> list[str]:
    """Put so many sources into the store; each is verified when this returns."""
    contents = [f"source {number}".encode() for number in range(count)]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    slots = trio.Semaphore(UPLOADS_AT_ONCE)

    async def bring(digest: str, content: bytes) -> None:
        async with slots, connected(server) as connection:
            answer = await connection.good("/api/jobs", {"type": SEED_TYPE, "source_hash": digest})
            async with connected_to(answer["upload_url"]) as store:
                put = await store.put("/" + answer["upload_url"].split("/", 3)[3], content)
            if not 200 <= put.status < 300:
                raise BenchError(f"cannot upload: {put.status}")
            status = (await connection.good(f"/api/jobs/{answer['job_id']}/uploaded", {}))["status"]
            if status != "pending":
                raise BenchError(f"a source was not verified: its job is {status}")

    async with trio.open_nursery() as nursery:
        for digest, content in zip(digests, contents, strict=True):
            nursery.start_soon(bring, digest, content)
    return digests


async def _until_all_wait(server: Server, polls: int) -> None:
    async with connected(server) as connection:
        with trio.move_on_after(PATIENCE_SECONDS):
            while await _metric(connection, "blobforge_long_polls") < polls:  # noqa: ASYNC110 - of another process
                await trio.sleep(0.1)
            return
    raise BenchError(f"{polls} long polls do not all wait within {PATIENCE_SECONDS} s")


async def _metric(connection: Connection, name: str) -> float:
    text = (await connection.get("/metrics")).body.decode()
    for line in text.splitlines():
        if line.startswith(f"{name} "):
            return float(line.rpartition(" ")[2])
    raise BenchError(f"there is no metric {name}")


if __name__ == "__main__":
    command("wake", __doc__ or "", FULL, QUICK, run)
