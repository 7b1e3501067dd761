"""What has been committed, told in its order. State owned here: how far it has been told.

Where one server writes, each commit of its writer is told as it comes. Where several do, each commit has its place
among those of all: what the others have told comes with the writer's next turn or by the follower, whichever is
first, and is told once, without gaps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from blobforge.events import Event, Fact
from blobforge.store.following import Entry


class EventSink(Protocol):
    """The receiver of events after each commit (the broadcaster). `turn`: the place of that commit; None: there is
    no such order."""

    async def publish(self, events: Sequence[Event], turn: int | None = None) -> None: ...


class Listener(Protocol):
    """An actor, or a cache, that is told after each commit, before any asker is answered, of the facts that it heeds.

    `post` notes them at once. It must not wait, and wakes its own task only where that has something to do now.
    """

    @property
    def heeds(self) -> frozenset[type[Fact]] | None:
        """None: told of each commit, whatever has happened in it."""

    def post(self, facts: Sequence[Fact], /) -> None: ...


@runtime_checkable
class HearsOthers(Protocol):
    """A listener that does something else about what other servers have committed: they see to it themselves."""

    def post_of_others(self, facts: Sequence[Fact], /) -> None: ...


class Sequencer:
    """`listeners` are told facts, `sink` gets the events. `server` is what this one is called in the history."""

    def __init__(self, sink: EventSink, server: str = "") -> None:
        self.server = server
        self.listeners: list[Listener] = []
        self.last = 0  # the place up to which all has been told
        self.fill: Callable[[], Awaitable[None]] = _nothing  # reads what is in between and has not come
        self.on_fork: Callable[[], None] = lambda: None  # the history goes on from elsewhere
        self.fork = 0  # the number of the last time that it did
        self.settled = 0  # that of the last one whose losses have been settled: before that, nothing may be written
        self._sink = sink
        self._ahead: dict[int, Entry] = {}
        self._unpublished: deque[tuple[Sequence[Event], int | None]] = deque()
        self._publishing = False

    def go_on_from(self, n: int) -> None:
        """All up to that place is known otherwise."""
        self.last = n
        self._ahead.clear()

    def meet_fork(self, number: int) -> None:
        """The history goes on from elsewhere. All parts of the server that meet one fork give it the same number."""
        if number > self.fork:
            self.fork = number
            self.on_fork()

    def tell(self, facts: Sequence[Fact]) -> None:
        kinds = set(map(type, facts))
        for listener in self.listeners:
            heeds = listener.heeds
            if heeds is None:
                listener.post(facts)
            elif not heeds.isdisjoint(kinds):
                listener.post([fact for fact in facts if type(fact) in heeds])

    def _tell_of_others(self, facts: Sequence[Fact]) -> None:
        for listener in self.listeners:
            heeded = [fact for fact in facts if listener.heeds is None or type(fact) in listener.heeds]
            if heeded and isinstance(listener, HearsOthers):
                listener.post_of_others(heeded)
            elif heeded:
                listener.post(heeded)

    def take(self, entries: Iterable[Entry]) -> None:
        """Tell what has not been told yet, as far as it is there without a gap. `publish` is to follow."""
        for entry in entries:
            if entry.n > self.last:
                self._ahead[entry.n] = entry
        while (due := self._ahead.pop(self.last + 1, None)) is not None:
            self.last = due.n
            if due.server == self.server:
                self.tell(due.facts)
            else:
                self._tell_of_others(due.facts)
            if due.events:
                self._unpublished.append((due.events, due.n))

    async def publish(self, events: Sequence[Event] = ()) -> None:
        """Pass on the events of what was taken; and these, of a commit that has no place."""
        if events:
            self._unpublished.append((events, None))
        if self._publishing:
            return  # by another task, which goes on until there are no more
        self._publishing = True
        try:
            while self._unpublished:
                await self._sink.publish(*self._unpublished.popleft())
        finally:
            self._publishing = False


async def _nothing() -> None:
    pass
