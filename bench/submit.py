"""How many jobs a second can be submitted, one by one and in batches?

    python -m bench.submit [--clients 1,16,64] [--batches 10,100,1000] [--s3 yes] [--quick] [--baseline]

Each job is new and its source is not there, as in the first pass of `blobforge ingest`: the answer carries a signed
upload URL. A single submission asks the object store whether the source is there; a batch does not. Batches are sent
by `--batch-clients` side by side.
"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from bench import filling, objects, servers
from bench.load import FAILED, Connection, TakeTurn, Tally, Turn, encode, measure, side_by_side
from bench.plan import Plan, command
from bench.report import Chart, Report


class Submissions(Plan, frozen=True, kw_only=True):
    clients: Annotated[tuple[int, ...], Meta(description="clients that submit one by one")] = (1, 16, 64)
    batches: Annotated[tuple[int, ...], Meta(description="sizes of batches")] = (10, 100, 1000)
    batch_clients: Annotated[int, Meta(description="clients that send batches")] = 4
    jobs: Annotated[int, Meta(description="jobs that are there already")] = 10_000
    s3: Annotated[bool, Meta(description="a real S3 server (yes) or the embedded store (no)")] = True


FULL = Submissions()
QUICK = Submissions(seconds=1, warmup=0.3, runs=1, clients=(1, 16), batches=(100, 1000), jobs=1000, s3=False)


class Documents:
    """Jobs that were not submitted before."""

    def __init__(self) -> None:
        self._numbers = itertools.count()

    def next(self) -> dict[str, Any]:
        number = next(self._numbers)
        digest = hashlib.sha256(f"submitted {number}".encode()).hexdigest()
        path = f"library/shelf-{number % 1000}/volume-{number}.pdf"
        return {
            "type": "pdf",
            "source_hash": digest,
            "source_path": path,
            "source_size": 1_000_000,
            "tags": ["library"],
        }


def one(documents: Documents) -> TakeTurn:
    async def turn(connection: Connection, _: int) -> Turn:
        answer = await connection.post("/api/jobs", encode(documents.next()))
        return Turn(1) if answer.status == 201 else FAILED

    return turn


def many(documents: Documents, size: int) -> TakeTurn:
    async def turn(connection: Connection, _: int) -> Turn:
        body = encode({"jobs": [documents.next() for _ in range(size)]})
        answer = await connection.post("/api/jobs/batch", body)
        if answer.status != 200:
            return FAILED
        good = sum(item.get("existing") is False for item in answer.json()["items"])
        return Turn(good, size - good)

    return turn


async def run(plan: Submissions) -> Report:
    documents = Documents()
    ways: dict[str, tuple[int, int, TakeTurn]] = {}  # called: jobs in a request, clients, one turn
    for count in plan.clients:
        ways[f"one by one, {count} clients"] = (1, count, one(documents))
    for size in plan.batches:
        ways[f"batches of {size}, {plan.batch_clients} clients"] = (size, plan.batch_clients, many(documents, size))
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder:
        place = Path(folder)
        for name in ("data", "s3"):
            (place / name).mkdir()
        filling.pending(place / "data" / "blobforge.db", plan.jobs)
        with (
            objects.store(place / "s3", s3=plan.s3) as variables,
            servers.blobforge(place / "data", **variables) as server,
        ):
            subjects: dict[str, Callable[[], Awaitable[Tally]]] = {}
            for what, (_, count, turn) in ways.items():
                await measure(server, turn, clients=count, seconds=plan.warmup)
                subjects[what] = partial(measure, server, turn, clients=count, seconds=plan.seconds)
            found = await side_by_side(plan.runs, subjects)
    rows = [
        {"what": what, "size": size, "how": f"{count} clients"} | found[what]
        for what, (size, count, _) in ways.items()
    ]
    chart = Chart(x="size", y="per_second", series="how", x_label="jobs in a request", log_y=True)
    return Report("submit", "Jobs submitted over HTTP", rows, chart=chart)


if __name__ == "__main__":
    command("submit", __doc__ or "", FULL, QUICK, run)
