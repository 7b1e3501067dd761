"""Those who listen to events, at one server and then at another; in the end they must have heard the same history."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import trio

from blobforge.events import EVENT_NAMES
from tests.several.streams import LogReader, Told, as_told
from tests.simulation.history import History

COUNTED = ("job_created", "job_completed")
CAUGHT_UP = 60.0  # seconds, within which all that was told has reached each of them, when all is well


class Streaming(Protocol):
    async def stream(
        self, path: str, *, headers: dict[str, str], gone_at: float, hear: Callable[[bytes], None]
    ) -> None: ...


class Listener:
    """`told` and `resyncs` are as `tests.several.streams.as_told` judges them."""

    def __init__(self, dice: random.Random, servers: Sequence[Streaming]) -> None:
        self.told: list[Told] = []
        self.resyncs = 0
        self.began = ""  # the place behind which it has been told everything
        self._last = ""
        self._dice = dice
        self._servers = servers

    @property
    def at(self) -> tuple[int, ...]:
        return _place(self._last)

    async def run(self) -> None:
        while True:
            headers = {"last-event-id": self._last} if self._last else {}
            leaves_at = trio.current_time() + self._dice.choice((1.0, self._dice.uniform(0.0, 20.0), 60.0))
            server = self._dice.choice(self._servers)
            await server.stream("/events", headers=headers, gone_at=leaves_at, hear=self._hear)
            await trio.sleep(self._dice.choice((0.1, 0.1, 3.0)))

    def _hear(self, piece: bytes) -> None:
        for frame in piece.decode().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in frame.splitlines() if line and not line.startswith(":"))
            self._take(lines)

    def _take(self, frame: dict[str, str]) -> None:
        self._last = frame.get("id", self._last)
        self.began = self.began or self._last
        name = frame.get("event", "")
        self.resyncs += name == "resync"
        if name in EVENT_NAMES and name != "stats_updated":
            self.told.append(Told(frame["id"], name, msgspec.json.decode(frame["data"])["data"]))


async def agree(listeners: Sequence[Listener], url: str, history: History) -> None:
    """Each was told all that was committed since it began, once and in order."""
    log = LogReader(url)
    try:
        log.read()
        told = log.told()
        if not told:
            return
        with trio.move_on_after(CAUGHT_UP):
            while any(each.at < told[-1].place for each in listeners):
                await trio.sleep(1.0)
        for listener in listeners:
            found = as_told([listener], log, after=_place(listener.began), until=told[-1].place)  # type: ignore[list-item]
            for wrong in found:
                history.broken("every event is told at every server, once and in order", wrong)
        told_of = Counter((each.name, each.data["job_id"]) for each in told if each.name in COUNTED)
        for what in told_of.keys() | +history.happened:
            if told_of[what] != history.happened[what]:
                how = f"{what[0]} of job {what[1]} {told_of[what]} times, and it was {history.happened[what]}"
                history.broken("what is done once is told once", how)
    finally:
        log.close()


def _place(id_: str) -> tuple[int, ...]:
    return tuple(map(int, id_.split("."))) if "." in id_ else (0, 0)
