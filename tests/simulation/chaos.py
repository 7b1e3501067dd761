"""Makes things go wrong, one after the other, for as long as the play has its faults. Owns its dice."""

from __future__ import annotations

import random

import trio

from tests.simulation.clock import WallClock
from tests.simulation.faults import ERRS, HANGS, LATE, Weather
from tests.simulation.history import History
from tests.simulation.machine import Machine

KINDS = ("slow", "slow", "commits", "statements", "objects", "network", "kill", "kill by commit", "stop", "clock")
JUMPS = (3600.0, -3600.0, 86_400.0, -30.0, 30.0, 5.0)


class Chaos:
    """Each play has some kinds of faults and not the others, so that each kind is met alone and in company."""

    def __init__(
        self, dice: random.Random, *, machine: Machine, weather: Weather, clock: WallClock, history: History
    ) -> None:
        self._dice = dice
        self._machine = machine
        self._weather = weather
        self._clock = clock
        self._history = history
        self.kinds = tuple(kind for kind in KINDS if dice.random() < 0.4) or (dice.choice(KINDS),)

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
                self._machine.kill()
            case "stop":
                self._machine.stop()
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
            case _:
                weather.killed_by_commit = dice.choice((0.1, 0.5))
                await trio.sleep(lasts)
                weather.killed_by_commit = 0.0
        self._history.say(f"over: {kind}")
