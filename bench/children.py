"""How fast are claims beside the making of very many children of one result, and what does that cost?

    python -m bench.children [--outputs 10000] [--steps 10] [--rounds 400] [--jobs 200000]
                             [--quick] [--baseline] [--plot]

On SQLite (`synchronous=FULL`) and on a PostgreSQL of this machine, without HTTP: the server's writer and its
operator. A result of so many outputs, each of which so many steps take, is accepted; then claims of another type are
made one after the other, with the operator at work and without, in turns, until all children are there. `times` is a
claim's median beside that without, `per_second` how many children were made in how many `turns`, and `grown_mib` how
much more memory the process has at the end.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import psutil
import trio
from msgspec import Meta

from actors.effects.transaction import Rules
from actors.mailbox import ask
from actors.messages import ChooseOutputs, Claim, Complete, Granted, NewJob, Register, Several, Submit, TellOutputs
from actors.operator import Operator
from actors.writer import Writer
from bench.commit import NoSubscribers
from bench.filling import ADMIN
from bench.labels import THERE, do
from bench.plan import BenchError, Plan, command
from bench.report import Chart, Report
from bench.search import engines, timed
from blobforge.chain import MOST_IN_FAMILY, Step
from blobforge.machinery.clock import wall_ms
from blobforge.objects.keys import named_output_key, prefix_of
from blobforge.operation import Operation
from blobforge.outputs import AT_ONCE, Output
from blobforge.store.reading import Reader
from blobforge.store.writing import Store

WORKER = "bench-worker"
PAUSE = 0.002  # seconds between two claims: they are no flood, and the operator rests by the time that turns take


class Children(Plan, frozen=True, kw_only=True):
    outputs: Annotated[int, Meta(description="outputs of the one result")] = 10_000
    steps: Annotated[int, Meta(description="steps that take each of them")] = 10
    rounds: Annotated[int, Meta(description="claims in one turn, with and without")] = 400
    jobs: Annotated[int, Meta(description="jobs that are there before; half of them wait to be claimed")] = 200_000


FULL = Children()
QUICK = Children(outputs=2_000, steps=2, rounds=200, jobs=20_000)


class Reads:
    """What the operator reads of the operations that begin without selecting."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def open_operations(self) -> list[Operation]:
        await trio.lowlevel.checkpoint()
        return list(self._reader.open_operations(limit=10))

    def __getattr__(self, name: str) -> Any:
        raise BenchError(f"{name} was read")


def split(store: Store, plan: Children) -> tuple[int, float]:
    """The result is accepted: of which job, and how long that took, in seconds. What comes before it is laid in."""
    then = tuple(Step(f"step-{number}") for number in range(plan.steps))
    do(store, [Register(ADMIN, WORKER, "split"), Submit(NewJob("split", "f" * 64, then=then), THERE)])
    (granted,) = do(store, [Claim(ADMIN, WORKER, ("split",), write_once=True)])
    (job,) = granted.jobs
    outputs = [Output(f"pages/{number:06}.png", 1) for number in range(plan.outputs)]
    for start in range(0, plan.outputs, AT_ONCE):
        some = tuple(outputs[start : start + AT_ONCE])
        do(store, [TellOutputs(ADMIN, WORKER, job.id, some), ChooseOutputs(ADMIN, WORKER, job.id, some, start == 0)])
    main = named_output_key(prefix_of(job.upload_key), outputs[0].name)
    began = time.perf_counter()
    do(store, [Complete(ADMIN, WORKER, job.id, output_key=main, several=Several(plan.outputs, plan.outputs))])
    return job.id, time.perf_counter() - began


async def claims(writer: Writer, rounds: int) -> tuple[list[float], int]:
    took, errors = [], 0
    for _ in range(rounds):
        began = time.perf_counter()
        answer = await ask(writer.mailbox, Claim(ADMIN, WORKER, ("pdf",)))
        took.append(time.perf_counter() - began)
        errors += not (isinstance(answer, Granted) and answer.jobs)
        await trio.sleep(PAUSE)
    return took, errors


async def make(
    store: Store, reader: Reader, plan: Children
) -> tuple[dict[bool, list[list[float]]], dict[str, Any], int]:
    """How long claims took, with the operator at work and without, in turns; what the making came to; and errors."""
    writer = Writer(store, Rules(), now=wall_ms, sink=NoSubscribers())
    took: dict[bool, list[list[float]]] = {False: [], True: []}
    errors, making, turns = 0, 0.0, 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        await claims(writer, 20)
        for beside in itertools.cycle((False, True)):
            if beside and not reader.open_operations(limit=1):
                break
            operator = Operator(writer.mailbox, Reads(reader))
            began = time.perf_counter()
            async with trio.open_nursery() as part:
                if beside:
                    part.start_soon(operator.run)
                seconds, failed = await claims(writer, plan.rounds)
                part.cancel_scope.cancel()
            took[beside].append(seconds)
            errors += failed
            if beside:
                making += time.perf_counter() - began
                turns += operator.turns
        nursery.cancel_scope.cancel()
    return took, {"seconds": making, "turns": turns}, errors


def rows_of(engine: str, took: dict[bool, list[list[float]]], errors: int) -> list[dict[str, Any]]:
    # The last turn with the operator may have gone on without it.
    pairs = list(zip(took[False], took[True][:-1] or took[True], strict=False))
    times = median(median(beside) / median(without) for without, beside in pairs)
    rows = []
    for beside, name in ((False, "without"), (True, "while children are made")):
        seconds: Sequence[float] = [each for pair in pairs for each in pair[beside]]
        found = {"times": times if beside else 1.0, "errors": errors} | timed(seconds)
        rows.append({"what": f"{engine}, claims {name}", "engine": engine, "kind": int(beside)} | found)
    return rows


async def run(plan: Children) -> Report:
    rows: list[dict[str, Any]] = []
    process = psutil.Process()
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder, engines(Path(folder), plan.jobs) as opened:
        for engine, each in opened.items():
            store, reader = each.open_store(), each.open_reader()
            before = process.memory_info().rss
            parent, accepted = split(store, plan)
            took, made, errors = await make(store, reader, plan)
            grown = (process.memory_info().rss - before) / 2**20
            children = reader.kin.count(parent, most=2 * MOST_IN_FAMILY)
            wrong = abs(min(plan.outputs * plan.steps, MOST_IN_FAMILY - 1) - children)
            accepted_row = {"what": f"{engine}, {children:,} children: the completion", "engine": engine, "kind": -1}
            rows.append(accepted_row | {"p50_ms": accepted * 1000, "errors": wrong})
            rows += rows_of(engine, took, errors)
            rows[-1] |= {"per_second": children / made["seconds"], "turns": made["turns"], "grown_mib": grown}
            reader.close()
            store.close()
    chart = Chart(
        x="kind", y="p50_ms", series="engine", x_label="-1: the completion, 0: without, 1: beside", log_x=False
    )
    return Report("children", "Claims beside very many children", rows, headline="p50_ms", chart=chart)


if __name__ == "__main__":
    command("children", __doc__ or "", FULL, QUICK, run)
