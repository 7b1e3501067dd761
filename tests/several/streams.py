"""The history as several servers tell it: event streams, and the log that they are made of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any, NamedTuple

import httpx
import msgspec
import trio

from blobforge.events import EVENT_NAMES
from blobforge.store.errors import StoreUnavailable
from blobforge.store.following import Entry
from blobforge.store.postgres.follower import PostgresFollower

AGAIN = 0.1  # seconds


class Told(NamedTuple):
    """An event. `id` is its place in the history."""

    id: str
    name: str
    data: Any

    @property
    def place(self) -> tuple[int, ...]:
        return tuple(map(int, self.id.split(".")))


class Reader:
    """Reads events from one server, and goes on at the next one when its stream ends, or after so many events."""

    def __init__(
        self, url_of: Sequence[Callable[[], str]], token: str, number: int = 0, *, leaves_after: int = 0
    ) -> None:
        self.told: list[Told] = []
        self.streams = 0
        self.resyncs = 0
        self.began = trio.Event()
        self._url_of = url_of
        self._token = token
        self._number = number
        self._last = ""
        self._leaves_after = leaves_after

    @property
    def position(self) -> tuple[int, ...]:
        return tuple(map(int, self._last.split(".")))

    async def run(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:
            while True:
                with suppress(httpx.TransportError, httpx.HTTPStatusError):
                    await self._read(http)
                await trio.sleep(AGAIN)
                self._number = (self._number + 1) % len(self._url_of)

    async def _read(self, http: httpx.AsyncClient) -> None:
        headers = {"Last-Event-ID": self._last} if self._last else {}
        async with http.stream("GET", self._url_of[self._number]() + "/events", headers=headers) as response:
            response.raise_for_status()
            self.streams += 1
            frame: dict[str, str] = {}
            before = len(self.told)
            async for line in response.aiter_lines():
                name, _, value = line.partition(": ")
                if line:
                    frame[name] = value
                    continue
                self._take(frame)
                frame = {}
                if self._leaves_after and len(self.told) >= before + self._leaves_after:
                    return

    def _take(self, frame: dict[str, str]) -> None:
        """A whole frame: one that was cut off is not taken."""
        self._last = frame.get("id", self._last)
        name = frame.get("event", "")
        self.resyncs += name == "resync"
        if self._last:
            self.began.set()
        if name in EVENT_NAMES and name != "stats_updated":
            self.told.append(Told(frame["id"], name, msgspec.json.decode(frame["data"])["data"]))


class LogReader:
    """Reads all of the log, before it is pruned."""

    def __init__(self, url: str) -> None:
        self.entries: list[Entry] = []
        self._follower = PostgresFollower(url)

    async def run(self) -> None:
        while True:
            await trio.to_thread.run_sync(self.read)
            await trio.sleep(AGAIN)

    def read(self) -> bool:
        """All that there is. False: the connection was lost on the way."""
        try:
            while found := self._follower.read(self.entries[-1].n if self.entries else 0, 1000):
                self.entries += found
        except StoreUnavailable:
            return False
        return True

    def told(self) -> list[Told]:
        return [
            Told(f"{entry.n}.{index}", event.name, msgspec.json.decode(msgspec.json.encode(event)))
            for entry in self.entries
            for index, event in enumerate(entry.events, start=1)
        ]

    def close(self) -> None:
        self._follower.close()


def as_told(
    readers: Sequence[Reader],
    log: LogReader,
    after: tuple[int, ...] = (0, 0),
    until: tuple[int, ...] = (sys.maxsize, 0),
) -> list[str]:
    """What is wrong with what they were told; empty where it is all that was committed between these places, once
    and in order."""
    found = []
    numbers = [entry.n for entry in log.entries]
    if numbers != list(range(1, len(numbers) + 1)):
        gaps = [n for n, next_ in pairwise(numbers) if next_ != n + 1]
        found.append(f"the log has gaps, behind {gaps[:5]}")
    every = {each.id: each for each in log.told() if after < each.place <= until}
    for number, reader in enumerate(readers):
        told = [each for each in reader.told if after < each.place <= until]
        again = [each for each, next_ in pairwise(told) if next_.place <= each.place]
        if again:
            found.append(f"reader {number} was told out of order, or twice: behind {again[:5]}")
        missed = every.keys() - {each.id for each in told}
        if missed:
            found.append(f"reader {number} has missed {len(missed)} events: {sorted(missed)[:5]}")
        other = [each for each in told if every.get(each.id) != each]
        if other:
            found.append(f"reader {number} was told {len(other)} other things: {other[:5]}")
        if reader.resyncs:
            found.append(f"reader {number} was told to resync {reader.resyncs} times")
    return found
