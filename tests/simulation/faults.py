"""What goes wrong, and the places where it is let in: blocking calls that take their time, a database that cannot
write, an object store that errs, hangs or answers late.

Owns: what is wrong just now (`Weather`). Nothing here is known to the product: calls go through the hop that it is
given, the writer's statements through what each engine has for it (`tests/fixtures/engines.py`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import trio

from blobforge.objects import ObjectStoreError
from tests.fixtures.engines import ERRS, FULL

T = TypeVar("T")

HANG = 60.0
WELL, HANGS, LATE = "well", "hangs", "late"


@dataclass
class Weather:
    """What is wrong just now. Chances are between 0 and 1, times in seconds."""

    slow: float = 0.0  # that a blocking call of the server waits, before it or behind it
    slow_for: float = 3.0
    commits_fail: float = 0.0
    statements_fail: float = 0.0
    objects: str = WELL
    objects_chance: float = 0.5
    network: float = 0.0  # that a request, or its answer, gets lost, is late, is sent twice
    killed_by_commit: float = 0.0  # that the server is killed just before a transaction, or just behind it
    # Of several servers on one database:
    killed_in_turn: float = 0.0  # that it is killed in its transaction
    cut: float = 0.0  # that its connection is lost in COMMIT, before that is done or behind it

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    @property
    def calm(self) -> bool:
        return self == Weather(slow_for=self.slow_for, objects_chance=self.objects_chance)


class Process:
    """What one run of the server does through its seams, until it is killed. Then it does nothing more."""

    def __init__(self, weather: Weather, dice: random.Random, killed: Callable[[], None]) -> None:
        self.scope = trio.CancelScope()
        self.requests: set[trio.CancelScope] = set()
        self.ready = False
        self.dead = False
        self.commits = 0
        self._weather = weather
        self._dice = dice
        self._killed = killed
        self._waits: set[trio.CancelScope] = set()
        self.slow_until = 0.0  # when the last call that was made to wait went on; inf: one still waits

    @property
    def disturbed_until(self) -> float:
        """When what this server cannot help kept it waiting last; inf: it still does."""
        return self.slow_until

    def die(self) -> None:
        self.dead = True
        for scope in self._waits:
            scope.shield = False
        for scope in (self.scope, *self.requests):
            scope.cancel()

    async def hop(self, call: Callable[[], T], /) -> T:
        """The hop of the writer and of all readers. What has begun is seen through, as in a thread."""
        await trio.lowlevel.checkpoint()
        await self._wait()
        before = self.commits
        result = call()
        if self.commits > before and self.ready and self._dice.random() < self._weather.killed_by_commit:
            self._killed()
            await trio.sleep_forever()
        await self._wait()
        return result

    async def _wait(self) -> None:
        if self.dead:
            await trio.sleep_forever()
        if not self.ready or self._dice.random() >= self._weather.slow:
            return
        with trio.CancelScope(shield=True) as scope:
            self._waits.add(scope)
            self.slow_until = math.inf
            await trio.sleep(self._dice.uniform(0.001, self._weather.slow_for))
            self._waits.discard(scope)
        self.slow_until = math.inf if self._waits else trio.current_time()
        if self.dead:
            await trio.sleep_forever()

    def fault(self, statement: str) -> str | None:
        """What a statement of the writer meets, by its first word."""
        verb = statement.split(None, 1)[0]
        if not self.ready or verb == "ROLLBACK":
            return None
        if verb == "COMMIT":
            if self._dice.random() < self._weather.commits_fail:
                return FULL
            self.commits += 1
        elif self._weather.statements_fail and self._dice.random() < self._weather.statements_fail:
            return ERRS
        return None


class StoreHop:
    """The hop of an object store: what happens to each call is the weather's. `alive` is whether its server is."""

    def __init__(
        self, weather: Weather, dice: random.Random, threads: trio.Nursery, alive: Callable[[], bool] = lambda: True
    ) -> None:
        self._weather = weather
        self._dice = dice
        self._threads = threads
        self._alive = alive

    async def __call__(self, call: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        weather = self._weather
        if weather.objects != WELL and self._dice.random() < weather.objects_chance:
            match weather.objects:
                case "errs":
                    await trio.sleep(self._dice.uniform(0.0, 0.2))
                    raise ObjectStoreError("500 internal error, in a play")
                case "hangs":
                    await trio.sleep(HANG)  # longer than anybody's deadline
                    raise ObjectStoreError("the connection broke, in a play")
                case _:
                    return await self._late(call)
        if not self._alive():
            await trio.sleep_forever()
        return call()

    async def _late(self, call: Callable[[], T]) -> T:
        """Done later, and answered later still; done also if nobody waits any more, as by a thread left behind."""
        done = trio.Event()
        results: list[T | Exception] = []
        before, behind = self._dice.uniform(0.1, 8.0), self._dice.uniform(0.0, 3.0)

        async def thread() -> None:
            await trio.sleep(before)
            if not self._alive():
                return
            try:
                results.append(call())
            except Exception as error:
                results.append(error)
            await trio.sleep(behind)
            done.set()

        self._threads.start_soon(thread)
        await done.wait()
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]
