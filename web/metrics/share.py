"""What one process that serves HTTP has counted, as plain data: the shares of several processes add up."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import psutil

from actors.broadcaster import Broadcaster
from blobforge.lag import LoopLag
from blobforge.objects import ObjectStore
from blobforge.tally import Spread
from blobforge.tracing import Tracer
from web.auth.throttle import Throttle
from web.limits import Limit
from web.metrics.requests import Requests

K = TypeVar("K")


class Room(msgspec.Struct, array_like=True):
    """Of one limit: taken now, and how many found none."""

    used: int = 0
    refused: int = 0


class Cost(msgspec.Struct, array_like=True):
    """What the process itself takes."""

    cpu_seconds: float
    resident_bytes: int
    open_files: int


class Share(msgspec.Struct):
    """Requests are counted by (route, status code); failures of the object store by (operation, reason)."""

    answered: dict[tuple[str, int], int] = {}
    seconds: dict[str, Spread] = {}
    refused: dict[str, int] = {}
    rooms: dict[str, Room] = {}
    auth_failures: int = 0
    auth_throttled: int = 0
    streams: int = 0
    stream_drops: int = 0
    lag: Spread = msgspec.field(default_factory=Spread)
    store_answering: bool = True
    store_seconds: dict[str, Spread] = {}
    store_failures: dict[tuple[str, str], int] = {}
    spans_sent: int = 0
    spans_lost: int = 0

    def take_in(self, other: Share) -> None:
        _count(self.answered, other.answered)
        _count(self.refused, other.refused)
        _count(self.store_failures, other.store_failures)
        _spread(self.seconds, other.seconds)
        _spread(self.store_seconds, other.store_seconds)
        for name, room in other.rooms.items():
            ours = self.rooms.setdefault(name, Room())
            ours.used += room.used
            ours.refused += room.refused
        self.lag.take_in(other.lag)
        self.auth_failures += other.auth_failures
        self.auth_throttled += other.auth_throttled
        self.streams += other.streams
        self.stream_drops += other.stream_drops
        self.store_answering &= other.store_answering
        self.spans_sent += other.spans_sent
        self.spans_lost += other.spans_lost

    def ended(self) -> Share:
        """What stays of it when its process has ended: what only rises."""
        rooms = {name: Room(0, room.refused) for name, room in self.rooms.items()}
        return msgspec.structs.replace(self, rooms=rooms, streams=0, store_answering=True)


def added_up(shares: Iterable[Share]) -> Share:
    """All of them together; none is changed."""
    total = Share()
    for share in shares:
        total.take_in(share)
    return total


@dataclass(frozen=True)
class Counting:
    """The parts of this process that count."""

    requests: Requests
    limits: Mapping[str, Limit]
    throttle: Throttle
    broadcaster: Broadcaster
    lag: LoopLag
    objects: ObjectStore
    tracer: Tracer | None

    def share(self) -> Share:
        """What they have counted until now; not to be changed."""
        calls = self.objects.calls
        sending = self.tracer.sending if self.tracer is not None else None
        return Share(
            answered=self.requests.by_answer,
            seconds=self.requests.seconds,
            refused=self.requests.by_refusal,
            rooms={name: Room(limit.used, limit.refused) for name, limit in self.limits.items()},
            auth_failures=self.throttle.failures,
            auth_throttled=self.throttle.slowed,
            streams=self.broadcaster.subscribers,
            stream_drops=self.broadcaster.dropped,
            lag=self.lag.seconds,
            store_answering=self.objects.answering,
            store_seconds=calls.seconds,
            store_failures=calls.failures,
            spans_sent=sending.sent if sending is not None else 0,
            spans_lost=sending.lost if sending is not None else 0,
        )


def cost_of_this_process() -> Cost:
    """What this process takes now."""
    process = psutil.Process()
    times = os.times()
    return Cost(times.user + times.system, process.memory_info().rss, process.num_fds())


def _count(into: dict[K, int], counts: Mapping[K, int]) -> None:
    for key, n in counts.items():
        into[key] = into.get(key, 0) + n


def _spread(into: dict[str, Spread], spreads: Mapping[str, Spread]) -> None:
    for key, spread in spreads.items():
        into.setdefault(key, Spread(spread.bounds)).take_in(spread)
