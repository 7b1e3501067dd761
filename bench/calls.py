"""How far does a request run through the code? Files and calls of one request, with one worker, beside a revision.

    python -m bench.calls [--revision 27f53d8] [--rounds 30] [--quick] [--baseline] [--plot]

`files`: how many of the project's own files a request visits; `calls`: how many functions of theirs are entered, and
coroutines gone on with; `changes of file`: how often the next of these stands in another file than the one before;
`wake-ups`: steps of trio's tasks; `hops`: how often a thread takes over from trio's. All that happens within `window`
of the request counts, and what comes behind its answer, too. Medians of so many rounds; nothing here is a time.
"""

from __future__ import annotations

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import msgspec
import trio
from msgspec import Meta

from bench import claim, servers
from bench.goals import NOW
from bench.load import Connection, connected, encode
from bench.plan import Plan, command
from bench.report import Chart, Report
from bench.servers import ROOT
from bench.versus import checked_out, fill

TRACED = ROOT / "bench" / "traced.py"
WARM = 5  # rounds before those that count
WORKER = "bench-0"


class Calls(Plan, frozen=True, kw_only=True):
    revision: Annotated[str, Meta(description="what to compare with: anything that git knows")] = "27f53d8"
    rounds: Annotated[int, Meta(description="requests of each kind")] = 30
    window: Annotated[float, Meta(description="seconds that count, from each request on")] = 0.05


FULL = Calls()
QUICK = Calls(rounds=5)


class Traced(msgspec.Struct):
    """What `bench.traced` writes."""

    calls: list[tuple[float, int, str]]
    steps: list[float]


class Asked(NamedTuple):
    """One request of a kind, when it was sent, and whether it was answered well."""

    kind: str
    at: float
    good: bool


async def run(plan: Calls) -> Report:
    rows: list[dict[str, Any]] = []
    with checked_out(plan.revision) as earlier, tempfile.TemporaryDirectory(prefix="blobforge-bench-") as place:
        for number, (name, root) in enumerate(((plan.revision, earlier), (NOW, ROOT))):
            folder = Path(place) / str(number)
            fill(root, folder, 2 * (plan.rounds + WARM))
            written = folder / "traced.json"
            program = (str(TRACED), str(written))
            with servers.blobforge_of(root, folder, program=program) as server:
                await claim.register(server, 1)
                async with connected(server) as connection:
                    asked = await _rounds(plan, connection)
            traced = msgspec.json.decode(written.read_bytes(), type=Traced)
            rows += _rows(plan, name, traced, asked)
    chart = Chart(x="kind", y="calls", series="how", x_label="", bars=True)
    rows.sort(key=lambda row: str(row["kind"]))
    return Report("calls", "How far one request runs", rows, headline="calls", chart=chart)


async def _rounds(plan: Calls, connection: Connection) -> list[Asked]:
    asked: list[Asked] = []

    async def ask(kind: str, path: str, body: dict[str, Any]) -> Any:
        at = time.perf_counter()
        answer = await connection.post(path, encode(body))
        asked.append(Asked(kind, at, answer.status == 200))
        await trio.sleep(plan.window)
        return answer.json()

    for _ in range(WARM + plan.rounds):
        given = await ask("claim", "/api/jobs/claim", {"worker_id": WORKER, "job_type": claim.TYPE})
        held = {"worker_id": WORKER, "lease": given["lease"]}
        job = given["job"]["id"]
        beat = {"jobs": [{"job_id": job, "lease": given["lease"]}]}
        await ask("heartbeat", f"/api/workers/{WORKER}/heartbeat", beat)
        given = await ask("completion with `claim_next`", f"/api/jobs/{job}/complete", held | {"claim_next": True})
        held["lease"], job = given["next"]["lease"], given["next"]["job"]["id"]
        await ask("completion", f"/api/jobs/{job}/complete", held)
    return asked


def _rows(plan: Calls, name: str, traced: Traced, asked: list[Asked]) -> list[dict[str, Any]]:
    rows = []
    loop = traced.calls[0][1]  # the thread that everything begins in is trio's
    for kind in dict.fromkeys(each.kind for each in asked):
        those = [each for each in asked if each.kind == kind]
        found: list[dict[str, int]] = []
        for each in those[WARM:]:
            until = each.at + plan.window
            calls = [call for call in traced.calls if each.at <= call[0] < until]
            files = [file for _, _, file in calls]
            found.append({
                "files": len(set(files)),
                "calls": len(calls),
                "changes": sum(one != other for one, other in pairwise(files)),
                "wakeups": sum(each.at <= step < until for step in traced.steps),
                "hops": sum(one[1] == loop != other[1] for one, other in pairwise(calls)),
            })  # fmt: skip
        row: dict[str, Any] = {key: round(median(each[key] for each in found)) for key in found[0]}
        errors = sum(not each.good for each in those)
        rows.append(
            row | {"what": f"{kind}: {name}", "how": name, "kind": kind, "turns": len(those), "errors": errors}
        )
    return rows


if __name__ == "__main__":
    command("calls", __doc__ or "", FULL, QUICK, run)
