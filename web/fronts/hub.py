"""The side of the actors: what all fronts are told, and asked. State owned here: the fronts that are connected, which
changes of rights they have not heard of, and what those have counted that have ended.

The actors do not know of it: to them a front's questions are envelopes like all others (`session.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog
import trio

from actors.broadcaster import Broadcaster
from actors.broadcaster import Frame as Event
from blobforge.config import Settings
from blobforge.events import AccessChanged, Fact
from web.auth.turns import Turns
from web.fronts.frames import Count, Deletions, Forget, Frame, FromFront, Happened, Hello, Stop, Use
from web.fronts.link import BrokenFrameError, Link, encoded, largest_frame
from web.fronts.session import Session
from web.fronts.sharing import Ledger
from web.metrics.exposition import Elsewhere
from web.metrics.share import Share, added_up
from web.services import Services

log = structlog.get_logger("blobforge.fronts")

REPLAY_CHUNK = 500  # events in one frame, for a front that has just come
COUNT_SECONDS = 2.0  # for a front to say what it has counted
LOOK_SECONDS = 0.5  # between two looks at a front, see Session.look


class Change:
    """A change of rights that some fronts have not heard of; the answers of its commit wait for that."""

    def __init__(self, number: int, fronts: Iterable[Session]) -> None:
        self.number = number
        self.missing = set(fronts)
        self.held: list[Callable[[], None]] = []


class Hub:
    """`services` are those of the process of the actors; `own_url` is the address that all fronts listen on."""

    def __init__(
        self,
        settings: Settings,
        services: Services,
        turns: Turns,
        *,
        broadcaster: Broadcaster,
        own_url: Callable[[], str],
    ) -> None:
        self._settings = settings
        self._services = services
        self._turns = turns
        self._broadcaster = broadcaster
        self._own_url = own_url
        self._sessions: dict[int, Session] = {}
        self._changes: dict[int, Change] = {}
        self._last_change = 0
        self._fresh: Change | None = None  # that of the commit whose answers are being given
        self._deletions = services.janitor.deletions
        self._ledger = Ledger()
        self._ended = Share()
        self._counts = 0
        self._stopping = False
        self.restarts = 0
        broadcaster.relay = self._relay
        broadcaster.listened_elsewhere = lambda: self._ledger.used("event_streams") > 0

    # --- what the actors bring about

    heeds = None

    def post(self, facts: Iterable[Fact]) -> None:
        """Told of every commit, before its askers are: rights that have changed are forgotten everywhere first."""
        self._fresh = None
        if self._sessions and any(isinstance(fact, AccessChanged) for fact in facts):
            self._last_change += 1
            self._fresh = Change(self._last_change, (each for each in self._sessions.values() if each.there))
            self._changes[self._last_change] = self._fresh
            self._tell_all(Forget(self._last_change))
        if self._deletions != self._services.janitor.deletions:
            self._deletions = self._services.janitor.deletions
            self._tell_all(Deletions(self._deletions))

    def after_change(self, answer: Callable[[], None]) -> None:
        """Give an answer; one of a commit that changed rights, when every front has forgotten whom it knew."""
        if self._fresh is None or not self._fresh.missing:
            answer()
        else:
            self._fresh.held.append(answer)

    def _relay(self, event: Event) -> None:
        if self._sessions:
            self._tell_all(Happened((event,)))

    def _tell_all(self, frame: Frame) -> None:
        data = encoded(frame)
        for session in self._sessions.values():
            session.send_encoded(data)

    # --- what fronts say

    def forgot(self, session: Session, number: int) -> None:
        change = self._changes.get(number)
        if change is not None:
            change.missing.discard(session)
            self._settle(change)

    def _settle(self, change: Change) -> None:
        if not change.missing and self._changes.pop(change.number, None) is not None:
            for answer in change.held:
                answer()

    def used(self, session: Session, use: Use) -> None:
        """Pass on what has changed at one front, and note it for those that come."""
        self._ledger.note(session.number, use.rooms)
        self._tell_others(session.number, use.rooms, use.failed)

    def _tell_others(self, number: int, rooms: dict[str, dict[str, int]], failed: dict[str, int]) -> None:
        for other in self._sessions.values():
            if other.number != number:
                other.send(Use(self._ledger.elsewhere(other.number, rooms), failed))

    # --- one front, from its first frame to its last

    async def serve(self, number: int, stream: trio.abc.Stream, *, opened: Callable[[], None]) -> str | None:
        """Serve the front of this number until it ends; why it must be ended, or None when it has ended itself.

        `opened` is called when it serves.
        """
        link: Link[FromFront] = Link(stream, FromFront, largest=largest_frame(self._settings.max_body))
        session = Session(number, link, self, self._services, self._turns, opened=opened)
        self._greet(session)
        self._sessions[number] = session
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._sending, session)
                nursery.start_soon(self._watching, session)
                await session.run(nursery)
                nursery.cancel_scope.cancel()
        except* BrokenFrameError as errors:
            session.cut(str(errors.exceptions[0]))
        except* Exception:
            # A bug, ours or of what the front sent: it ends this front, and neither the others nor the actors.
            log.exception("a front's side broke", front=number)
            session.cut("its side broke")
        finally:
            self._leave(session)
        return session.trouble

    def _greet(self, session: Session) -> None:
        broadcaster = self._broadcaster
        window = broadcaster.window
        first = window[0].number - 1 if window else broadcaster.events
        session.send(
            Hello(
                self._settings,
                session.number,
                self._own_url(),
                broadcaster.run_id,
                first,
                self._services.janitor.deletions,
            )
        )
        for start in range(0, len(window), REPLAY_CHUNK):
            session.send(Happened(tuple(window[start : start + REPLAY_CHUNK])))
        session.send(Use(self._ledger.all_elsewhere(session.number), {}))
        if self._stopping:
            session.send(Stop())

    def _leave(self, session: Session) -> None:
        """All that it asked for ends as when clients go away."""
        del self._sessions[session.number]
        session.ended()
        for change in list(self._changes.values()):
            change.missing.discard(session)
            self._settle(change)
        self._ended.take_in(session.share.ended())
        self._tell_others(session.number, self._ledger.leave(session.number), {})

    async def _sending(self, session: Session) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):  # its end is seen by who receives
            await session.link.run()

    async def _watching(self, session: Session) -> None:
        while True:
            await trio.sleep(LOOK_SECONDS)
            session.look(forgetting=any(session in change.missing for change in self._changes.values()))

    # --- all fronts together

    def stop(self) -> None:
        """Have every front end its streams, then its requests, then itself."""
        self._stopping = True
        self._tell_all(Stop())

    async def elsewhere(self) -> Elsewhere:
        """What all fronts have counted, those that have ended too; one that does not answer is told as it was."""
        self._counts += 1
        asked = [each for each in self._sessions.values() if each.there]  # the others have counted nothing
        for session in asked:
            session.send(Count(self._counts))
        with trio.move_on_after(COUNT_SECONDS):
            for session in asked:
                await session.counted(self._counts)
        shares = [self._ended, *(session.share for session in asked)]
        costs = {str(session.number): session.cost for session in asked if session.cost is not None}
        return Elsewhere([added_up(shares)], costs, self.restarts)
