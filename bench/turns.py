"""What does the writer do on PostgreSQL, beside SQLite, and what with a network in between?

    python -m bench.turns [--sizes 1,16,64,500] [--cycles 4000] [--delay 0.5] [--quick] [--baseline] [--plot]

Claim+complete cycles a second, in one process and without HTTP: through the writer (mailbox, thread, replies), on
SQLite with `synchronous=FULL`, and on a PostgreSQL of this machine (Debian's, with `fsync` on): through its socket,
and through a cable that takes some time for each round trip.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from bench import clusters
from bench.commit import VALUES, through_the_writer
from bench.load import Tally, side_by_side
from bench.plan import Plan, command
from bench.replay import TYPE, Replay
from bench.report import Chart, Report
from blobforge.store.postgres.engine import PostgresEngine
from blobforge.store.writing import Store

if TYPE_CHECKING:
    from tests.fixtures.postgres import Cluster


class Turning(Plan, frozen=True, kw_only=True):
    sizes: Annotated[tuple[int, ...], Meta(description="messages in a transaction")] = (1, 16, 64, 500)
    cycles: Annotated[int, Meta(description="claim+complete cycles of one run")] = 4000
    delay: Annotated[float, Meta(description="ms of a round trip through the cable")] = 0.5


FULL = Turning()
QUICK = Turning(sizes=(1, 64), cycles=1024, runs=1)


class Turned:
    """Databases of a cluster, all from one start: `jobs` pending, `workers` registered."""

    def __init__(self, cluster: Cluster, *, jobs: int, workers: int) -> None:
        self._cluster = cluster
        self._start = cluster.template("start", partial(clusters.pending, jobs=jobs, workers=workers, type_=TYPE))

    def fresh_store(self, port: int | None = None) -> Store:
        """Through a `port` of 127.0.0.1, or through the socket."""
        database = self._cluster.database(self._start)
        return PostgresEngine(self._cluster.url(database, port=port), "bench").open_store()


@contextmanager
def _clusters(delay: float) -> Iterator[tuple[Cluster, int]]:
    """One, and a port that leads to it with a delay (ms, there and back)."""
    with clusters.running() as cluster, clusters.cable(cluster.port, delay) as port:
        yield cluster, port


async def run(plan: Turning) -> Report:
    rows: list[dict[str, Any]] = []
    far = f"PostgreSQL, {plan.delay:g} ms away"
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder, _clusters(plan.delay) as (cluster, port):
        replay = Replay(Path(folder), jobs=plan.cycles, workers=max(plan.sizes))
        turned = Turned(cluster, jobs=plan.cycles, workers=max(plan.sizes))
        opened: dict[str, Callable[[], Store]] = {
            "SQLite": replay.fresh_store,
            "PostgreSQL": turned.fresh_store,
            far: partial(turned.fresh_store, port),
        }
        for size in plan.sizes:
            subjects: dict[str, Callable[[], Awaitable[Tally]]] = {
                engine: partial(through_the_writer, fresh, size, plan.cycles) for engine, fresh in opened.items()
            }
            for how, found in (await side_by_side(plan.runs, subjects)).items():
                values = {key: found[key] for key in VALUES if found.get(key) or key == "errors"}
                rows.append({"what": f"{how}, {size} to a transaction", "size": size, "how": how} | values)
    chart = Chart(x="size", y="per_second", series="how", x_label="messages in a transaction", log_y=True)
    return Report("turns", "Claim + complete cycles, the writer on PostgreSQL", rows, chart=chart)


if __name__ == "__main__":
    command("turns", __doc__ or "", FULL, QUICK, run)
