"""Databases that a benchmark starts from: a few jobs through the real effects, then as many as wanted by SQL.

Through the effects ten million jobs would take half an hour. So the jobs of a small database are each laid down
`times` times, side by side in the order of their ids, with all that is kept beside them. The check of a database
must find the outcome whole, and a test has it look: when the schema grows, this is told so.
"""

from __future__ import annotations

import hashlib
import math
import random
import tempfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import apsw
import msgspec

from actors.effects import perform
from actors.effects.transaction import Rules, Transaction
from actors.messages import (
    Claim,
    CloseBatch,
    Complete,
    Fail,
    Granted,
    MakeBatch,
    NewJob,
    ObjectSeen,
    Register,
    Seen,
    Submit,
)
from blobforge.access import Caller, Scope
from blobforge.machinery.clock import wall_ms
from blobforge.store.figures import CAUSE, HOUR_MS, KEPT, ONLINE, QUEUED, RAN, RATE_HOURS, SPLITS_KEPT
from blobforge.store.sqlite.database import open_writer
from blobforge.store.sqlite.store import Store

ADMIN = Caller(scopes=frozenset({Scope.ADMIN}), token_id=1, name="bench")
TYPES = ("pdf", "epub", "ocr")
SEED = 10_000  # jobs that are made through the effects, at most
BATCH = 500
RARE = 60  # jobs with a tag that hardly any job has, or as few more as there are copies
DAYS_MS = 864_000_000  # a history goes back ten days
# Tables of counters, and what they count: all is there so many times.
SCALED = dict.fromkeys(["failure_counts", "failures", "happenings", "splits", "worker_rates", "depths"], ("n",))
SCALED |= dict.fromkeys(["job_counts", "tag_counts"], ("n", "source_bytes", "output_bytes"))
SCALED |= {"batch_counts": ("n",)}
# What a history of charts has of each slot and type: table, column, value.
KEPT_OF_SLOTS = tuple(("happenings", "what", name) for name in ("submitted", "completed", "failed"))
KEPT_OF_SLOTS += tuple(("depths", "status", name) for name in ("pending", "running"))
BUCKETS = 12  # that the times of a slot of a chart are spread over
INDEX = "job_texts"  # and what it is made of: the server makes it of the jobs
CACHE_KIB = 1 << 20


class Scale(msgspec.Struct, frozen=True):
    """What there is beside jobs. A third of them, and of the workers, are of the first type. Of batches the first has
    half of the jobs, the others share the rest.

    `charts`: each slot of each type has something to show, in all widths and as far back as they are kept, and each
    worker's rates have something of each hour."""

    types: int = len(TYPES)
    workers: int = 50
    batches: int = 0
    causes: int = 3  # of failures
    charts: bool = False

    def type_of(self, number: int) -> str:
        """The type of the job or worker of that number."""
        return self.names[number % self.types if number % len(TYPES) else 0]

    @property
    def names(self) -> list[str]:
        return [*TYPES, *(f"type-{n:03}" for n in range(len(TYPES), self.types))][: self.types]

    def batch_of(self, number: int) -> int | None:
        if not self.batches:
            return None
        return 1 if number % 2 or self.batches == 1 else 2 + number // 2 % (self.batches - 1)


USUAL = Scale()


def pending(database: Path, jobs: int, type_: str = "pdf") -> int:
    """Nothing but pending jobs of one type; returns how many: at least `jobs`."""

    def seed(path: Path, count: int) -> None:
        store = Store(open_writer(path))
        dice = random.Random(1)
        for start in range(0, count, BATCH):
            with store.transaction():
                tx = Transaction(store, Rules(), wall_ms(), dice)
                for number in range(start, min(start + BATCH, count)):
                    digest = hashlib.sha256(f"{number}".encode()).hexdigest()
                    perform(tx, Submit(NewJob(type_, digest), ObjectSeen(Seen.VERIFIED, 1, digest)))
        store.close()

    return _filled(database, jobs, seed)


