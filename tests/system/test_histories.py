"""Real processes over real HTTP: servers are killed, workers frozen past their leases, answers cut off in the middle.

What every client saw is one history, and the checker must find an order in which a server that keeps its promises can
have answered so. A history that it rejects is kept; `python -m tests.system.checker FILE` judges it again.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from blobforge.store.sqlite.check import check
from tests.fixtures.server import ServerProcess
from tests.system.checker import History
from tests.system.history import Book, Kind, Operation, load, now, save
from tests.system.relay import Relay

SOAK = "SOAK" in os.environ  # `make soak`: the long version
KILLS, FREEZES = (200, 20) if SOAK else (20, 2)
WORKERS = (5, 21, 64) if SOAK else (16, 16, 16)  # in each process
SEED = int(os.environ.get("SEED") or (time.time() if SOAK else 20261123))
LEASE = 1.5  # seconds
LIMITS = {"worker_timeout": LEASE, "retry_backoff": 0, "max_attempts": 3, "max_losses": 4}
PATIENCE = 1800 if SOAK else 240  # seconds for all of it on the slowest machine


class Storm:
    """The server, the way to it, and the processes of its clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ServerProcess(folder / "data", **LIMITS)
        self.server.folder.mkdir()
        self.dice = random.Random(SEED)
        self.relay = Relay(self.dice)
        self.book = Book(folder / "storm.jsonl")
        self.clients: list[subprocess.Popen[bytes]] = []
        said = {"timeout": round(LEASE * 1e9), "max_attempts": 3, "max_losses": 4}
        self.book.note(Operation(kind=Kind.RULES, invoked=0, ended=0, said=said))

    async def up(self) -> None:
        began = now()
        self.book.note(Operation(kind=Kind.UP, invoked=began, ended=began))
        await trio.to_thread.run_sync(self.server.start)
        self.relay.lead_to(httpx.URL(self.server.url).port or 0)

    def down(self) -> None:
        """kill -9; what it leaves is whole, whenever it comes."""
        self.relay.lead_to(0)
        began = now()
        self.server.kill()
        self.book.note(Operation(kind=Kind.DOWN, invoked=began, ended=now()))
        assert check(self.server.database) == []

    def send_clients(self) -> None:
        for number, workers in enumerate(WORKERS):
            command = [sys.executable, "-m", "tests.system.clients", self.relay.url, self.server.token]
            command += [str(self.folder), f"p{number}", str(workers), str(SEED)]
            self.clients.append(subprocess.Popen(command))

    async def freeze(self, process: subprocess.Popen[bytes]) -> None:
        """Stop all clients of a process until their leases have expired, with a server there to say so."""
        process.send_signal(signal.SIGSTOP)
        await trio.sleep(LEASE * 1.5)
        process.send_signal(signal.SIGCONT)

    async def until(self, what: str, fits: set[str]) -> None:
        """Wait until every job's status is among these."""
        with self.server.client() as http:
            while True:
                stats = await trio.to_thread.run_sync(lambda: http.get("/api/stats").json())
                open_ = {name: count for name, count in stats.items() if name.endswith("_jobs") and count}
                if all(name in fits or name == "total_jobs" for name in open_):
                    return
                assert all(each.poll() is None for each in self.clients), f"a client broke before {what}"
                await trio.sleep(0.1)

    def read_all(self) -> None:
        """What is there in the end: all jobs, what became of them, and their outputs."""
        with self.server.client() as http:
            jobs: list[int] = []
            cursor: dict[str, str] | None = {}
            while cursor is not None:
                page = http.get("/api/jobs", params={"limit": "100"} | cursor).json()
                jobs += [each["id"] for each in page["jobs"]]
                cursor = {"cursor": page["next_cursor"]} if "next_cursor" in page else None
            began = now()
            self.book.note(Operation(kind=Kind.LIST, invoked=began, ended=began, said={"jobs": jobs}))
            for job_id in jobs:
                self._read(http, job_id)

    def _read(self, http: httpx.Client, job_id: int) -> None:
        began = now()
        answer = http.get(f"/api/jobs/{job_id}")
        job = answer.json()
        tries = [[each["worker_id"], each.get("outcome", "")] for each in job["attempt_history"]]
        said = {"status": job["status"], "tries": tries, "attempts": job["attempts"]}
        status = answer.status_code
        self.book.note(Operation(kind=Kind.READ, invoked=began, ended=now(), job=job_id, status=status, said=said))
        if job["status"] == "completed":
            content = http.get(http.get(f"/api/files/{job_id}/output/url").json()["url"]).content
            digest = hashlib.sha256(content).hexdigest()
            self.book.note(
                Operation(kind=Kind.OUTPUT, invoked=began, ended=now(), job=job_id, said={"sha256": digest})
            )

    def history(self) -> list[Operation]:
        every = load(sorted(self.folder.glob("*.jsonl")))
        # Registrations are no part of any job's life.
        return [each for each in every if each.kind is not Kind.RULES or not each.client]


