"""How many claim+complete cycles a second over HTTP, beside a null endpoint and beside bare SQLite?

    python -m bench.claim [--workers 1,16,64,256] [--batches 10,100] [--s3 yes]
                          [--quick] [--baseline] [--plot]

Single requests (claim, then complete), `claim_next` (one request a cycle), and batches (claim with `limit`, complete
as a list). `of null`: requests a second, as a share of those of an endpoint that does nothing on Quart-Trio and
Hypercorn; beside it stands what the same endpoint answers on the product's lean reader, and what bare trio answers
with httptools and nothing around it.
`of apsw`: cycles a second, as a share of the same statements on bare apsw, one transaction for all workers' claims.
Every cycle is authenticated, leased, signed for, committed, logged. Latencies are those of a whole cycle or batch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from bench import filling, objects, servers
from bench.load import FAILED, Connection, TakeTurn, Turn, connected, encode, measure, median_row, side_by_side
from bench.plan import BenchError, Plan, command
from bench.replay import Replay
from bench.report import Chart, Report
from bench.servers import Server

TYPE = "pdf"
RESULT = {"pages": 1}


class Claims(Plan, frozen=True, kw_only=True):
    workers: Annotated[tuple[int, ...], Meta(description="numbers of workers")] = (1, 16, 64, 256)
    batches: Annotated[tuple[int, ...], Meta(description="sizes of batches")] = (10, 100)
    jobs: Annotated[int, Meta(description="jobs to lay in; the run ends with an error when they run out")] = 2_000_000
    cycles: Annotated[int, Meta(description="cycles on bare apsw")] = 10_000
    s3: Annotated[bool, Meta(description="sign for a real S3 server (yes) or the embedded store (no)")] = True


FULL = Claims()
QUICK = Claims(
    seconds=1, warmup=0.3, runs=1, workers=(1, 16, 64), batches=(100,), jobs=100_000, cycles=2000, s3=False
)  # fmt: skip


def nothing() -> TakeTurn:
    """A request to an endpoint that does nothing, put together once."""
    requests: dict[int, bytes] = {}

    async def turn(connection: Connection, number: int) -> Turn:
        request = requests.get(number)
        if request is None:
            body = encode({"worker_id": f"bench-{number}", "job_type": TYPE})
            request = requests[number] = connection.request("POST", "/null", body)
        answer = await connection.ask(request)
        return Turn(1, int(answer.status != 200))

    return turn


async def single(connection: Connection, number: int) -> Turn:
    worker = f"bench-{number}"
    answer = await connection.post("/api/jobs/claim", encode({"worker_id": worker, "job_type": TYPE}))
    if answer.status != 200:
        return FAILED
    given = _job(answer.json())
    body = encode({"worker_id": worker, "lease": given["lease"], "result": RESULT})
    answer = await connection.post(f"/api/jobs/{given['job']['id']}/complete", body)
    return Turn(1) if answer.status == 200 else FAILED


def claim_next() -> TakeTurn:
    """What a worker holds goes from turn to turn."""
    held: dict[int, Any] = {}

    async def turn(connection: Connection, number: int) -> Turn:
        worker = f"bench-{number}"
        given = held.pop(number, None)
        if given is None:
            answer = await connection.post("/api/jobs/claim", encode({"worker_id": worker, "job_type": TYPE}))
            if answer.status != 200:
                return FAILED
            held[number] = _job(answer.json())
            return Turn(0)
        body = encode({"worker_id": worker, "lease": given["lease"], "result": RESULT, "claim_next": True})
        answer = await connection.post(f"/api/jobs/{given['job']['id']}/complete", body)
        if answer.status != 200:
            return FAILED
        held[number] = _job(answer.json()["next"])
        return Turn(1)

    return turn


async def batch(size: int, connection: Connection, number: int) -> Turn:
    worker = f"bench-{number}"
    body = encode({"worker_id": worker, "job_type": TYPE, "limit": size})
    answer = await connection.post("/api/jobs/claim", body)
    if answer.status != 200:
        return FAILED
    given = answer.json()["jobs"]
    if len(given) < size:
        raise BenchError("the jobs ran out: the measurement would be of something else; raise --jobs")
    done = [
        {"job_id": each["job"]["id"], "worker_id": worker, "lease": each["lease"], "result": RESULT} for each in given
    ]
    answer = await connection.post("/api/jobs/complete", encode({"jobs": done}))
    if answer.status != 200:
        return FAILED
    good = sum(item.get("status") == "completed" for item in answer.json()["items"])
    return Turn(good, size - good)


def _job(given: Any) -> Any:
    if given["job"] is None:
        raise BenchError("the jobs ran out: the measurement would be of something else; raise --jobs")
    return given


async def register(server: Server, workers: int) -> None:
    async with connected(server) as connection:
        for number in range(workers):
            await connection.good("/api/workers/register", {"id": f"bench-{number}", "type": TYPE})


async def run(plan: Claims) -> Report:
    rows: list[dict[str, Any]] = []
    servers.may_open(max(plan.workers))
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder:
        place = Path(folder)
        for name in ("data", "bare", "s3"):
            (place / name).mkdir()
        filling.pending(place / "data" / "blobforge.db", plan.jobs, TYPE)
        bare = Replay(place / "bare", jobs=plan.cycles, workers=max(plan.workers))
        with (
            objects.store(place / "s3", s3=plan.s3) as variables,
            servers.blobforge(place / "data", **variables) as server,
            servers.yardstick("bench.null_server") as null,
            servers.yardstick("bench.lean_server") as lean,
            servers.yardstick("bench.echo_server") as echo,
        ):
            await register(server, max(plan.workers))
            for count in plan.workers:
                rows += await _with_workers(plan, count, server, {"null": null, "lean": lean, "echo": echo}, bare)
    chart = Chart(x="workers", y="per_second", series="how", x_label="workers", log_y=True)
    return Report("claim", "Claim + complete over HTTP", rows, chart=chart)


async def _with_workers(
    plan: Claims, count: int, server: Server, yardsticks: dict[str, Server], bare: Replay
) -> list[dict[str, Any]]:
    ways: dict[str, tuple[str, float, TakeTurn]] = {  # how: what it is called, requests a cycle, one turn
        "single requests": (f"claim+complete cycles, {count} workers", 2, single),
        "claim_next": (f"claim_next cycles, {count} workers", 1, claim_next()),
    }
    for size in plan.batches:
        ways[f"batches of {size}"] = (f"jobs in batches of {size}, {count} workers", 2 / size, partial(batch, size))
    subjects: dict[str, Callable[[], Any]] = {}
    for name, one in yardsticks.items():
        await measure(one, nothing(), clients=count, seconds=plan.warmup)
        subjects[name] = partial(measure, one, nothing(), clients=count, seconds=plan.seconds)
    for how, (_, _, turn) in ways.items():
        await measure(server, turn, clients=count, seconds=plan.warmup)
        subjects[how] = partial(measure, server, turn, clients=count, seconds=plan.seconds)
    found = await side_by_side(plan.runs, subjects)
    alone = median_row([bare.statements(count, plan.cycles) for _ in range(plan.runs)])
    rows = [
        {"what": f"null requests, {count} clients", "workers": count, "how": "null requests"} | found["null"],
        {"what": f"null requests of the lean reader, {count} clients", "workers": count, "how": "lean null requests"}
        | found["lean"],
        {"what": f"bare trio and httptools, {count} clients", "workers": count, "how": "trio and httptools"}
        | found["echo"],
        {"what": f"cycles on bare apsw, {count} to a transaction", "workers": count, "how": "bare apsw"}
        | {key: alone[key] for key in ("per_second", "errors", "spread")},
    ]
    for how, (what, requests, _) in ways.items():
        rate = found[how]["per_second"]
        shares = {
            "share_of_null": round(rate * requests / (found["null"]["per_second"] or 1), 3),
            "share_of_apsw": round(rate / (alone["per_second"] or 1), 3),
        }
        rows.append({"what": what, "workers": count, "how": how} | found[how] | shares)
    return rows


if __name__ == "__main__":
    command("claim", __doc__ or "", FULL, QUICK, run)
