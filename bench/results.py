"""How many results a second does one worker bring in, and how many does `blobforge results download` fetch: all, and
once more when all are there? How many are listed in a signed manifest, and verified? The same where a result is many?

    python -m bench.results [--results 5000] [--each 50] [--size 512] [--s3 both] [--runs 3] [--quick] [--baseline]

Each run has a new server, on its embedded store and on a real S3 server beside it. Results are as small as `--size`
(bytes): what counts here is the cost of a result beside its bytes. Bringing in is the PUT and the completion, sixteen
side by side; fetching is the command, its start included. Runs of their own bring and fetch as many files as several
outputs, `--each` a result.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import trio
from msgspec import Meta

from bench import objects, servers
from bench.ingest import command_line
from bench.plan import BenchError, Plan, command
from bench.report import Chart, Report

IN_A_FOLDER = 1000
PARTS = (
    ("brought in", "brought_in"),
    ("fetched", "fetched"),
    ("nothing new", "again"),
    ("listed in a manifest", "listed"),
    ("verified", "verified"),
)


class Seconds(NamedTuple):
    """What each part of one run took."""

    brought_in: float
    fetched: float
    again: float
    listed: float
    verified: float


def documents_of(files: int, each: int, size: int) -> list[Any]:
    """What becomes of so many sources that there are so many files, `each` a result."""
    from tests.fixtures.converted import Document  # noqa: PLC0415 - the checkout's, not the wheel's

    def content(n: int) -> bytes:
        return f"{n}\n".encode().ljust(size, b".")

    if each == 1:
        return [Document(f"{n // IN_A_FOLDER:04}/{n}.pdf", content(n), f"{n}.md") for n in range(files)]
    return [
        Document(
            f"{first // IN_A_FOLDER:04}/{first}.pdf",
            b"",
            None,
            (),
            tuple((f"{n:06}.md", content(n)) for n in range(first, min(first + each, files))),
        )
        for first in range(0, files, each)
    ]


async def bring_in(url: str, token: str, documents: list[Any]) -> float:
    """Make a job with its result of each; returns the seconds that the results took, the submission apart."""
    from blobforge.client import AsyncClient  # noqa: PLC0415 - as the next one
    from tests.fixtures.converted import convert, submit  # noqa: PLC0415 - as above

    async with AsyncClient(url, token=token) as client:
        ids = await submit(client, documents)
        began = time.perf_counter()
        await convert(client, dict(zip(ids, documents, strict=True)))
        return time.perf_counter() - began


async def public_key(url: str, token: str) -> str:
    from blobforge.client import AsyncClient  # noqa: PLC0415 - as above

    async with AsyncClient(url, token=token) as client:
        return (await client.installation()).public_key


def fetch(folder: Path, expected: str, **environment: str) -> float:
    """Run the command; returns how long it took in seconds."""
    seconds, said = command_line(["results", "download", "--to", str(folder), "--json"], **environment)
    if not said.startswith(expected):
        raise BenchError(f"expected {expected!r}, not: {said[-2000:]}")
    return seconds


def one_run(files: int, each: int, size: int, *, s3: bool) -> Seconds:
    """The seconds for each part, on one store."""
    documents = documents_of(files, each, size)
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as name:
        base = Path(name)
        (base / "data").mkdir()
        (base / "s3").mkdir()
        with (
            objects.store(base / "s3", s3=s3) as variables,
            servers.blobforge(base / "data", **variables) as server,
        ):
            environment = {
                "BLOBFORGE_SERVER_URL": server.url,
                "BLOBFORGE_API_TOKEN": server.token,
                "XDG_CACHE_HOME": str(base / "cache"),
            }
            brought_in = trio.run(bring_in, server.url, server.token, documents)
            fetched = fetch(base / "to", f"{len(documents)} fetched", **environment)
            again = fetch(base / "to", "0 fetched", **environment)
            manifest, key = base / "manifest.ndjson", trio.run(public_key, server.url, server.token)
            listed, _ = command_line(["results", "manifest", "--to", str(manifest)], **environment)
            verified, _ = command_line(["results", "verify", str(manifest), str(base / "to"), "--key", key])
    return Seconds(brought_in, fetched, again, listed, verified)


def rows_of(what: str, files: int, where: str, runs: list[Seconds]) -> Iterator[dict[str, Any]]:
    for how, name in PARTS:
        rates = [round(files / getattr(each, name), 1) for each in runs]
        yield {
            "what": f"{what}, {where.partition(',')[0]}: {how}",
            "how": f"{where}: {how}",
            "results": what,
            "per_second": round(median(rates), 1),
            "errors": 0,
            "spread": [min(rates), max(rates)],
        }


class Results(Plan, frozen=True, kw_only=True):
    results: Annotated[int, Meta(description="how many")] = 5000
    each: Annotated[int, Meta(description="files of one result, in the runs of several outputs", ge=2)] = 50
    size: Annotated[int, Meta(description="bytes of each")] = 512
    s3: Annotated[str, Meta(description="on a real S3 server (yes), the embedded store (no), or both")] = "both"


FULL = Results()
QUICK = Results(results=300, runs=1)


async def run(plan: Results) -> Report:
    kinds = {
        1: f"{plan.results:,} results of {plan.size} B",
        plan.each: f"{plan.results:,} files of {plan.size} B, {plan.each} a result",
    }
    rows: list[dict[str, Any]] = []
    for store, s3 in (("embedded store", False), ("S3", True)):
        if plan.s3 not in ("both", "yes" if s3 else "no"):
            continue
        for each, what in kinds.items():
            run_once = partial(one_run, plan.results, each, plan.size, s3=s3)
            runs = [await trio.to_thread.run_sync(run_once) for _ in range(plan.runs)]
            where = store if each == 1 else f"{store}, several outputs"
            rows += rows_of(what, plan.results, where, runs)
    chart = Chart(x="results", y="per_second", series="how", x_label="", bars=True)
    return Report("results", "results brought in and fetched, per second", rows, chart=chart)


if __name__ == "__main__":
    command("results", __doc__ or "", FULL, QUICK, run)
