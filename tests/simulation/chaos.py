"""Makes things go wrong, one after the other, for as long as the play has its faults. Owns its dice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol

import trio

from tests.simulation.clock import WallClock
from tests.simulation.faults import ERRS, HANGS, LATE, Weather
from tests.simulation.history import History
from tests.simulation.shared import SharedDatabase

KINDS = ("slow", "slow", "commits", "statements", "objects", "network", "kill", "kill by commit", "stop", "clock")
# Where several servers share a database; "away" is the database.
OF_SEVERAL = ("kill in turn", "cut", "cut", "sleep", "sleep", "sleep", "away")
OF_CLIENTS = ("network",)  # which servers cannot help and are not hindered by
JUMPS = (3600.0, -3600.0, 86_400.0, -30.0, 30.0, 5.0)


class Server(Protocol):
    def kill(self) -> None: ...

    def stop(self) -> None: ...


class SharingServer(Server, Protocol):
    async def stand_still(self, seconds: float) -> None: ...


class Chaos:
    """Each play has some kinds of faults and not the others, so that each kind is met alone and in company."""

    def __init__(
        self, dice: random.Random, *, servers: Sequence[Server], weather: Weather, clock: WallClock, history: History,
        kinds: Sequence[str] = KINDS,
    ) -> None:  # fmt: skip
        self._dice = dice
        self._servers = servers
        self._weather = weather
        self._clock = clock
        self._history = history
        self.kinds = tuple(kind for kind in kinds if dice.random() < 0.4) or (dice.choice(kinds),)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await trio.sleep(self._dice.expovariate(1 / 10))
                nursery.start_soon(self._spell, self._dice.choice(self.kinds))

    async def _spell(self, kind: str) -> None:
        dice, weather = self._dice, self._weather
        lasts = dice.choice((dice.uniform(0.0, 3.0), dice.uniform(3.0, 40.0)))
        self._history.say(f"fault: {kind}")
        match kind:
            case "kill":
                self._one().kill()
            case "stop":
                self._one().stop()
            case "clock":
                self._clock.jump(dice.choice(JUMPS))
            case "slow":
                weather.slow, weather.slow_for = dice.choice((0.05, 0.3, 1.0)), dice.choice((0.05, 1.0, 4.0))
                await trio.sleep(lasts)
                weather.slow = 0.0
            case "commits":
                weather.commits_fail = dice.choice((0.2, 0.6, 1.0))
                await trio.sleep(lasts)
                weather.commits_fail = 0.0
            case "statements":
                weather.statements_fail = dice.choice((0.01, 0.1))
                await trio.sleep(lasts)
                weather.statements_fail = 0.0
            case "objects":
                weather.objects, weather.objects_chance = dice.choice((ERRS, HANGS, LATE)), dice.choice((0.3, 1.0))
                await trio.sleep(lasts)
                weather.objects = "well"
            case "network":
                weather.network = dice.choice((0.1, 0.3, 0.7))
                await trio.sleep(lasts)
                weather.network = 0.0
            case "kill by commit":
                weather.killed_by_commit = dice.choice((0.1, 0.5))
                await trio.sleep(lasts)
                weather.killed_by_commit = 0.0
            case _:
                await self._of_several(kind, lasts)
        self._history.say(f"over: {kind}")

    async def _of_several(self, kind: str, lasts: float) -> None:
        raise ValueError(kind)

    def _one(self) -> Server:
        return self._servers[0] if len(self._servers) == 1 else self._dice.choice(self._servers)


class ChaosOfSeveral(Chaos):
    """`servers` share `database`."""

    def __init__(self, dice: random.Random, *, servers: Sequence[SharingServer], database: SharedDatabase,
                 weather: Weather, clock: WallClock, history: History,
                 kinds: Sequence[str] = KINDS + OF_SEVERAL) -> None:  # fmt: skip
        super().__init__(dice, servers=servers, weather=weather, clock=clock, history=history, kinds=kinds)
        self._sharing = servers
        self._database = database

    async def _of_several(self, kind: str, lasts: float) -> None:
        dice, weather = self._dice, self._weather
        match kind:
            case "kill in turn":
                weather.killed_in_turn = dice.choice((0.1, 0.5))
                await trio.sleep(lasts)
                weather.killed_in_turn = 0.0
            case "cut":
                weather.cut = dice.choice((0.1, 0.4))
                await trio.sleep(lasts)
                weather.cut = 0.0
            case "sleep":
                # Longer than any timeout, at times; another one may stand still meanwhile.
                await dice.choice(self._sharing).stand_still(dice.choice((lasts, dice.uniform(30.0, 90.0))))
            case _:
                self._database.go_away()
                await trio.sleep(lasts)
                self._database.come_back()
