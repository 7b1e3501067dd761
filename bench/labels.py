"""What do requirements cost a claim, by the number of sets of them that jobs have?

    python -m bench.labels [--sets 1,20,200] [--rounds 1000] [--quick] [--baseline] [--plot]

One claim to a transaction, without HTTP, on SQLite (`synchronous=FULL`) and on a PostgreSQL of this machine, one
after the other in turns, so that all see the same machine. `ratio` is the median beside that of a queue in which no
job requires anything. The jobs are spread evenly over the sets, and the worker's labels hold all of them: a claim
looks into each lane. `others` is a worker whose labels hold none.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import trio
from msgspec import Meta

from actors.effects import perform
from actors.effects.needs import needs_of
from actors.effects.transaction import Rules, Transaction
from actors.messages import Claim, Granted, NewJob, ObjectSeen, Register, Seen, Submit
from bench import clusters
from bench.filling import ADMIN
from bench.load import WARM, one_by_one
from bench.plan import Plan, command
from bench.replay import TYPE
from bench.report import Chart, Report
from blobforge.machinery.clock import wall_ms
from blobforge.store.postgres.engine import PostgresEngine
from blobforge.store.sqlite.database import open_writer
from blobforge.store.sqlite.store import Store as SqliteStore
from blobforge.store.writing import Store

HOLDER, OTHER = "bench-holder", "bench-other"
BATCH = 500  # messages of one transaction, while jobs are laid in
THERE = ObjectSeen(Seen.VERIFIED, size=1)


class Labelled(Plan, frozen=True, kw_only=True):
    sets: Annotated[tuple[int, ...], Meta(description="sets of requirements that jobs have")] = (1, 20, 200)
    rounds: Annotated[int, Meta(description="claims of each kind")] = 1000


FULL = Labelled()
QUICK = Labelled(sets=(1, 200), rounds=200)


@contextmanager
def stores(folder: Path, names: list[str]) -> Iterator[dict[str, dict[str, Store]]]:
    """A new store of each name, by engine."""
    with clusters.running() as cluster:
        on_disk: dict[str, Store] = {name: SqliteStore(open_writer(folder / f"{name}.db")) for name in names}
        on_postgres: dict[str, Store] = {
            name: PostgresEngine(cluster.url(cluster.database()), "bench").open_store() for name in names
        }
        yield {"SQLite": on_disk, "PostgreSQL": on_postgres}
        for store in (*on_disk.values(), *on_postgres.values()):
            store.close()


def do(store: Store, messages: list[Any]) -> list[Any]:
    with store.transaction(needs_of((message, None) for message in messages), wall_ms()):
        tx = Transaction(store, Rules(), wall_ms(), random.Random(1))
        return [perform(tx, message, place) for place, message in enumerate(messages)]


def _required(number: int, sets: int) -> str | None:
    """Every job a set of its own, in turns."""
    return f'["memory_gib>={1 + number % sets}"]' if sets else None


def _lay_in(store: Store, sets: int, jobs: int) -> None:
    messages: list[Any] = [
        Register(ADMIN, HOLDER, TYPE, labels='{"memory_gib":1000000}'),
        Register(ADMIN, OTHER, TYPE),
        *(Submit(NewJob(TYPE, f"{number:064x}", requires=_required(number, sets)), THERE) for number in range(jobs)),
    ]
    for at in range(0, len(messages), BATCH):
        do(store, messages[at : at + BATCH])


async def _claim(store: Store, worker_id: str, *, gets: bool) -> bool:
    await trio.lowlevel.checkpoint()
    (answer,) = do(store, [Claim(ADMIN, worker_id, (TYPE,))])
    return isinstance(answer, Granted) and bool(answer.jobs) == gets


async def run(plan: Labelled) -> Report:
    rows: list[dict[str, Any]] = []
    names = ["none", *map(str, plan.sets)]
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder, stores(Path(folder), names) as opened:
        for engine, by_name in opened.items():
            subjects: dict[tuple[int, str], Callable[[], Awaitable[bool]]] = {}
            for name, store in by_name.items():
                sets = int(name) if name != "none" else 0
                _lay_in(store, sets, plan.rounds + WARM + sets)
                subjects[sets, "holder"] = partial(_claim, store, HOLDER, gets=True)
                if sets:
                    subjects[sets, "others"] = partial(_claim, store, OTHER, gets=False)
            for (sets, who), found in (await one_by_one(plan.rounds, subjects)).items():
                what = f"{engine}, {sets} sets" + (", others" if who == "others" else "")
                rows.append({"what": what, "engine": f"{engine}, {who}", "sets": sets} | found)
    chart = Chart(x="sets", y="p50_ms", series="engine", x_label="sets of requirements that jobs have")
    return Report("labels", "Claims by the number of sets of requirements", rows, headline="p50_ms", chart=chart)


if __name__ == "__main__":
    command("labels", __doc__ or "", FULL, QUICK, run)
