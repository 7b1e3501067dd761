"""One server or several, the ways to them, and processes full of clients: what all of them saw is one history."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import trio

from tests.fixtures.server import ServerProcess
from tests.system.checker import History
from tests.system.history import Book, Kind, Operation, load, now, save
from tests.system.relay import Relay

CUT = 0.02  # of all answers
STARTS = 5  # of which all but one may find no database


class Storm:
    """`rules` is what the servers were told of leases, and `workers` how many each process of clients has. `whole`
    says what is wrong with the database as a killed server left it."""

    def __init__(
        self,
        folder: Path,
        servers: Sequence[ServerProcess],
        *,
        rules: Mapping[str, Any],
        workers: Sequence[int],
        seed: int,
        whole: Callable[[], list[str]],
    ) -> None:
        self.folder = folder
        self.servers = servers
        self.dice = random.Random(seed)
        self.relays = [Relay(self.dice) for _ in servers]
        self.book = Book(folder / "storm.jsonl")
        self.clients: list[subprocess.Popen[bytes]] = []
        self.workers = workers
        self._seed = seed
        self._whole = whole
        for server in servers:
            server.folder.mkdir()
        self.book.note(Operation(kind=Kind.RULES, invoked=0, ended=0, said=dict(rules)))

    async def up(self, number: int = 0) -> None:
        """One that finds no database ends, and is started again, as its supervisor would."""
        server, began = self.servers[number], now()
        self.book.note(Operation(kind=Kind.UP, invoked=began, ended=began, server=number))
        for left in reversed(range(STARTS)):
            try:
                await trio.to_thread.run_sync(server.start)
                break
            except AssertionError:
                if not left or '"cannot start"' not in server.logged().splitlines()[-1]:
                    raise
        self.relays[number].lead_to(httpx.URL(self.servers[number].url).port or 0)

    def down(self, number: int = 0) -> None:
        """kill -9; what it leaves is whole, whenever it comes."""
        self.relays[number].lead_to(0)
        began = now()
        self.servers[number].kill()
        self.book.note(Operation(kind=Kind.DOWN, invoked=began, ended=now(), server=number))
        assert self._whole() == []

    def send_clients(self) -> None:
        urls = ",".join(relay.url for relay in self.relays)
        for number, workers in enumerate(self.workers):
            command = [sys.executable, "-m", "tests.system.clients", urls, self.servers[0].token]
            command += [str(self.folder), f"p{number}", str(workers), str(self._seed)]
            self.clients.append(subprocess.Popen(command))

    @property
    def cuts(self) -> int:
        return sum(relay.cuts for relay in self.relays)

    def clients_live(self) -> None:
        assert all(each.poll() is None for each in self.clients), "a client broke"

    async def blow_over(
        self,
        plot: Callable[[], Coroutine[Any, Any, None]],
        calm: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Play, then let everything be done and the clients end; `calm` is what is waited for then, while the ways to
        the servers are still there."""
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as starting:
                for number, relay in enumerate(self.relays):
                    starting.start_soon(self.up, number)
                    await nursery.start(relay.run)
            self.send_clients()
            self._cut(CUT)
            await trio.sleep(1.0)
            await plot()
            self._cut(0.0)
            await self._wind_down()
            if calm is not None:
                await calm()
            nursery.cancel_scope.cancel()
        assert [each.wait(60) for each in self.clients] == [0] * len(self.workers)

    def _cut(self, share: float) -> None:
        for relay in self.relays:
            relay.cut = share

    async def _wind_down(self) -> None:
        """Nothing new is submitted, and everything that was is done."""
        (self.folder / "enough").touch()
        await trio.sleep(0.5)  # who has just begun to submit
        await self.until({"completed_jobs", "dead_jobs"})
        (self.folder / "end").touch()
        while any(each.poll() is None for each in self.clients):
            await trio.sleep(0.05)

    async def until(self, fits: set[str]) -> None:
        """Wait until every job's status is among these."""
        with self.servers[0].client() as http:
            while True:
                stats = {"unknown_jobs": 1}
                with suppress(httpx.TransportError):
                    answer = await trio.to_thread.run_sync(lambda: http.get("/api/stats"))
                    stats = answer.json() if answer.status_code == 200 else stats
                open_ = {name: count for name, count in stats.items() if name.endswith("_jobs") and count}
                if all(name in fits or name == "total_jobs" for name in open_):
                    return
                self.clients_live()
                await trio.sleep(0.1)

    def read_all(self) -> None:
        """What is there in the end: all jobs, what became of them, and their outputs."""
        with self.servers[0].client() as http, httpx.Client(trust_env=False) as objects:
            jobs: list[int] = []
            cursor: dict[str, str] | None = {}
            while cursor is not None:
                page = http.get("/api/jobs", params={"limit": "100"} | cursor).json()
                jobs += [each["id"] for each in page["jobs"]]
                cursor = {"cursor": page["next_cursor"]} if "next_cursor" in page else None
            began = now()
            self.book.note(Operation(kind=Kind.LIST, invoked=began, ended=began, said={"jobs": jobs}))
            for job_id in jobs:
                self._read(http, objects, job_id)

    def _read(self, http: httpx.Client, objects: httpx.Client, job_id: int) -> None:
        began = now()
        answer = http.get(f"/api/jobs/{job_id}")
        job = answer.json()
        tries = [[each["worker_id"], each.get("outcome", "")] for each in job["attempt_history"]]
        said = {"status": job["status"], "tries": tries, "attempts": job["attempts"]}
        status = answer.status_code
        self.book.note(Operation(kind=Kind.READ, invoked=began, ended=now(), job=job_id, status=status, said=said))
        if job["status"] == "completed":
            content = objects.get(http.get(f"/api/files/{job_id}/output/url").json()["url"]).content
            digest = hashlib.sha256(content).hexdigest()
            self.book.note(
                Operation(kind=Kind.OUTPUT, invoked=began, ended=now(), job=job_id, said={"sha256": digest})
            )

    def judged(self) -> list[Operation]:
        """End the servers; returns the history, when it is as promised."""
        self.read_all()
        for server in self.servers:
            assert server.stop() == 0
            assert "unhandled" not in server.logged()
        every = load(sorted(self.folder.glob("*.jsonl")))
        # Registrations are no part of any job's life.
        operations = [each for each in every if each.kind is not Kind.RULES or not each.client]
        faults = History(operations).faults()
        if faults:
            kept = keep(operations)
            raise AssertionError(f"{len(faults)} faults, history in {kept}:\n" + "\n".join(faults[:5]))
        return operations

    def close(self) -> None:
        for each in self.clients:
            each.kill()
            each.wait()
        for server in self.servers:
            server.close()
        self.book.close()


@contextmanager
def storm(*given: Any, **more: Any) -> Iterator[Storm]:
    """One of these, ended whatever state it is in."""
    blowing = Storm(*given, **more)
    try:
        yield blowing
    finally:
        blowing.close()


def keep(operations: list[Operation]) -> Path:
    """Where nobody cleans up behind the tests."""
    folder = Path(os.environ.get("HISTORIES", ".cache/histories"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    save(path, operations)
    return path
