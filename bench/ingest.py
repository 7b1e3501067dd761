"""How many files a second does `blobforge ingest` submit, cold (all new, all uploaded) and warm (all known)?

    python -m bench.ingest [--files 20000] [--size 512] [--runs 3] [--baseline]

Each run has a new server on its embedded store, an empty hash cache and new files; then the same command once more.
The command's start is part of what is measured. Files are as small as `--size` (bytes): what counts here is the cost
of a file beside its bytes, which is one fsync at least.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench import servers
from bench.report import publish

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
    command = [sys.executable, "-m", "blobforge.cli", "ingest", str(folder), "--json"]
    began = time.perf_counter()
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LONGEST_RUN,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode or expected not in done.stderr:
        raise SystemExit(f"expected {expected!r}, not: {done.stderr[-2000:]}")
    return seconds


def one_run(files: int, size: int) -> tuple[float, float]:
    """Seconds for the cold and for the warm run."""
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as name:
        base = Path(name)
        (base / "data").mkdir()
        lay_out(base / "documents", files, size)
        os.sync()  # what the files themselves cost the disk is not to be measured
        with servers.blobforge(base / "data") as (url, token):
            environment = {
                "BLOBFORGE_SERVER_URL": url,
                "BLOBFORGE_API_TOKEN": token,
                "XDG_CACHE_HOME": str(base / "cache"),
            }
            cold = ingest(base / "documents", f"{files} new; {files} uploaded", **environment)
            warm = ingest(base / "documents", f"{files} known already", **environment)
    return cold, warm


def row(what: str, files: int, seconds: list[float]) -> dict[str, Any]:
    rates = [round(files / each, 1) for each in seconds]
    return {"what": what, "per_second": median(rates), "errors": 0, "spread": [min(rates), max(rates)]}


def main(options: argparse.Namespace) -> None:
    runs = [one_run(options.files, options.size) for _ in range(options.runs)]
    what = f"{options.files:,} files of {options.size} B"
    rows = [
        row(f"{what}, cold", options.files, [cold for cold, _ in runs]),
        row(f"{what}, warm", options.files, [warm for _, warm in runs]),
    ]
    publish("ingest", "blobforge ingest, files per second", rows, baseline=options.baseline)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="how many (default 20,000)")
    parser.add_argument("--size", type=int, default=512, help="bytes of each (default 512)")
    parser.add_argument("--runs", type=int, default=3, help="runs, of which the median is shown (default 3)")
    parser.add_argument("--baseline", action="store_true", help="write the result that is committed")
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
