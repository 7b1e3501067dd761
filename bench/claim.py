"""How many claim+complete cycles a second over HTTP, with 1, 16 and 64 workers, beside a null endpoint?

    python -m bench.claim [--seconds 5] [--runs 3] [--workers 1,16,64] [--baseline]

A cycle is two requests, so the null endpoint's rate divided by two is what the stack allows at most. Server and
load generator are processes of their own; every cycle is authenticated, leased, signed for, committed, logged.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

import trio

from bench import servers
from bench.load import Connection, connected, encode, measure, median_of
from bench.report import publish

TYPE = "pdf"
MOST_CYCLES = 4000  # a second; so many jobs are laid in that none of the runs ends for want of them


async def claim_and_complete(connection: Connection, number: int) -> int:
    worker = f"bench-{number}"
    status, answer = await connection.post("/api/jobs/claim", encode({"worker_id": worker, "job_type": TYPE}))
    if status != 200:
        return 1
    given = json.loads(answer)
    if given["job"] is None:
        raise SystemExit("the jobs ran out: the measurement would be of something else")
    body = encode({"worker_id": worker, "lease": given["lease"], "result": {"pages": 1}})
    status, _ = await connection.post(f"/api/jobs/{given['job']['id']}/complete", body)
    return int(status != 200)


async def nothing(connection: Connection, number: int) -> int:
    status, _ = await connection.post("/null", encode({"worker_id": f"bench-{number}", "job_type": TYPE}))
    return int(status != 200)


async def register(url: str, headers: str, workers: int) -> None:
    async with connected(url, headers) as connection:
        for number in range(workers):
            body = encode({"id": f"bench-{number}", "type": TYPE})
            status, answer = await connection.post("/api/workers/register", body)
            if status != 200:
                raise SystemExit(f"cannot register: {answer.decode()}")


async def main(options: argparse.Namespace) -> None:
    counts = [int(count) for count in options.workers.split(",")]
    cycles = MOST_CYCLES * (options.seconds * options.runs + options.warmup) * len(counts)
    rows = []
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder:
        data = Path(folder)
        servers.fill(data / "blobforge.db", int(min(cycles, options.jobs)), TYPE)
        with servers.blobforge(data) as (url, token), servers.null() as null_url:
            headers = f"Authorization: Bearer {token}\r\n"
            await register(url, headers, max(counts))
            for count in counts:
                null_run = partial(measure, null_url, nothing, clients=count, seconds=options.seconds)
                real_run = partial(
                    measure, url, claim_and_complete, clients=count, seconds=options.seconds, headers=headers
                )
                await measure(null_url, nothing, clients=count, seconds=options.warmup)
                await measure(url, claim_and_complete, clients=count, seconds=options.warmup, headers=headers)
                null_row = await median_of(options.runs, null_run)
                real_row = await median_of(options.runs, real_run)
                share = real_row["per_second"] / (null_row["per_second"] / 2)
                rows.append({"what": f"null requests, {count} clients"} | null_row)
                rows.append(
                    {"what": f"claim+complete cycles, {count} workers", "share_of_null": round(share, 3)} | real_row
                )
    publish("claim", "claim + complete over HTTP", rows, baseline=options.baseline)
    if any(row["errors"] for row in rows):
        raise SystemExit("there were errors")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="length of one run (default 5)")
    parser.add_argument("--warmup", type=float, default=1, help="seconds that are not counted (default 1)")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the median is shown (default 3)")
    parser.add_argument("--workers", default="1,16,64", help="numbers of workers (default 1,16,64)")
    parser.add_argument("--jobs", type=int, default=200_000, help="the most jobs to lay in (default 200,000)")
    parser.add_argument("--baseline", action="store_true", help="write the result that is committed")
    return parser.parse_args()


if __name__ == "__main__":
    trio.run(main, arguments())
