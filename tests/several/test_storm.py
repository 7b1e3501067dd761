"""Three servers on one PostgreSQL, and clients spread over them: servers, backends and the database are killed and
stopped, and their connections cut. What all clients saw is one history, which must be one that keeps the promises;
and every stream of events has told all that was committed, once and in its order.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import trio

from blobforge.store.postgres.check import check
from tests.fixtures.cable import Cable
from tests.fixtures.postgres import Cluster, running_postgres
from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess
from tests.several.streams import LogReader, Reader, as_told
from tests.system.history import Kind, Operation
from tests.system.storm import Storm, storm

SOAK = "SOAK" in os.environ  # `make soak`: the long version
SEED = int(os.environ.get("SEED") or (time.time() if SOAK else 20261128))
SERVERS = 3
WORKERS = (8, 21, 32) if SOAK else (10, 11, 11)  # in each process
LEASE = 3.0  # seconds
LIMITS = {"worker_timeout": LEASE, "retry_backoff": 0, "max_attempts": 3, "max_losses": 4}
LASTING = 20.0  # seconds in which the database may commit what a server sent that is dead
# How often each comes. The first number is of the suite.
FAULTS = {
    "server killed": (4, 50),
    "server stopped": (1, 20),
    "server stopped for long": (1, 10),
    "backends ended": (3, 30),
    "backend killed": (1, 20),
    "backends stopped": (1, 20),
    "database killed": (1, 20),
    "connections cut": (3, 30),
}
STOPPED, LONG = 2.5, 11.0  # seconds: as long as a turn may be held idle; longer than every time-out
HEARD_OUT = 60.0  # seconds after which what was not told is missed
PATIENCE = 3600 if SOAK else 300  # seconds for all of it on the slowest machine


class Faults:
    """What is done to them. Each server has a cable to the database, whose `url` is direct."""

    def __init__(self, blowing: Storm, cluster: Cluster, database: str, cables: list[Cable]) -> None:
        self.done: Counter[str] = Counter()
        self._storm = blowing
        self._cluster = cluster
        self._database = database
        self.url = cluster.url(database)
        self._cables = cables
        self._dice = blowing.dice

    async def play(self) -> None:
        plan = [name for name, counts in FAULTS.items() for _ in range(counts[SOAK])]
        self._dice.shuffle(plan)
        for name in plan:
            await trio.sleep(self._dice.uniform(0.2, 1.5))
            self._storm.clients_live()
            number = self._dice.randrange(SERVERS)
            match name:
                case "server killed":
                    self._storm.down(number)
                    await trio.sleep(self._dice.uniform(0, 1))
                    await self._storm.up(number)
                case "server stopped":
                    await self._stop([self._pid(number)], STOPPED)
                case "server stopped for long":
                    await self._stop([self._pid(number)], LONG if SOAK else STOPPED * 2)
                case "backends ended":
                    self._signal(self._some_backends(4), signal.SIGTERM)
                case "backend killed":  # the others end with it, and the database recovers
                    self._signal(self._some_backends(1), signal.SIGKILL)
                    await self._whole_again()
                case "backends stopped":
                    await self._stop(self._some_backends(4), STOPPED)
                case "database killed":
                    await trio.to_thread.run_sync(self._cluster.kill)
                    await trio.sleep(self._dice.uniform(0, 2))
                    self._cluster.start()  # in this thread: it ends with the one that starts it
                case "connections cut":
                    self._cables[number].cut_after(self._dice.randrange(2), self._dice.randrange(5000))
            self.done[name] += 1

    def _pid(self, number: int) -> int:
        process = self._storm.servers[number].process
        assert process is not None
        return process.pid

    def _some_backends(self, count: int) -> list[int]:
        with suppress(Exception):  # it recovers
            there = self._cluster.backends(self._database)
            return self._dice.sample(there, min(count, len(there)))
        return []

    def _signal(self, pids: list[int], number: int) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def _stop(self, pids: list[int], seconds: float) -> None:
        self._signal(pids, signal.SIGSTOP)
        try:
            await trio.sleep(seconds)
        finally:
            self._signal(pids, signal.SIGCONT)

    async def _whole_again(self) -> None:
        """It answers."""
        while True:
            with suppress(Exception):
                await trio.to_thread.run_sync(self._cluster.execute, "SELECT 1")
                return
            await trio.sleep(0.05)


@contextmanager
def stage(folder: Path, seaweed: Seaweed) -> Iterator[tuple[Storm, Faults, LogReader]]:
    with ExitStack() as opened:
        # It does not wait for the disk; what is killed here are processes, and what they wrote stays.
        cluster = opened.enter_context(running_postgres(durable=True, settings={"fsync": "off"}))
        database = cluster.database()
        url = cluster.url(database)
        cables = [Cable(cluster.port) for _ in range(SERVERS)]
        for cable in cables:
            opened.callback(cable.close)
        s3 = seaweed.settings(f"several/{folder.name}")
        servers = [
            ServerProcess(
                folder / f"s{number}", server_name=f"s{number}",
                database_url=cluster.url(database, port=cables[number].port), **s3, **LIMITS,
            )
            for number in range(SERVERS)
        ]  # fmt: skip
        said = {"timeout": round(LEASE * 1e9), "max_attempts": 3, "max_losses": 4, "lasting": round(LASTING * 1e9)}
        blowing = opened.enter_context(
            storm(folder, servers, rules=said, workers=WORKERS, seed=SEED, whole=lambda: check(url))
        )
        log = LogReader(url)
        opened.callback(log.close)
        yield blowing, Faults(blowing, cluster, database, cables), log


@pytest.mark.timeout(PATIENCE + 60)
async def test_three_servers_keep_the_promises_of_one(tmp_path: Path, seaweed: Seaweed) -> None:
    with stage(tmp_path, seaweed) as (blowing, faults, log), trio.fail_after(PATIENCE):
        readers: list[Reader] = []
        began: list[tuple[int, ...]] = []
        ended: list[tuple[int, ...]] = []

        async def plot() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(log.run)
                await faults.play()
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as watching:

            async def watched() -> None:
                places = [lambda relay=relay: relay.url for relay in blowing.relays]
                for number in range(SERVERS):
                    readers.append(Reader(places, blowing.servers[0].token, number))
                    watching.start_soon(readers[-1].run)
                for reader in readers:
                    await reader.began.wait()
                began.append(max(reader.position for reader in readers))
                await plot()

            async def heard_out() -> None:
                """All that is committed is told: the streams go through the relays, which end with this."""
                while not log.read():  # the last fault may have been one of its connection
                    await trio.sleep(0.1)
                ended.append(log.told()[-1].place)
                with trio.move_on_after(HEARD_OUT):
                    while any(reader.position < ended[0] for reader in readers):
                        await trio.sleep(0.1)

            await blowing.blow_over(watched, heard_out)
            watching.cancel_scope.cancel()
        operations = blowing.judged()
        assert check(faults.url) == []
    assert as_told(readers, log, after=began[0], until=ended[0]) == []
    it_was_a_storm(operations, faults, blowing.cuts)


def it_was_a_storm(operations: list[Operation], faults: Faults, cuts: int) -> None:
    """Of everything there was something, or the test has tested nothing."""
    assert faults.done == {name: counts[SOAK] for name, counts in FAULTS.items()}
    seen = Counter((each.kind, each.status if each.returned else 0) for each in operations)
    kills = FAULTS["server killed"][SOAK]
    assert seen[Kind.DOWN, 0] == kills
    assert cuts > kills
    for kind in (Kind.SUBMIT, Kind.CLAIM, Kind.COMPLETE):
        assert seen[kind, 200] + seen[kind, 201] > kills
    assert seen[Kind.AWAY, 503] > 0
    outcomes = Counter(outcome for each in operations if each.kind is Kind.READ for _, outcome in each.said["tries"])
    assert outcomes["lost"] > 0
    assert outcomes["failed"] > 0
    assert outcomes["released"] > 0
    assert len({each.server for each in operations if each.kind is Kind.COMPLETE}) == SERVERS
