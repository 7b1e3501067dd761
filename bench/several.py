"""What do servers on PostgreSQL do over HTTP: one beside SQLite, two beside one, and what with a network in between?

    python -m bench.several [--revision 27f53d8] [--workers 64] [--delay 0.5] [--commit 2] [--what beside,far]
                            [--quick] [--baseline] [--plot]

`beside`: an earlier revision and this checkout on SQLite, one server on a PostgreSQL of this machine (`fsync` on),
and two on another database of it, between which the workers are shared out. `far`: one and two, with `delay` ms added
to each round trip, and once more with commits that take `commit` ms longer, as those do that wait for a standby;
neither takes CPU. Two servers that share nothing but the machine, with a database each, are the bound of what two
may reach together. Single requests, and batches of 100. `times` is beside the earlier revision, of two servers beside
one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from bench import claim, clusters, objects, servers, versus
from bench.goals import APART, NOW, ONE, TWO
from bench.load import TakeTurn, Tally, measure, side_by_side
from bench.plan import BenchError, Plan, command
from bench.report import Chart, Report
from bench.servers import ROOT, Server, Servers

if TYPE_CHECKING:
    from tests.fixtures.postgres import Cluster

WHAT = ("beside", "far")
BATCH = 100
BATCHING = 16  # workers, of those at most
KINDS = {"single requests": "claim+complete cycles", "batches": f"jobs in batches of {BATCH}"}


class Several(Plan, frozen=True, kw_only=True):
    seconds: Annotated[float, Meta(description="length of one run")] = 4.0
    revision: Annotated[str, Meta(description="what to compare with: anything that git knows")] = "27f53d8"
    workers: Annotated[int, Meta(description="number of workers")] = 64
    delay: Annotated[float, Meta(description="ms that a far round trip takes longer")] = 0.5
    commit: Annotated[float, Meta(description="ms that a slow commit takes longer; 0: no slow ones")] = 2.0
    jobs: Annotated[int, Meta(description="jobs to lay in; the run ends with an error when they run out")] = 250_000
    what: Annotated[tuple[str, ...], Meta(description=f"what is measured: {', '.join(WHAT)}")] = WHAT
    s3: Annotated[bool, Meta(description="sign for a real S3 server (yes) or the embedded store (no)")] = True


FULL = Several()
QUICK = Several(seconds=0.5, warmup=0.2, runs=1, workers=16, jobs=20_000)


async def run(plan: Several) -> Report:
    if unknown := set(plan.what) - set(WHAT):
        raise BenchError(f"--what: {', '.join(sorted(unknown))} is none of {', '.join(WHAT)}")
    servers.may_open(plan.workers)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder, ExitStack() as stack:
        place = Path(folder)
        (place / "s3").mkdir()
        variables = stack.enter_context(objects.store(place / "s3", s3=True))
        if "beside" in plan.what:
            rows += await _beside(plan, place, variables)
        if "far" in plan.what:
            rows += await _far(plan, place, variables)
    chart = Chart(x="kind", y="per_second", series="how", x_label="", log_y=True, bars=True)
    return Report("several", "One server and two on PostgreSQL", rows, chart=chart)


class Stage:
    """The servers of a cluster, each number of them on a database of its own."""

    def __init__(self, stack: ExitStack, cluster: Cluster, plan: Several, place: Path, variables: dict[str, str]):
        self._stack = stack
        self._cluster = cluster
        self._place = place
        self._variables = variables | {"BLOBFORGE_LITESTREAM_DISABLED": "true"}
        self._filled = cluster.template(
            "filled", partial(clusters.pending, jobs=plan.jobs, workers=plan.workers, type_=claim.TYPE)
        )
        place.mkdir(exist_ok=True)

    def all(self, port: int | None = None) -> dict[str, Server]:
        apart = Servers([self.serve(1, port) for _ in range(2)])
        return {ONE: self.serve(1, port), TWO: self.serve(2, port), APART: apart}

    def serve(self, count: int, port: int | None = None) -> Server:
        """Through a `port` of 127.0.0.1, or through the socket."""
        database = self._cluster.database(self._filled)
        members = []
        for number in range(count):
            folder = self._place / f"{database}-{number}"
            folder.mkdir()
            variables = {
                "BLOBFORGE_DATABASE_URL": self._cluster.url(database, port=port),
                "BLOBFORGE_SERVER_NAME": f"server-{number}",
            }
            members.append(self._stack.enter_context(servers.blobforge(folder, **self._variables, **variables)))
        return members[0] if count == 1 else Servers(members)


async def _beside(plan: Several, place: Path, variables: dict[str, str]) -> list[dict[str, Any]]:
    with ExitStack() as stack:
        earlier = stack.enter_context(versus.checked_out(plan.revision))
        running: dict[str, Server] = {}
        for name, root in ((plan.revision, earlier), (NOW, ROOT)):
            folder = place / f"sqlite-{len(running)}"
            versus.fill(root, folder, plan.jobs)
            running[f"{name}, SQLite"] = stack.enter_context(servers.blobforge_of(root, folder, **variables))
            await claim.register(running[f"{name}, SQLite"], plan.workers)
        stage = Stage(stack, stack.enter_context(clusters.running()), plan, place / "near", variables)
        running |= stage.all()
        return await _in_turns(plan, running, {"where": "near"}, first=f"{plan.revision}, SQLite")


async def _far(plan: Several, place: Path, variables: dict[str, str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for commit_ms in sorted({0.0, plan.commit}):
        with ExitStack() as stack:
            cluster = stack.enter_context(clusters.running(commit_ms))
            port = stack.enter_context(clusters.cable(cluster.port, plan.delay))
            stage = Stage(stack, cluster, plan, place / f"{commit_ms:g}", variables)
            where = f"{plan.delay:g} ms away" + (f", commits {commit_ms:g} ms longer" if commit_ms else "")
            rows += await _in_turns(
                plan, stage.all(port), {"where": where, "far": True, "slow": bool(commit_ms)}, first=ONE
            )
    return rows


async def _in_turns(
    plan: Several, running: dict[str, Server], where: dict[str, Any], *, first: str
) -> list[dict[str, Any]]:
    """`first`: what the others are compared with."""
    rows: list[dict[str, Any]] = []
    turns: dict[str, tuple[TakeTurn, int]] = {
        "single requests": (claim.single, plan.workers),
        "batches": (partial(claim.batch, BATCH), min(BATCHING, plan.workers)),
    }
    for kind, (turn, clients) in turns.items():
        subjects: dict[str, Callable[[], Awaitable[Tally]]] = {}
        for name, server in running.items():
            await measure(server, turn, clients=clients, seconds=plan.warmup)
            subjects[name] = partial(measure, server, turn, clients=clients, seconds=plan.seconds)
        found = await side_by_side(plan.runs, subjects)
        away = f", {where['where']}" if "far" in where else ""
        for name, row in found.items():
            beside = found[ONE if name in {TWO, APART} else first]
            rows.append(
                {"what": f"{KINDS[kind]}, {clients} workers{away}: {name}", "how": name, "kind": f"{kind}{away}"}
                | where
                | row
                | ({} if row is beside else {"times": round(row["per_second"] / (beside["per_second"] or 1), 3)})
            )
    return rows


if __name__ == "__main__":
    command("several", __doc__ or "", FULL, QUICK, run)
