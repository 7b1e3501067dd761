"""All benchmarks, one after the other, each a process of its own: `python -m bench [NAME...] [options of all]`.

Options that every benchmark has (`--quick`, `--baseline`, `--plot`, `--runs N`) are handed on. One that fails does
not keep the others from being run; the exit code is 1 then.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
BENCHES = (
    "claim",
    "versus",
    "calls",
    "submit",
    "depth",
    "labels",
    "groups",
    "children",
    "limits",
    "wake",
    "idle",
    "fanout",
    "start",
    "commit",
    "turns",
    "several",
    "churn",
    "elsewhere",
    "alone",
    "pages",
    "tab",
    "ingest",
    "results",
    "search",
    "batches",
)


def main(arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(f"{__doc__}\nThe benchmarks: {', '.join(BENCHES)}. Each has a --help of its own.")
        return 0
    named = [each for each in arguments if each in BENCHES]
    options = [each for each in arguments if each not in BENCHES]
    failed = []
    for name in named or BENCHES:
        began = time.monotonic()
        print(f"--- {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}", *options], cwd=ROOT, check=False).returncode:
            failed.append(name)
        print(f"--- {name}: {time.monotonic() - began:.0f} s\n", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
