"""The broadcaster: events on their way to subscribers. State owned here: the subscribers, the sequence number, and
the window of events that a client that comes back can still be given.

Ids are `<run>-<number>`: after a restart the run differs, and a client that names an id of another run, or one
that has left the window, is told to `resync` (fetch everything anew) instead. Where several servers have one history,
ids are `<turn>.<index>`, places in it: good at each of them, also after restarts.

A subscriber holds nothing but the number up to which it has read: all of them read from the one window, and a
subscriber that comes for more is given all that has gathered, in one piece. So no subscriber is waited for, and one
that does not read costs nothing; one that has fallen too far behind is told to `resync` and goes on from there.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import msgspec
import structlog
import trio

from actors.mailbox import Mailbox
from blobforge.events import EVENT_NAMES, Audited, CredentialsRevoked, Event, Fact
from blobforge.store.errors import DatabaseError
from blobforge.store.following import Entry

log = structlog.get_logger("blobforge.broadcaster")

MAILBOX = 256  # commits; the broadcaster never waits for a subscriber, so the writer never waits long for room
REPLAY_BYTES = 32 << 20  # of the window, whatever the number of events in it
STATS_SECONDS = 1.0  # at most one stats_updated in this time, and only when something changed
PIECE_BYTES = 64 << 10  # what one subscriber is given at once, or one event that is larger
# A send takes about 0.1 ms of this process, whatever is in it. A thousand at once would keep all others waiting
# for as long; so subscribers take turns, a few at a time, and leave a third of the time to others.
TURNS = 10
MOST_AHEAD = 10_000  # commits that another server may have heard of before this one
TURN_SECONDS = 0.00016  # for each of them

_encode = msgspec.json.Encoder().encode


EventPlace = tuple[int, int]  # in the history of all servers: the turn, and which of its events


class Frame(msgspec.Struct, frozen=True):
    """One event, encoded once for all its subscribers."""

    number: int
    name: str
    job_id: int | None
    data: bytes
    place: EventPlace | None = None


def enveloped(name: str, data: Any) -> bytes:
    """The event as JSON: `{"type": name, "data": {...}}`.

    For one release the members of `data`, but `type`, stand at the top level, too, where released clients read them:
    the bytes are those that have been encoded already. Before the member no other can hold the same: in a string its
    quotes are escaped.
    """
    inside = _encode(data)
    type_ = getattr(data, "type", None)  # never the first member
    beside = inside if type_ is None else inside.replace(b',"type":%s' % _encode(type_), b"", 1)
    return b'{"type":"%s","data":%s%s' % (name.encode(), inside, b"," + beside[1:] if beside != b"{}" else b"}")


class Subscription:
    """One client's view: which events it wants, and how far it has read. For one reader at a time."""

    def __init__(
        self,
        broadcaster: Broadcaster,
        *,
        types: frozenset[str],
        job: int | None,
        jobs: frozenset[int],
        read: int | None,
        after: EventPlace | None = None,
        secret_hash: str | None = None,
    ) -> None:
        """It wants the events of `types` (all of them if empty) that are about `job`, if given; and those about
        `jobs`, whatever they are: where only these are given, no others.

        `read` is the number of the last event that it knows; None: it has to resync first. `after`: it has read up
        to there at another server, which was ahead of this one. `secret_hash` names the credential that it is open
        by."""
        self._broadcaster = broadcaster
        self.secret_hash = secret_hash
        self._types = types
        self._job = job
        self._jobs = jobs
        self._others = bool(types) or job is not None or not jobs  # whether it wants more than the events of `jobs`
        self._after = after
        self._began = broadcaster.events  # older events are replayed, however many
        self._read = self._began if read is None else read
        self._stale = read is None
        self._ends_at: int | None = None  # the last event that it gets
        self._turn = trio.Event()

    def wants(self, frame: Frame) -> bool:
        if self._after is not None and frame.place is not None and frame.place <= self._after:
            return False
        if frame.job_id in self._jobs:
            return True
        named = not self._types or frame.name in self._types
        return self._others and named and (self._job is None or frame.job_id == self._job)

    def offer(self, frame: Frame) -> bool:
        """Whether the subscriber, which has read all before, wants this event. If not, it counts as read."""
        if self.wants(frame):
            return True
        self._read = frame.number
        return False

    def take_turn(self) -> None:
        self._turn.set()

    async def next(self) -> bytes | None:
        """The events that have gathered, encoded and joined, or the next one; None: the broadcaster has closed."""
        while True:
            self._turn = trio.Event()
            if self._ends_at is not None:
                self._turn.set()
            with self._broadcaster.waits(self, has_news=self._has_news()):
                await self._turn.wait()
            if (piece := self._take()) is not None:
                return piece
            if self._ends_at is not None:
                return None

    def _has_news(self) -> bool:
        if self._stale or not self._broadcaster.knows(self._read):
            return True
        return any(map(self.offer, self._broadcaster.frames(self._read, self._broadcaster.events)))

    def _take(self) -> bytes | None:
        """The next piece, if there is something."""
        last = self._broadcaster.events if self._ends_at is None else self._ends_at
        if self._lags(last):
            self._read, self._stale = last, True
        if self._stale:
            self._stale = False
            return self._broadcaster.resync_frame()
        piece: list[bytes] = []
        size = 0
        for frame in self._broadcaster.frames(self._read, last):
            self._read = frame.number
            if self.wants(frame):
                piece.append(frame.data)
                size += len(frame.data)
                if size >= PIECE_BYTES:
                    break
        return b"".join(piece) or None

    def _lags(self, last: int) -> bool:
        """Whether something that it has not read is gone from the window, or more has gathered than its queue."""
        new = max(self._read, self._began)
        room = self._broadcaster.queue
        if self._broadcaster.knows(self._read) and (
            last - new <= room or sum(map(self.wants, self._broadcaster.frames(new, last))) <= room
        ):
            return False
        self._broadcaster.dropped += 1
        return True

    def close(self) -> None:
        """End the subscription; it still gets the events so far."""
        self._ends_at = self._broadcaster.events
        self._turn.set()

    def cut_off(self) -> None:
        """End the subscription at once, with events unread: its credential is good no longer."""
        self.close()
        self._read, self._stale = self._broadcaster.events, False


