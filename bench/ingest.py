"""How many files a second does `blobforge ingest` submit, cold (all new, all uploaded) and warm (all known)?

    python -m bench.ingest [--files 20000] [--size 512] [--runs 3] [--quick] [--baseline] [--plot]

Each run has a new server on its embedded store, an empty hash cache and new files; then the same command once more.
The command's start is part of what is measured. Files are as small as `--size` (bytes): what counts here is the cost
of a file beside its bytes, which is one fsync at least.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import trio
from msgspec import Meta

from bench import servers
from bench.plan import BenchError, Plan, command
from bench.report import Chart, Report

FILES_IN_A_FOLDER = 1000
LONGEST_RUN = 1800  # seconds


def lay_out(folder: Path, files: int, size: int) -> None:
    """Files of `size` random bytes, each another, a thousand in a folder."""
    dice = random.Random(1)
    for number in range(files):
        place = folder / f"{number // FILES_IN_A_FOLDER:04}"
        if number % FILES_IN_A_FOLDER == 0:
            place.mkdir(parents=True)
        (place / f"{number:07}.pdf").write_bytes(dice.randbytes(size))


def ingest(folder: Path, expected: str, **environment: str) -> float:
    """Run the command; return how long it took in seconds."""
    seconds, said = command_line(["ingest", str(folder), "--json"], **environment)
    if expected not in said:
        raise BenchError(f"expected {expected!r}, not: {said[-2000:]}")
    return seconds


def command_line(arguments: list[str], **environment: str) -> tuple[float, str]:
    """Run blobforge; return how long it took in seconds, and what it said on stderr."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "blobforge.cli", *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LONGEST_RUN,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise BenchError(f"blobforge {arguments[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return seconds, done.stderr


def one_run(files: int, size: int) -> tuple[float, float]:
    """Seconds for the cold and for the warm run."""
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as name:
        base = Path(name)
        (base / "data").mkdir()
        lay_out(base / "documents", files, size)
        os.sync()  # what the files themselves cost the disk is not to be measured
        with servers.blobforge(base / "data") as server:
            environment = {
                "BLOBFORGE_SERVER_URL": server.url,
                "BLOBFORGE_API_TOKEN": server.token,
                "XDG_CACHE_HOME": str(base / "cache"),
            }
            cold = ingest(base / "documents", f"{files} new; {files} uploaded", **environment)
            warm = ingest(base / "documents", f"{files} known already", **environment)
    return cold, warm


def row(what: str, files: int, how: str, seconds: list[float]) -> dict[str, Any]:
    rates = [round(files / each, 1) for each in seconds]
    middle = round(median(rates), 1)
    return {
        "what": f"{what}, {how}",
        "how": how,
        "per_second": middle,
        "errors": 0,
        "spread": [min(rates), max(rates)],
    }


class Ingests(Plan, frozen=True, kw_only=True):
    files: Annotated[int, Meta(description="how many")] = 20_000
    size: Annotated[int, Meta(description="bytes of each")] = 512


FULL = Ingests()
QUICK = Ingests(files=1000, runs=1)


async def run(plan: Ingests) -> Report:
    runs = [await trio.to_thread.run_sync(one_run, plan.files, plan.size) for _ in range(plan.runs)]
    what = f"{plan.files:,} files of {plan.size} B"
    rows = [
        row(what, plan.files, "cold", [cold for cold, _ in runs]),
        row(what, plan.files, "warm", [warm for _, warm in runs]),
    ]
    for each in rows:
        each["files"] = what
    chart = Chart(x="files", y="per_second", series="how", x_label="", bars=True)
    return Report("ingest", "blobforge ingest, files per second", rows, chart=chart)


if __name__ == "__main__":
    command("ingest", __doc__ or "", FULL, QUICK, run)