def history(database: Path, jobs: int, *, running: int = 0, scale: Scale = USUAL) -> int:
    """Half of the jobs have ended, most of them well, over ten days, by a fleet; the other half waits.

    `running` of them are claimed at the end. Returns how many jobs there are: at least `jobs`.
    """
    rare = max(1, RARE // math.ceil(jobs / SEED))
    count = _filled(database, jobs, partial(_history, rare=rare, scale=scale))
    writer = open_writer(database)
    if scale.charts:
        with writer:
            _fill_charts(writer, scale)
            _fill_rates(writer, scale)
    store = Store(writer)
    with store.transaction():
        tx = Transaction(store, Rules(), wall_ms(), random.Random(1))
        for number in range(running):
            perform(tx, Claim(ADMIN, f"bench-{number}", (scale.type_of(number),)))
    store.close()
    return count


def _filled(database: Path, jobs: int, seed: Callable[[Path, int], None]) -> int:
    times = math.ceil(jobs / SEED)
    if times == 1:
        seed(database, jobs)
        return jobs
    with tempfile.TemporaryDirectory(prefix="seed-", dir=database.parent) as folder:
        small = Path(folder) / "seed.db"
        seed(small, SEED)
        multiply(small, database, times)
    return SEED * times


def _history(database: Path, jobs: int, *, rare: int, scale: Scale) -> None:
    store = Store(open_writer(database))
    dice = random.Random(1)
    ended = 0
    batch = min(BATCH, max(1, jobs // 20))  # few jobs, too, come over all the days
    for start in range(0, jobs, batch):
        with store.transaction():
            tx = Transaction(store, Rules(), wall_ms() - round(DAYS_MS * (1 - start / jobs)), dice)
            if start == 0:
                for number in range(scale.workers):
                    perform(tx, Register(ADMIN, f"bench-{number}", scale.type_of(number)))
                for number in range(scale.batches):
                    perform(tx, MakeBatch(f"batch-{number}"))
            for number in range(start, min(start + batch, jobs)):
                _submit(tx, number, scale, rare=number < rare)
            while ended < min(start + batch, jobs) // 2:
                ended += _work(tx, dice, scale)
    with store.transaction():
        tx = Transaction(store, Rules(), wall_ms(), dice)
        for batch_id in range(2, scale.batches + 1):
            perform(tx, CloseBatch(batch_id))
    store.close()


def _submit(tx: Transaction, number: int, scale: Scale, *, rare: bool) -> None:
    digest = hashlib.sha256(f"{number}".encode()).hexdigest()
    shelf = "rare" if rare else f"shelf-{number % 1000}"
    job = NewJob(
        scale.type_of(number), digest, f"library/shelf-{number % 1000}/volume-{number}.pdf", 1_000_000,
        priority=1 + (number + number // scale.types) % 5, max_attempts=1, tags=("library", shelf),
        batch=scale.batch_of(number),
    )  # fmt: skip
    perform(tx, Submit(job, ObjectSeen(Seen.VERIFIED, 1_000_000, digest)))


def _work(tx: Transaction, dice: random.Random, scale: Scale) -> int:
    worker = dice.randrange(scale.workers)
    name = f"bench-{worker}"
    granted = perform(tx, Claim(ADMIN, name, (scale.type_of(worker),), limit=20))
    assert isinstance(granted, Granted)
    for job in granted.jobs:
        if dice.random() < 0.05:
            error = f"page {dice.randrange(900)} cannot be read"
            perform(tx, Fail(ADMIN, name, job.id, error, job.lease, kind=f"Error{dice.randrange(scale.causes)}"))
        else:
            perform(tx, Complete(ADMIN, name, job.id, job.lease))
    return len(granted.jobs) or 1


def _fill_charts(connection: apsw.Connection, scale: Scale) -> None:
    """What was kept of each slot by now, for the types together as for each: one of everything would say little of
    how long a chart takes."""
    connection.execute("CREATE TEMP TABLE of_type (type TEXT, n INTEGER)")
    connection.executemany("INSERT INTO of_type VALUES (?, ?)", zip(scale.names, count()))
    slots = "WITH RECURSIVE slots (slot) AS (SELECT ?1 UNION ALL SELECT slot + 1 FROM slots WHERE slot < ?2)"
    for step, kept in KEPT.items():
        last = wall_ms() // 1000 // step
        span = (last - kept // step, last, step)
        for table, kind, name in KEPT_OF_SLOTS:
            connection.execute(
                f"""{slots} INSERT OR IGNORE INTO {table} (step, slot, type, {kind}, n)
                    SELECT ?3, slot, type, ?4, 1 + (slot + n) % 9 FROM slots, of_type ORDER BY slot, type""",
                (*span, name),
            )
        connection.execute(
            f"""{slots} INSERT OR IGNORE INTO depths (step, slot, type, status, n)
                SELECT ?3, slot, '', ?4, ?5 FROM slots""",
            (*span, ONLINE, scale.workers),
        )
    causes = [int(number) for (number,) in connection.execute("SELECT id FROM failures ORDER BY id LIMIT 20")]
    parts = [(what, bucket) for what in (QUEUED, RAN) for bucket in range(30, 30 + BUCKETS)]
    parts += [(CAUSE, number) for number in causes]
    connection.execute("CREATE TEMP TABLE parts (what TEXT, part INTEGER)")
    connection.executemany("INSERT INTO parts VALUES (?, ?)", parts)
    for step, kept in SPLITS_KEPT.items():
        last = wall_ms() // 1000 // step
        connection.execute("DELETE FROM splits WHERE step = ?", (step,))
        for of, n in (("type", 1), ("''", scale.types)):
            source = "slots, of_type, parts" if of == "type" else "slots, parts"
            connection.execute(
                f"""{slots} INSERT INTO splits (step, slot, type, what, part, n)
                    SELECT ?3, slot, {of}, what, part, {n} FROM {source} ORDER BY slot, {of}, what, part""",
                (last - kept // step, last, step),
            )


def _fill_rates(connection: apsw.Connection, scale: Scale) -> None:
    """Each worker has ended attempts in each hour of the day, and failed some: few jobs would leave most of a fleet
    without, and a page of those that have would list fewer."""
    this = wall_ms() // HOUR_MS
    rates = [
        (hour, f"bench-{worker}", outcome, n)
        for hour in range(this - RATE_HOURS, this + 1)
        for worker in range(scale.workers)
        for outcome, n in (("completed", 20 + worker % 9), ("failed", 1 + (hour + worker) % 3))
    ]
    connection.execute("DELETE FROM worker_rates")
    connection.executemany("INSERT INTO worker_rates (hour, worker_id, outcome, n) VALUES (?, ?, ?, ?)", rates)


# ------------------------------------------------------------------ many out of few


def multiply(small: Path, database: Path, times: int) -> None:
    """Write `database` with each job of `small` laid down `times` times. No job of `small` may be running, and its
    ids go from 1 without a gap. Job 1 becomes 1 to `times`, and so on: what is in order stays in order."""
    connection = open_writer(database)
    connection.execute("PRAGMA foreign_keys=OFF; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF").fetchall()
    connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}; PRAGMA temp_store=DEFAULT").fetchall()
    connection.execute("ATTACH ? AS small", (str(small),))
    # All indexes at once behind the rows is much faster; and no trigger goes off for a row.
    found = connection.execute(
        "SELECT type, name, sql FROM main.sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
        " ORDER BY type"
    ).fetchall()
    with connection:
        for kind, name, _ in found:
            connection.execute(f"DROP {kind} main.{name}")
        _copy(connection, times)
        for *_, statement in found:
            connection.execute(str(statement))
    connection.execute("DETACH small")
    connection.execute("PRAGMA journal_mode=WAL").fetchall()
    connection.close()


def _copy(connection: apsw.Connection, times: int) -> None:
    connection.execute("CREATE TEMP TABLE copies (k INTEGER PRIMARY KEY)")
    connection.executemany("INSERT INTO copies VALUES (?)", ((k,) for k in range(1, times + 1)))
    by_job = {"attempts": "job_id", "job_tags": "job_id", "batch_jobs": "job_id"}
    again = f"(id - 1) * {times} + k"
    fresh = {"id": again, "source_hash": "lower(hex(randomblob(32)))"}
    _fill(connection, "jobs", fresh, "small.jobs CROSS JOIN copies ORDER BY small.jobs.id, k")
    for table, column in by_job.items():
        values = {column: f"({column} - 1) * {times} + k"}
        _fill(connection, table, values, f"small.{table} CROSS JOIN copies ORDER BY 1, 2")
    files = {"key": "'sources/' || j.source_hash", "sha256": "j.source_hash"}
    source = f"main.jobs AS j JOIN small.jobs AS s ON s.id = (j.id - 1) / {times} + 1"
    source += " JOIN small.files AS f ON f.key = 'sources/' || s.source_hash ORDER BY j.source_hash"
    _fill(connection, "files", files, source, prefix="f.")
    spans = {"first_id": f"(first_id - 1) * {times} + 1", "last_id": f"last_id * {times}"}
    _fill(connection, "job_hours", spans, "small.job_hours")
    for table in sorted(SCALED):
        _fill(connection, table, {name: f"{name} * {times}" for name in SCALED[table]}, f"small.{table}")
    done = {"jobs", "files", "job_hours", *by_job, *SCALED, "group_lines", "group_runs"}  # no job has a group
    tables = connection.execute(
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
    ).fetchall()
    for table in sorted({str(name) for (name,) in tables if not name.startswith(INDEX)} - done):
        _fill(connection, table, {}, f"small.{table}")


def _fill(connection: apsw.Connection, table: str, values: dict[str, str], source: str, *, prefix: str = "") -> None:
    """INSERT all columns of `table`: those of `values` by their expressions, the others as they are."""
    columns = [str(name) for (name,) in connection.execute(f"SELECT name FROM main.pragma_table_info('{table}')")]
    chosen = ", ".join(values.get(name, f'{prefix}"{name}"') for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    connection.execute(f'DELETE FROM main."{table}"')  # what a migration has put there comes along with the copy
    connection.execute(f'INSERT INTO main."{table}" ({names}) SELECT {chosen} FROM {source}')
