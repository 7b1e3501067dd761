"""What do turns of groups cost a claim, with very many groups and very many jobs?

    python -m bench.groups [--jobs 1000000] [--groups 10000] [--rounds 1000] [--quick] [--baseline] [--plot]

One claim to a transaction, without HTTP, on SQLite (`synchronous=FULL`) and on a PostgreSQL of this machine, one
after the other in turns, so that all see the same machine. `ratio` is the median beside that of as many jobs without
a group.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import trio
from msgspec import Meta

from actors.messages import Claim, Granted, NewJob, Register, Submit
from bench.filling import ADMIN
from bench.labels import THERE, do, stores
from bench.load import WARM, one_by_one
from bench.plan import Plan, command
from bench.replay import TYPE
from bench.report import Chart, Report
from blobforge.store.writing import Store


class Grouped(Plan, frozen=True, kw_only=True):
    jobs: Annotated[int, Meta(description="jobs that wait")] = 1_000_000
    groups: Annotated[int, Meta(description="groups that they are of")] = 10_000
    rounds: Annotated[int, Meta(description="claims of each kind")] = 1000


FULL = Grouped()
QUICK = Grouped(jobs=20_000, groups=1_000, rounds=200)
BATCH = 1_000  # jobs of one transaction, while they are laid in
KINDS = {"no groups": 0, "groups": 1}


def _lay_in(store: Store, kind: str, plan: Grouped) -> None:
    """Of one group after the other, so that each has as many."""
    do(store, [Register(ADMIN, "bench-worker", TYPE)])
    for start in range(0, plan.jobs, BATCH):
        numbers = range(start, min(start + BATCH, plan.jobs))
        do(
            store,
            [
                Submit(NewJob(TYPE, f"{n:064x}", group=f"group {n % plan.groups}" if KINDS[kind] else None), THERE)
                for n in numbers
            ],
        )


async def _claim(store: Store) -> bool:
    await trio.lowlevel.checkpoint()
    (answer,) = do(store, [Claim(ADMIN, "bench-worker", (TYPE,))])
    return isinstance(answer, Granted) and bool(answer.jobs)


async def run(plan: Grouped) -> Report:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder, stores(Path(folder), [*KINDS]) as opened:
        for engine, by_kind in opened.items():
            for kind, store in by_kind.items():
                _lay_in(store, kind, plan)
            subjects: dict[str, Callable[[], Awaitable[bool]]] = {
                kind: partial(_claim, store) for kind, store in by_kind.items()
            }
            found = await one_by_one(min(plan.rounds, plan.jobs - WARM), subjects)
            for kind, figures in found.items():
                rows.append({"what": f"{engine}, {kind}", "engine": engine, "kind": KINDS[kind]} | figures)
    chart = Chart(x="kind", y="p50_ms", series="engine", x_label="0: no groups, 1: groups")
    return Report("groups", "Claims by the turns of groups", rows, headline="p50_ms", chart=chart)


if __name__ == "__main__":
    command("groups", __doc__ or "", FULL, QUICK, run)
