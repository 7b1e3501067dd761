"""Those who listen to events, at one server and then at another; in the end they must have heard the same history."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import trio

from blobforge.canary import MARK
from blobforge.events import EVENT_NAMES
from tests.several.streams import Told, as_told
from tests.simulation.history import History
from tests.simulation.replay import SeenLog

COUNTED = ("job_created", "job_completed")
CAUGHT_UP = 60.0  # seconds, within which all that was told has reached each of them, when all is well
AWAY = (25.0, 60.0)  # seconds, for which a listener is away for long


class Streaming(Protocol):
    async def stream(
        self, path: str, *, headers: dict[str, str], gone_at: float, hear: Callable[[bytes], None]
    ) -> None: ...


class Stretch:
    """What a listener was told without a break, behind a place. `told` and `resyncs` are as
    `tests.several.streams.as_told` judges them."""

    def __init__(self, began: str) -> None:
        self.told: list[Told] = []
        self.resyncs = 0
        self.began = began
        self.last = began


class Listener:
    """`log` is what it is told of. One that is away for longer than the log is kept has to begin anew."""

    def __init__(self, dice: random.Random, servers: Sequence[Streaming], log: SeenLog, history: History) -> None:
        self.stretches: list[Stretch] = []
        self._last = ""
        self._dice = dice
        self._servers = servers
        self._log = log
        self._history = history
        self._over = False

    @property
    def at(self) -> tuple[int, ...]:
        return _place(self._last)

    async def run(self) -> None:
        while True:
            headers = {"last-event-id": self._last} if self._last else {}
            leaves_at = trio.current_time() + self._dice.choice((1.0, self._dice.uniform(0.0, 20.0), 60.0))
            server = self._dice.choice(self._servers)
            await server.stream("/events", headers=headers, gone_at=leaves_at, hear=self._hear)
            away = self._dice.choice((0.1, 0.1, 3.0, self._dice.uniform(*AWAY)))
            await trio.sleep(min(away, 3.0) if self._over else away)

    def stay(self) -> None:
        """It is not away for long any more."""
        self._over = True

    def _hear(self, piece: bytes) -> None:
        for frame in piece.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in frame.splitlines() if line and not line.startswith(":"))
            self._take(lines)

    def _take(self, frame: dict[str, str]) -> None:
        before, self._last = self._last, frame.get("id", self._last)
        name = frame.get("event", "")
        if name == "resync" and self.stretches:
            self._log.read()
            if _place(before)[0] > self._log.gone:
                how = f"it had come to {before}, and the log is gone up to turn {self._log.gone}"
                self._history.broken("a listener that comes back in time is told what it has missed", how)
        if self._last and (name == "resync" or not self.stretches):
            self.stretches.append(Stretch(self._last))
        if self.stretches:
            self.stretches[-1].last = self._last
        if name in EVENT_NAMES and name != "stats_updated":
            self.stretches[-1].told.append(Told(frame["id"], name, msgspec.json.decode(frame["data"])["data"]))


async def agree(listeners: Sequence[Listener], log: SeenLog, history: History) -> None:
    """Each was told all that was committed in each of its stretches, once and in order."""
    log.read()
    told = log.told()
    if not told:
        return
    for listener in listeners:
        listener.stay()
    with trio.move_on_after(AWAY[1] + CAUGHT_UP):
        while any(each.at < told[-1].place for each in listeners):
            await trio.sleep(1.0)
    for listener in listeners:
        for stretch in listener.stretches:
            whole = stretch is listener.stretches[-1]
            until = told[-1].place if whole else _place(stretch.last)
            found = as_told([stretch], log, after=_place(stretch.began), until=until)  # type: ignore[list-item,arg-type]
            for wrong in found:
                history.broken("every event is told at every server, once and in order", wrong)
    for each in told:
        if MARK in str(each.data.get("type", "")):
            history.broken("subscribers are told nothing of comparisons", f"{each}")
    told_of = Counter((each.name, each.data["job_id"]) for each in told if each.name in COUNTED)
    for what in told_of.keys() | +history.happened:
        if told_of[what] != history.happened[what]:
            how = f"{what[0]} of job {what[1]} {told_of[what]} times, and it was {history.happened[what]}"
            history.broken("what is done once is told once", how)


def _place(id_: str) -> tuple[int, ...]:
    return tuple(map(int, id_.split("."))) if "." in id_ else (0, 0)
