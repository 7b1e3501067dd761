"""Servers on PostgreSQL under test: a cluster of this machine that syncs, its databases, and a cable that is long."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from actors.effects import perform
from actors.effects.needs import needs_of
from actors.effects.transaction import Rules, Transaction
from actors.messages import NewJob, ObjectSeen, Register, Seen, Submit
from bench.filling import ADMIN, BATCH, SCALED, SEED
from bench.servers import ROOT, ending
from blobforge.machinery.clock import wall_ms
from blobforge.store.postgres.engine import PostgresEngine

if TYPE_CHECKING:
    from tests.fixtures.postgres import Cluster

SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "4GB"}  # checkpoints are no part of what is measured
# A commit that takes longer, as one does that waits for a standby: it sleeps, and takes no CPU.
SLOW_COMMIT = {"commit_siblings": "0"}
_OTHER_SOURCE = "encode(sha256(({source} || k)::bytea), 'hex')"


@contextmanager
def running(commit_ms: float = 0) -> Iterator[Cluster]:
    """A cluster with `fsync` on, of which each commit takes so much longer."""
    from tests.fixtures.postgres import running_postgres  # noqa: PLC0415 - needs an extra

    slow = SLOW_COMMIT | {"commit_delay": f"{commit_ms * 1000:.0f}"} if commit_ms else {}
    with running_postgres(settings=SETTINGS | slow) as cluster:
        yield cluster


@contextmanager
def cable(port: int, delay: float) -> Iterator[int]:
    """A port that leads there, and takes `delay` ms there and back: in a process of its own, whose lock on the
    interpreter is not ours."""
    code = (
        "import sys; from tests.fixtures.cable import Cable; "
        f"cable = Cable({port}); cable.delay = {delay / 2000}; print(cable.port, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    with ending(process):
        yield int(process.stdout.readline())


def pending(url: str, jobs: int, *, workers: int = 0, type_: str = "pdf") -> int:
    """Lay in nothing but pending jobs of one type, and workers; returns how many jobs: at least `jobs`."""
    times = math.ceil(jobs / SEED)
    few = jobs if times == 1 else SEED
    store = PostgresEngine(url, "filling").open_store()
    messages: list[Any] = [Register(ADMIN, f"bench-{number}", type_) for number in range(workers)]
    there = ObjectSeen(Seen.VERIFIED, size=1)
    messages += [Submit(NewJob(type_, f"{number:064x}"), there) for number in range(few)]
    for at in range(0, len(messages), BATCH):
        some = messages[at : at + BATCH]
        with store.transaction(needs_of((message, None) for message in some), wall_ms()):
            tx = Transaction(store, Rules(), wall_ms(), random.Random(1))
            for place, message in enumerate(some):
                perform(tx, message, place)
    store.close()
    if times > 1:
        _multiply(url, times)
    return few * times


def _multiply(url: str, times: int) -> None:
    """Each job is laid down `times` times, with another source; `_OTHER_SOURCE`: of the copy `k`."""
    import psycopg  # noqa: PLC0415 - an extra

    with psycopg.connect(url, autocommit=True) as connection:

        def run(statement: str, *values: Any) -> list[tuple[Any, ...]]:
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

        def again(table: str, values: dict[str, str], order: str) -> None:
            named = (
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s AND table_schema = 'public'"
            )
            columns = [name for (name,) in run(named, table)]
            chosen = ", ".join(values.get(name, name) for name in columns)
            run(
                f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen}"
                f" FROM {table}, generate_series(1, {times - 1}) AS k ORDER BY {order}"
            )

        run("SET synchronous_commit = off")
        (highest,) = run("SELECT max(id) FROM jobs")[0]
        other = _OTHER_SOURCE.format(source="substr(key, 9)")
        again("files", {"key": f"'sources/' || {other}", "sha256": other}, "1")
        again("jobs", {"id": f"id + k * {highest}", "source_hash": _OTHER_SOURCE.format(source="source_hash")}, "1")
        for table in ("job_counts", "happenings"):
            run(f"UPDATE {table} SET " + ", ".join(f"{name} = {name} * {times}" for name in SCALED[table]))
        run(f"UPDATE job_hours SET last_id = {highest * times}")
        run(f"UPDATE turn SET job = {highest * times}")
        run("VACUUM ANALYZE")
