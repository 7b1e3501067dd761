"""What does the writer's thread take for a job, without a disk, beside an earlier revision?

    python -m bench.alone [--revision 27f53d8] [--sizes 1,64,512] [--rest 0.0008] [--quick] [--baseline] [--plot]

Claims and completions by the number of messages in a transaction, in batches, and submissions: microseconds of the
thread's own CPU for each job, on files in memory, run in turns. `cold`: with a rest before each transaction, as in a
server that does something else in between; a small transaction is mostly what it must fetch into the processor's
caches anew. `times`: how many jobs this checkout does in the time that the revision takes for one.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import trio
from msgspec import Meta

from bench import servers
from bench.goals import NOW
from bench.plan import Plan, command
from bench.report import Chart, Report
from bench.servers import ROOT
from bench.versus import checked_out

PROGRAM = ROOT / "bench" / "thread.py"
MEMORY = Path("/dev/shm")
PLACE = MEMORY if MEMORY.is_dir() else None


class Alone(Plan, frozen=True, kw_only=True):
    revision: Annotated[str, Meta(description="what to compare with: anything that git knows")] = "27f53d8"
    sizes: Annotated[tuple[int, ...], Meta(description="messages in a transaction")] = (1, 64, 512)
    cycles: Annotated[int, Meta(description="claim+complete cycles of each size, in one run")] = 4000
    rest: Annotated[float, Meta(description="seconds before each transaction where it is cold")] = 0.0008


FULL = Alone()
QUICK = Alone(sizes=(1, 64), cycles=300, runs=1)


async def run(plan: Alone) -> Report:
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    with checked_out(plan.revision) as earlier:
        for _ in range(plan.runs):
            for how, rest in (("hot", 0.0), ("cold", plan.rest)):
                for name, root in ((plan.revision, earlier), (NOW, ROOT)):
                    for what, taken in (await _measured(plan, root, rest)).items():
                        found.setdefault((what, how), {}).setdefault(name, []).append(taken)
    rows: list[dict[str, Any]] = []
    for (what, how), by_name in found.items():
        before, now = (median(by_name[name]) for name in (plan.revision, NOW))
        same = {"kind": f"{what}, {how}", "turns": plan.cycles, "errors": 0}
        for name, taken in ((plan.revision, before), (NOW, now)):
            own = {"what": f"{what}, {how}: {name}", "how": name, "cpu_us": taken, "per_second": round(1e6 / taken)}
            rows.append(same | own)
        rows[-1]["times"] = round(before / now, 3)
    rows.sort(key=lambda row: str(row["kind"]))
    chart = Chart(x="kind", y="per_second", series="how", x_label="", log_y=True, bars=True)
    return Report("alone", f"The writer's thread alone, beside {plan.revision}", rows, chart=chart)


async def _measured(plan: Alone, root: Path, rest: float) -> dict[str, float]:
    """Microseconds a job, by the code of that checkout."""
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-", dir=PLACE) as folder:
        sizes = ",".join(map(str, plan.sizes))
        program = [sys.executable, "-P", str(PROGRAM), folder, sizes, str(plan.cycles), str(rest)]
        done = await trio.run_process(program, env=servers.environment(root), cwd=root, capture_stdout=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    command("alone", __doc__ or "", FULL, QUICK, run)
