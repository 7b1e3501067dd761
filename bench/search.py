"""How long does it take to find jobs by a text among very many, and what does the index of texts cost?

    python -m bench.search [--jobs 1000000] [--rounds 200] [--batches 20] [--quick] [--baseline] [--plot]

On SQLite and on a PostgreSQL of this machine, without HTTP. Every job has a path of its own; the index is made piece
by piece, as the server makes it, and each page of 50 is asked for another text: one that all jobs have, one of a
thousandth of them, of a single one, of none, the first digits of a hash. Then jobs are submitted through the writer
in batches of 1,000, with the indexer beside it and without, in turns; it always finds more to do. `times` is beside
submissions without it.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Annotated, Any

import apsw
import trio
from msgspec import Meta

from actors.effects.transaction import Rules
from actors.indexer import JOBS_AT_ONCE, Indexer
from actors.mailbox import ask
from actors.messages import Batch, IndexTexts, NewJob, ObjectSeen, Seen, Submit
from actors.writer import Writer
from bench import clusters, filling
from bench.commit import NoSubscribers
from bench.labels import do
from bench.plan import Plan, command
from bench.report import Chart, Report
from blobforge.machinery.clock import wall_ms
from blobforge.refusals import Refusal
from blobforge.store.engine import Engine
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor
from blobforge.store.postgres.engine import PostgresEngine
from blobforge.store.reading import Reader
from blobforge.store.sqlite.engine import SqliteEngine
from blobforge.store.writing import Store

PATHS = "UPDATE jobs SET source_path = 'library/shelf-' || (id % 1000) || '/volume-' || id || '.pdf'"
BATCH = 1_000
PAGE = 50
SHELVES = 1_000
KINDS = ("in all", "in a thousandth", "in one", "in none", "a hash")
THERE = ObjectSeen(Seen.VERIFIED, size=1)


class Searches(Plan, frozen=True, kw_only=True):
    jobs: Annotated[int, Meta(description="jobs that are looked through")] = 1_000_000
    rounds: Annotated[int, Meta(description="pages that are asked for, of each kind")] = 200
    batches: Annotated[int, Meta(description=f"batches of {BATCH:,} that are submitted in one run")] = 20
    runs: Annotated[int, Meta(description="turns of submissions, with and without")] = 9


FULL = Searches()
QUICK = Searches(jobs=50_000, rounds=50, batches=5, runs=1)


@contextmanager
def engines(folder: Path, jobs: int) -> Iterator[dict[str, Engine]]:
    """Each with a database of that many jobs, none of which is in the index."""
    file = folder / "blobforge.db"
    filling.history(file, jobs)
    with apsw.Connection(str(file)) as connection:
        connection.execute(PATHS)
    with clusters.running() as cluster:
        name = cluster.database()
        clusters.pending(cluster.url(name), jobs)
        cluster.execute(PATHS, database=name)
        cluster.execute("VACUUM ANALYZE", database=name)
        yield {"SQLite": SqliteEngine(file), "PostgreSQL": PostgresEngine(cluster.url(name), "bench")}


def timed(seconds: Sequence[float]) -> dict[str, Any]:
    cuts = quantiles(seconds, n=100) if len(seconds) > 1 else list(seconds) * 99
    found = {"p50_ms": median(seconds), "p95_ms": cuts[94], "worst_ms": max(seconds)}
    return {name: value * 1000 for name, value in found.items()} | {"turns": len(seconds)}


def make_index(store: Store) -> list[float]:
    """How long each piece took, in seconds."""
    took = []
    more = True
    while more:
        began = time.perf_counter()
        (done,) = do(store, [IndexTexts(JOBS_AT_ONCE)])
        took.append(time.perf_counter() - began)
        more = done.more
    return took


def text(kind: str, number: int) -> str:
    match kind:
        case "in all":
            return "volume"
        case "in a thousandth":
            return f"shelf-{number % SHELVES}/"
        case "in one":
            return f"volume-{number}.pdf"
        case "in none":
            return f"nothing of {number}"
        case _:
            return f"{number:08x}"


def look(reader: Reader, plan: Searches, jobs: int, dice: random.Random) -> dict[str, dict[str, Any]]:
    """All kinds in turns."""
    took: dict[str, list[float]] = {kind: [] for kind in KINDS}
    errors = dict.fromkeys(KINDS, 0)
    for _ in range(plan.rounds):
        for kind in KINDS:
            asked = JobFilter(q=text(kind, dice.randint(1, jobs)))
            began = time.perf_counter()
            page = reader.list_jobs(asked, limit=PAGE, cursor=Cursor())
            took[kind].append(time.perf_counter() - began)
            found = {"in all": PAGE, "in a thousandth": min(PAGE, jobs // SHELVES), "in one": 1}.get(kind, 0)
            errors[kind] += len(page.jobs) < found or (kind == "in none" and page.next is not None)
    return {kind: timed(took[kind]) | {"errors": errors[kind]} for kind in KINDS}


async def submit(store: Store, plan: Searches, first: int, *, indexed: bool) -> tuple[list[float], int]:
    """How long each batch took, and how many submissions were refused."""
    writer = Writer(store, Rules(), now=wall_ms, sink=NoSubscribers())
    took, errors = [], 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        if indexed:
            nursery.start_soon(Indexer(partial(ask, writer.mailbox), leads=lambda: True).run)
            await trio.sleep(1.2)  # it is at work
        for number in range(first, first + plan.batches * BATCH, BATCH):
            jobs = [
                NewJob("pdf", f"{each:064x}", f"new/shelf-{each % SHELVES}/volume-{each}.pdf", 1, tags=("new",))
                for each in range(number, number + BATCH)
            ]
            began = time.perf_counter()
            answer = await ask(writer.mailbox, Batch(tuple(Submit(job, THERE) for job in jobs)))
            took.append(time.perf_counter() - began)
            errors += sum(isinstance(each, Refusal) for each in answer.items)
        nursery.cancel_scope.cancel()
    return took, errors


async def run(plan: Searches) -> Report:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder, engines(Path(folder), plan.jobs) as opened:
        for engine, each in opened.items():
            store = each.open_store()
            pieces = make_index(store)
            made = {"per_second": plan.jobs / sum(pieces), "errors": 0} | timed(pieces)
            rows.append(
                {
                    "what": f"{engine}, the index is made, {JOBS_AT_ONCE} jobs a piece",
                    "engine": engine,
                    "kind": "made",
                }
                | made
            )
            reader = each.open_reader()
            for kind, found in look(reader, plan, plan.jobs, random.Random(1)).items():
                what = f"{engine}, {plan.jobs:,} jobs, a text {kind}" if kind != "a hash" else f"{engine}, a hash"
                rows.append({"what": what, "engine": engine, "kind": kind} | found)
            reader.close()
            rows += await _submissions(engine, store, plan)
            store.close()
    chart = Chart(x="kind", y="p95_ms", series="engine", x_label="a text", bars=True)
    return Report("search", f"Jobs found by a text, of {plan.jobs:,}", rows, headline="p95_ms", chart=chart)


async def _submissions(engine: str, store: Store, plan: Searches) -> list[dict[str, Any]]:
    """`times` is the median of the turns: others on the machine slow down one as a whole."""
    took: dict[bool, list[list[float]]] = {False: [], True: []}
    errors = {False: 0, True: 0}
    first = 1 << 60
    for turn in range(plan.runs):
        for indexed in (False, True) if turn % 2 == 0 else (True, False):
            seconds, refused = await submit(store, plan, first, indexed=indexed)
            took[indexed].append(seconds)
            errors[indexed] += refused
            first += plan.batches * BATCH
    times = median(sum(without) / sum(beside) for without, beside in zip(took[False], took[True], strict=True))
    rows = []
    for indexed, seconds in took.items():
        how = "with" if indexed else "without"
        found = timed([each for run in seconds for each in run])
        per_second = median(len(run) * BATCH / sum(run) for run in seconds)
        row = {
            "what": f"{engine}, batches of {BATCH:,}, {how} the indexer",
            "engine": engine,
            "kind": f"submitted {how}",
        }
        rows.append(row | {"per_second": per_second, "times": times if indexed else 1.0} | found)
        rows[-1]["errors"] = errors[indexed]
    return rows


if __name__ == "__main__":
    command("search", __doc__ or "", FULL, QUICK, run)
