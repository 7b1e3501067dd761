"""The broadcaster. State owned here: the subscribers, the sequence number, and the window of events that a client
that comes back can still be given.

Ids are `<run>-<number>`: after a restart the run differs, and a client that names an id of another run, or one
that has left the window, is told to `resync` (fetch everything anew) instead. A subscriber that does not keep up
is not waited for: its queue is bounded, what does not fit is dropped, and it is told to `resync` once it has read
the rest.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog
import trio

from actors.mailbox import Mailbox
from blobforge.events import EVENT_NAMES, Event

log = structlog.get_logger("blobforge.broadcaster")

MAILBOX = 256  # commits; the broadcaster never waits for anybody, so the writer never waits long for room
REPLAY_BYTES = 32 << 20  # of the window, whatever the number of events in it
STATS_SECONDS = 1.0  # at most one stats_updated in this time, and only when something changed


class Frame(msgspec.Struct, frozen=True):
    """One event, encoded once for all who get it."""

    number: int
    name: str
    job_id: int | None
    data: bytes


class Subscription:
    """One client's view: which events it wants, and those that it has not read yet."""

    def __init__(self, broadcaster: Broadcaster, *, types: frozenset[str], job: int | None, capacity: int) -> None:
        self._broadcaster = broadcaster
        self._types = types
        self._job = job
        self._send, self._receive = trio.open_memory_channel[Frame](capacity)
        self._lagging = False
        self._first: deque[Frame | None] = deque()  # what it missed before it came; None stands for resync

    def wants(self, frame: Frame) -> bool:
        return (not self._types or frame.name in self._types) and (self._job is None or frame.job_id == self._job)

    def offer(self, frame: Frame) -> None:
        """Queue a frame; when there is no room, note that the client must resync, and drop it."""
        if self._lagging or not self.wants(frame):
            return
        try:
            self._send.send_nowait(frame)
        except trio.WouldBlock:
            self._lagging = True
            self._broadcaster.dropped += 1

    def replay(self, frames: Sequence[Frame]) -> None:
        self._first.extend(frame for frame in frames if self.wants(frame))

    def resync(self) -> None:
        self._first.append(None)

    async def next(self) -> bytes | None:
        """The next event, encoded; None when the broadcaster has closed."""
        if self._first:
            missed = self._first.popleft()
            return self._broadcaster.resync_frame() if missed is None else missed.data
        try:
            frame = self._receive.receive_nowait()
        except trio.WouldBlock:
            if self._lagging:
                # All that was queued has been read; what did not fit is gone, and it is told so.
                self._lagging = False
                return self._broadcaster.resync_frame()
            try:
                frame = await self._receive.receive()
            except trio.EndOfChannel:
                return None
        except trio.EndOfChannel:
            return None
        return frame.data

    def close(self) -> None:
        self._send.close()


class Broadcaster:
    """`replay` and `queue` are numbers of events; `stats` gives the data of `stats_updated`."""

    def __init__(self, *, replay: int, queue: int, stats: Callable[[], Awaitable[object]]) -> None:
        self.mailbox: Mailbox[Sequence[Event]] = Mailbox(MAILBOX)
        self.dropped = 0
        self._run = secrets.token_hex(4)
        self._number = 0
        self._window: deque[Frame] = deque(maxlen=replay)
        self._window_bytes = 0
        self._queue = queue
        self._stats = stats
        self._subscribers: set[Subscription] = set()
        self._stats_due: float | None = None
        self._stats_sent = float("-inf")
        self._reading_stats = False
        self._closed = False

    @property
    def events(self) -> int:
        """How many events were sent since the start."""
        return self._number

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    async def publish(self, events: Sequence[Event]) -> None:
        """What the writer calls after each commit."""
        await self.mailbox.put(events)

    def subscribe(
        self, *, last_event_id: str | None = None, types: frozenset[str] = frozenset(), job: int | None = None
    ) -> Subscription:
        """A new subscriber; with the id of the last event that it saw, it first gets what it missed since."""
        subscription = Subscription(self, types=types, job=job, capacity=self._queue)
        if last_event_id:
            missed = self._since(last_event_id)
            if missed is None:
                subscription.resync()
            else:
                subscription.replay(missed)
        if self._closed:
            subscription.close()
        else:
            self._subscribers.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscribers.discard(subscription)
        subscription.close()

    def close(self) -> None:
        """End every stream, now and later: the first thing that happens at shutdown."""
        self._closed = True
        for subscription in self._subscribers:
            subscription.close()
        self._subscribers.clear()  # the writer still drains: its events must not meet a closed stream

    async def run(self) -> None:
        async with trio.open_nursery() as reading:
            while True:
                until = self._stats_due if self._stats_due is not None else math.inf
                events = await self.mailbox.take(until=until)
                if events is not None:
                    for event in events:
                        self._send(event.name, getattr(event, "job_id", None), event)
                    if self._stats_due is None:
                        self._stats_due = max(trio.current_time(), self._stats_sent + STATS_SECONDS)
                elif self._stats_due is not None and trio.current_time() >= self._stats_due:
                    self._stats_due = None
                    self._stats_sent = trio.current_time()
                    # Beside this loop: whoever waits for the broadcaster waits for the writer behind it, and a slow
                    # read must not hold up writes.
                    if self._subscribers and not self._reading_stats:
                        self._reading_stats = True
                        reading.start_soon(self._send_stats)

    async def _send_stats(self) -> None:
        try:
            data = await self._stats()
        except Exception:
            log.exception("cannot read statistics")
        else:
            self._send("stats_updated", None, data)
        finally:
            self._reading_stats = False

    def _send(self, name: str, job_id: int | None, data: Any) -> None:
        assert name in EVENT_NAMES
        self._number += 1
        frame = Frame(self._number, name, job_id, self._encode(name, data))
        self._remember(frame)
        for subscription in self._subscribers:
            subscription.offer(frame)

    def _remember(self, frame: Frame) -> None:
        """Keep the frame for those who come back: as many as fit, by number and by size."""
        if len(self._window) == self._window.maxlen:
            self._window_bytes -= len(self._window[0].data)
        self._window.append(frame)
        self._window_bytes += len(frame.data)
        while self._window_bytes > REPLAY_BYTES:
            self._window_bytes -= len(self._window.popleft().data)

    def resync_frame(self) -> bytes:
        """Tells a client that it has missed events. Its id lets it go on from here."""
        return self._encode("resync", {"reason": "events were missed; fetch the state anew"})

    def ping_frame(self) -> bytes:
        """The first frame of every stream, as existing clients expect it."""
        return b"event: ping\ndata: connected\n\n"

    def _encode(self, name: str, data: Any) -> bytes:
        text = msgspec.json.encode(data)
        return b"id: %s-%d\nevent: %s\ndata: %s\n\n" % (self._run.encode(), self._number, name.encode(), text)

    def _since(self, last_event_id: str) -> list[Frame] | None:
        """The events after that one, or None when they are no longer all known."""
        run, _, number = last_event_id.partition("-")
        if run != self._run or not number.isdecimal() or len(number) > 18:
            return None
        last = int(number)
        oldest = self._window[0].number if self._window else self._number + 1
        if last > self._number or last < oldest - 1:
            return None
        return [frame for frame in self._window if frame.number > last]
