"""The same statements straight on apsw: recorded from the real effects, then run again without them.

What is left is SQLite, its COMMIT and the binding; the difference to the server's rate is what our own Python costs.
As the statements are recorded and not written down a second time, they are always those of this revision.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from actors.effects import perform
from actors.effects.needs import needs_of
from actors.effects.transaction import Rules, Transaction
from actors.messages import Claim, Command, Complete, Register
from bench import filling
from bench.load import Tally
from bench.plan import BenchError
from blobforge.machinery.clock import wall_ms
from blobforge.store.sqlite.database import open_writer
from blobforge.store.sqlite.store import Store

Statement = tuple[str, Any]
TYPE = "pdf"
RESULT = '{"pages":1}'


class Replay:
    """Claim+complete cycles on databases in `folder`, all from one start: `jobs` pending, `workers` registered."""

    def __init__(self, folder: Path, *, jobs: int, workers: int) -> None:
        self._folder = folder
        self._jobs = jobs
        self._workers = workers
        self._origin = folder / "origin.db"
        filling.pending(self._origin, jobs, TYPE)
        store = Store(open_writer(self._origin))
        with store.transaction():
            tx = Transaction(store, Rules(), wall_ms(), random.Random(1))
            for number in range(workers):
                perform(tx, Register(filling.ADMIN, f"bench-{number}", TYPE))
        store.close()
        self._tapes: dict[tuple[int, int], list[Statement]] = {}

    def statements(self, group: int, cycles: int) -> Tally:
        """`cycles` cycles, `group` claims or completions to a transaction, as bare statements."""
        if (group, cycles) not in self._tapes:
            self._tapes[group, cycles] = self._record(group, cycles)
        tape = self._tapes[group, cycles]
        tally = Tally()
        connection = open_writer(self._fresh())
        with _running(tally, connection):
            for sql, values in tape:
                connection.execute(sql, values).fetchall()
        tally.done = cycles // group * group
        return tally

    def effects(self, group: int, cycles: int) -> Tally:
        """The same with our own rules around the statements, in one thread: no actor, no hop."""
        tally = Tally()
        connection = open_writer(self._fresh())
        with _running(tally, connection):
            for _ in self._cycles(connection, group, cycles):
                tally.done += group
        return tally

    def fresh_store(self, synchronous: str = "FULL") -> Store:
        """A store of its own on a copy of the start."""
        connection = open_writer(self._fresh())
        connection.execute(f"PRAGMA synchronous={synchronous}")
        return Store(connection)

    def _record(self, group: int, cycles: int) -> list[Statement]:
        tape: list[Statement] = []

        def note(_: apsw.Cursor, sql: str, values: Any) -> bool:
            tape.append((sql, values))
            return True

        connection = open_writer(self._fresh())
        connection.exec_trace = note
        try:
            for _ in self._cycles(connection, group, cycles):
                pass
        finally:
            connection.exec_trace = None
            connection.close()
        return tape

    def _cycles(self, connection: apsw.Connection, group: int, cycles: int) -> Iterator[None]:
        if cycles > self._jobs:
            raise BenchError(f"{cycles} cycles, and only {self._jobs} jobs")
        store = Store(connection)
        dice = random.Random(1)
        for start in range(0, cycles // group * group, group):
            claims = [
                Claim(filling.ADMIN, f"bench-{at % self._workers}", (TYPE,)) for at in range(start, start + group)
            ]
            granted = _together(Transaction(store, Rules(), wall_ms(), dice), claims)
            held = [
                (claim.worker_id, job) for claim, grant in zip(claims, granted, strict=True) for job in grant.jobs
            ]
            completions = [Complete(filling.ADMIN, worker, job.id, job.lease, result=RESULT) for worker, job in held]
            _together(Transaction(store, Rules(), wall_ms(), dice), completions)
            yield

    def _fresh(self) -> Path:
        """The start again; what a run before wrote is gone."""
        path = self._folder / "run.db"
        for old in self._folder.glob("run.db*"):
            old.unlink()
        shutil.copyfile(self._origin, path)
        os.sync()  # or the first commits would pay for the copy, and for what the run before left unsynced
        return path


def _together(tx: Transaction, messages: Sequence[Command]) -> list[Any]:
    """All of them in one transaction, as the writer makes it."""
    with tx.store.transaction(needs_of((message, None) for message in messages)):
        return [perform(tx, message, place) for place, message in enumerate(messages)]


@contextmanager
def _running(tally: Tally, connection: apsw.Connection) -> Iterator[None]:
    """Time the block, then close the connection."""
    began = time.perf_counter()
    try:
        yield
    finally:
        tally.seconds = time.perf_counter() - began
        connection.close()