class Broadcaster:
    """`replay` and `queue` are numbers of events; `stats` gives the data of `stats_updated`."""

    heeds: ClassVar[frozenset[type[Fact]]] = frozenset({CredentialsRevoked, Audited})

    def __init__(self, *, replay: int, queue: int, stats: Callable[[], Awaitable[object]]) -> None:
        self.mailbox: Mailbox[tuple[Sequence[Event], int | None]] = Mailbox(MAILBOX)
        self.dropped = 0
        self._run = secrets.token_hex(4)
        self._number = 0
        self._place: EventPlace | None = None  # of the last event in the history of all servers
        self._whole_from: EventPlace = (0, 0)  # all events behind it are in the window
        # For subscribers that come back, and for those that read: whichever may be farther behind.
        self._window: deque[Frame] = deque(maxlen=max(replay, queue))
        self._window_bytes = 0
        self._replay = replay
        self.queue = queue
        self._stats = stats
        self._subscribers: set[Subscription] = set()
        self._waiting: set[Subscription] = set()  # those of them that have read everything
        self._line: deque[Subscription] = deque()  # those that have something to read, and want to
        self._line_formed = trio.Event()
        self._stats_due: float | None = None
        self._stats_sent = float("-inf")
        self._reading_stats = False
        self._stats_stale = False  # they were due, and what was told last may be from before
        self._closed = False

    @property
    def events(self) -> int:
        """How many events were sent since the start."""
        return self._number

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    async def publish(self, events: Sequence[Event], turn: int | None = None) -> None:
        """Take a commit's events. The writer, which calls it after each commit, goes on at once where there is
        room. `turn`: the place of that commit, where several servers have one history."""
        if not self.mailbox.offer((events, turn)):
            await self.mailbox.put((events, turn))

    def go_on_from(self, turn: int, entries: Iterable[Entry] = ()) -> None:
        """Ids are places in the history of all servers from now on, which has come to that turn. `entries` are the
        last ones up to it: their events can be given to clients that come back. Subscribers have to resync."""
        self._forget(turn)
        for number, entry in enumerate(entries):
            if number == 0:  # before the first turn nothing was told that could be missed
                self._whole_from = (entry.n, 0) if entry.n > 1 else (0, 0)
            self._send_all(entry.events, entry.n)

    def _forget(self, turn: int) -> None:
        self._window.clear()
        self._window_bytes = 0
        self._number += 1  # which no one has read
        self._place = self._whole_from = (turn, 0)
        woken, self._waiting = self._waiting, set()
        self._line_up(woken)

    def subscribe(
        self,
        *,
        last_event_id: str | None = None,
        types: frozenset[str] = frozenset(),
        job: int | None = None,
        jobs: frozenset[int] = frozenset(),
        secret_hash: str | None = None,
    ) -> Subscription:
        """A new subscriber; with the id of the last event that it saw, it first gets what it missed since."""
        read, after = self._since(last_event_id) if last_event_id else (self._number, None)
        subscription = Subscription(
            self, types=types, job=job, jobs=jobs, read=read, after=after, secret_hash=secret_hash
        )
        if self._closed:
            subscription.close()
        else:
            self._subscribers.add(subscription)
            if last_event_id and self._stats_stale and not self._reading_stats:  # they were due while it was away
                self._owe_stats()
                self.mailbox.nudge()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscribers.discard(subscription)
        subscription.close()

    def post(self, facts: Sequence[Fact]) -> None:
        """End the streams that are open by a revoked credential: told by the commit, before its askers are. What was
        changed by hand, rights among it, is news, although no event tells of it."""
        hashes = {hash_ for fact in facts if isinstance(fact, CredentialsRevoked) for hash_ in fact.hashes}
        for subscription in [each for each in self._subscribers if each.secret_hash in hashes]:
            self._subscribers.discard(subscription)
            subscription.cut_off()
        self._owe_stats()
        self.mailbox.nudge()

    def close(self) -> None:
        """End every stream, now and later: the first thing that happens at shutdown."""
        self._closed = True
        for subscription in self._subscribers:
            subscription.close()
        self._subscribers.clear()

    async def run(self) -> None:
        async with trio.open_nursery() as reading:
            reading.start_soon(self._give_turns)
            while True:
                until = self._stats_due if self._stats_due is not None else math.inf
                taken = await self.mailbox.take(until=until)
                if taken is not None:
                    self._send_all(*taken)
                    self._owe_stats()
                elif self._stats_due is not None and trio.current_time() >= self._stats_due:
                    self._stats_due = None
                    self._stats_sent = trio.current_time()
                    # Beside this loop: a task that waits for the broadcaster waits for the writer behind it, and a
                    # slow read must not hold up writes.
                    if self._subscribers and not self._reading_stats:
                        self._reading_stats, self._stats_stale = True, False
                        reading.start_soon(self._send_stats)
                    else:
                        self._stats_stale = True

    def _owe_stats(self) -> None:
        if self._stats_due is None:
            self._stats_due = max(trio.current_time(), self._stats_sent + STATS_SECONDS)

    async def _send_stats(self) -> None:
        try:
            data = await self._stats()
        except DatabaseError:
            self._stats_stale = True  # it is away: what reads has said so
        except Exception:
            log.exception("cannot read statistics")
        else:
            self._send("stats_updated", None, data)
        finally:
            self._reading_stats = False
            if self._stats_stale:  # what was read, if it was, may be from before a change that was the last
                self._owe_stats()
                self.mailbox.nudge()

    def _send_all(self, events: Sequence[Event], turn: int | None) -> None:
        for index, event in enumerate(events, start=1):
            if turn is not None:
                self._place = (turn, index)
            self._send(event.name, getattr(event, "job_id", None), event)

    def _send(self, name: str, job_id: int | None, data: Any) -> None:
        assert name in EVENT_NAMES
        self._number += 1
        frame = Frame(self._number, name, job_id, self._encode(name, data), self._place)
        self._remember(frame)
        woken = [subscription for subscription in self._waiting if subscription.offer(frame)]
        if woken:
            self._waiting.difference_update(woken)
            self._line_up(woken)

    @contextmanager
    def waits(self, subscription: Subscription, *, has_news: bool) -> Iterator[None]:
        """Within the block it is told when it is its turn: now that it has news, or when it has."""
        if has_news:
            self._line_up([subscription])
        else:
            self._waiting.add(subscription)
        try:
            yield
        finally:
            self._waiting.discard(subscription)

    def _line_up(self, subscriptions: Iterable[Subscription]) -> None:
        self._line.extend(subscriptions)
        if self._line:
            self._line_formed.set()

    async def _give_turns(self) -> None:
        while True:
            await self._line_formed.wait()
            while self._line:
                turns = min(TURNS, len(self._line))
                for _ in range(turns):
                    self._line.popleft().take_turn()
                await trio.sleep(turns * TURN_SECONDS)
            self._line_formed = trio.Event()

    def knows(self, number: int) -> bool:
        """Whether every event after that one is in the window."""
        return self._number - number <= len(self._window)

    def frames(self, after: int, last: int) -> Iterator[Frame]:
        """The events behind `after`, up to `last`. From the right end, where a deque is quick to look."""
        return (self._window[index] for index in range(after - self._number, last - self._number))

    def _remember(self, frame: Frame) -> None:
        """Keep the frame for subscribers that come back: as many as fit, by number and by size."""
        if len(self._window) == self._window.maxlen:
            self._drop_oldest()
        self._window.append(frame)
        self._window_bytes += len(frame.data)
        while self._window_bytes > REPLAY_BYTES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        dropped = self._window.popleft()
        self._window_bytes -= len(dropped.data)
        if dropped.place is not None:
            self._whole_from = dropped.place

    def resync_frame(self) -> bytes:
        """Tells a client that it has missed events. Its id lets it go on from here."""
        return self._encode("resync", {"reason": "events were missed; fetch the state anew"})

    def position_frame(self) -> bytes:
        """A frame with a position, for a client that has no id yet: it can come back for events that it misses before
        its first.

        Released clients take a `ping` for a new connection as long as they have no id: with one, the pings that keep
        the stream alive are nothing to them.
        """
        return self._encode("connected", {})

    def _encode(self, name: str, data: Any) -> bytes:
        return b"id: %s\nevent: %s\ndata: %s\n\n" % (self._id(), name.encode(), enveloped(name, data))

    def _id(self) -> bytes:
        if self._place is not None:
            return b"%d.%d" % self._place
        return b"%s-%d" % (self._run.encode(), self._number)

    def _since(self, last_event_id: str) -> tuple[int | None, EventPlace | None]:
        """The number of that event, or None when those after it are no longer all kept. And the event itself, where
        it has not come here yet."""
        if self._place is None:
            return self._since_number(last_event_id), None
        place = _place(last_event_id)
        if place is None or place < self._whole_from or place[0] > self._place[0] + MOST_AHEAD:
            return None, None
        if place > self._place:
            return self._number, place
        behind = sum(1 for frame in self._window if frame.place is not None and frame.place > place)
        return (self._number - behind if behind <= self._replay else None), None

    def _since_number(self, last_event_id: str) -> int | None:
        run, _, number = last_event_id.partition("-")
        if run != self._run or not number.isdecimal() or len(number) > 18:
            return None
        last = int(number)
        kept = self._number - last <= self._replay and self.knows(last)
        return last if kept and last <= self._number else None


def _place(id_: str) -> EventPlace | None:
    turn, _, index = id_.partition(".")
    if not (turn.isdecimal() and index.isdecimal()) or len(id_) > 30:
        return None
    return int(turn), int(index)