@contextmanager
def storm(folder: Path) -> Iterator[Storm]:
    blowing = Storm(folder)
    try:
        yield blowing
    finally:
        for each in blowing.clients:
            each.kill()
            each.wait()
        blowing.server.close()
        blowing.book.close()


@pytest.mark.timeout(PATIENCE + 60)
async def test_every_client_was_told_what_a_server_that_keeps_its_promises_says(tmp_path: Path) -> None:
    with storm(tmp_path) as blowing, trio.fail_after(PATIENCE):
        operations = await blown_over(blowing, play(blowing))
    it_was_a_storm(operations, blowing.relay.cuts)


async def blown_over(blowing: Storm, plot: Coroutine[Any, Any, None]) -> list[Operation]:
    """Play, let everything be done, read what is there; returns the history, when it is as promised."""
    async with trio.open_nursery() as nursery:
        await blowing.up()
        await nursery.start(blowing.relay.run)
        blowing.send_clients()
        blowing.relay.cut = 0.02
        await trio.sleep(1.0)
        await plot
        blowing.relay.cut = 0.0
        await wind_down(blowing)
        nursery.cancel_scope.cancel()
    assert [each.wait(60) for each in blowing.clients] == [0] * len(WORKERS)
    blowing.read_all()
    assert blowing.server.stop() == 0
    assert "unhandled" not in blowing.server.logged()
    operations = blowing.history()
    faults = History(operations).faults()
    if faults:
        kept = keep(operations)
        raise AssertionError(f"{len(faults)} faults, history in {kept}:\n" + "\n".join(faults[:5]))
    return operations


async def play(blowing: Storm) -> None:
    """Kills at random points, some of them close together; freezes, with time for leases to expire."""
    freezes = set(range(KILLS // (2 * FREEZES), KILLS, KILLS // FREEZES))
    for kill in range(KILLS):
        if kill in freezes:
            await blowing.freeze(blowing.dice.choice(blowing.clients))
        await trio.sleep(blowing.dice.uniform(0.0, 0.6))
        blowing.down()
        await blowing.up()


async def wind_down(blowing: Storm) -> None:
    """Nothing new is submitted, and everything that was is done."""
    (blowing.folder / "enough").touch()
    await trio.sleep(0.5)  # who has just begun to submit
    await blowing.until("everything was done", {"completed_jobs", "dead_jobs"})
    (blowing.folder / "end").touch()
    while any(each.poll() is None for each in blowing.clients):
        await trio.sleep(0.05)


def keep(operations: list[Operation]) -> Path:
    """Where nobody cleans up behind the tests."""
    folder = Path(os.environ.get("HISTORIES", ".cache/histories"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    save(path, operations)
    return path


def it_was_a_storm(operations: list[Operation], cuts: int) -> None:
    """Of everything there was something, or the test has tested nothing."""
    seen = Counter((each.kind, each.status if each.returned else 0) for each in operations)
    assert seen[Kind.DOWN, 0] == KILLS
    assert cuts > KILLS / 4
    for kind in (Kind.SUBMIT, Kind.CLAIM, Kind.COMPLETE):
        assert seen[kind, 200] + seen[kind, 201] > KILLS
    assert seen[Kind.CLAIM, 0] > KILLS / 2
    assert seen[Kind.COMPLETE, 409] + seen[Kind.FAIL, 409] + seen[Kind.RELEASE, 409] > 0
    outcomes = Counter(outcome for each in operations if each.kind is Kind.READ for _, outcome in each.said["tries"])
    assert outcomes["lost"] > FREEZES
    assert outcomes["failed"] > 0
    assert outcomes["released"] > 0
