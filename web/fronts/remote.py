"""A front's side of the link: mailboxes of actors that live in another process, and what else is there.

State owned here: what was asked and is not answered yet. A question whose asker goes away ends there as in one
process: the actor is told, and what it granted in that very moment is given back from here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
import trio

from actors.broadcaster import Broadcaster
from actors.mailbox import Envelope, Reply, ask
from actors.messages import Claim, Granted, OrphanSearch
from actors.scheduler import given_back
from actors.writer import Listener
from blobforge.access import Caller
from blobforge.events import AccessChanged
from blobforge.refusals import Refusal
from web.fronts.frames import (
    Answered,
    AreYouThere,
    Ask,
    Begin,
    Broke,
    Count,
    Counted,
    Deletions,
    Expose,
    Exposed,
    Forget,
    Forgot,
    GaveUp,
    Happened,
    Hello,
    Here,
    HowBackup,
    HowSearch,
    LetGo,
    PassTurn,
    Stop,
    TakeTurn,
    To,
    ToFront,
    Use,
    UseFirstLink,
)
from web.fronts.link import Link
from web.metrics.requests import Requests
from web.metrics.share import Counting, cost_of_this_process
from web.upkeep import BackupState

log = structlog.get_logger("blobforge.fronts")


class RemoteError(Exception):
    """A message met a bug in the process of the actors; its log says which."""


class Questions:
    """What was asked over the link, until it is answered."""

    def __init__(self, link: Link[ToFront]) -> None:
        self._link = link
        self._asked: dict[int, Envelope[Any]] = {}
        self._last = 0

    @property
    def open(self) -> int:
        """How many are not answered yet."""
        return len(self._asked)

    async def put(self, to: To, envelope: Envelope[Any]) -> None:
        """Wait for room on the link, then ask."""
        await trio.lowlevel.checkpoint_if_cancelled()  # whoever asks waits for the answer anyway
        await self._link.room()
        self.ask(to, envelope)

    def offer(self, to: To, envelope: Envelope[Any]) -> bool:
        """Ask if there is room on the link; whether there was."""
        if self._link.is_full:
            return False
        self.ask(to, envelope)
        return True

    def ask(self, to: To, envelope: Envelope[Any]) -> int:
        """Ask at once; returns the question's number."""
        self._last += 1
        number = self._last
        message: Any = envelope.message
        self._link.send(Ask(number, to, message, envelope.repeat, envelope.audit, envelope.trace))
        self._asked[number] = envelope
        if isinstance(envelope.reply, Reply):
            envelope.reply.on_abandoned = partial(self._gave_up, number)
        return number

    def answered(self, number: int, outcome: Any) -> None:
        envelope = self._asked.pop(number)
        if envelope.reply.abandoned:
            self._too_late(number, envelope, outcome)
        else:
            envelope.reply.settle(outcome)

    def broke(self, number: int, error: str) -> None:
        self._asked.pop(number).reply.fail(RemoteError(error))

    def let_go(self, number: int) -> None:
        del self._asked[number]

    def pass_turn(self, number: int) -> None:
        self._link.send(PassTurn(number))

    def _gave_up(self, number: int) -> None:
        if number in self._asked:
            self._link.send(GaveUp(number))

    def _too_late(self, number: int, envelope: Envelope[Any], outcome: Any) -> None:
        """The answer and the news that nobody waits for it have passed each other on the way."""
        match envelope.message:
            case TakeTurn():
                self.pass_turn(number)
            case Claim() if isinstance(outcome, Granted):
                for release in given_back(envelope.message, envelope.repeat, outcome):
                    self.ask(To.WRITER, Envelope(release, Reply()))
            case _:
                pass


class RemoteMailbox:
    """An actor's mailbox in the other process. Bounded by the link, and there by the mailbox itself."""

    def __init__(self, questions: Questions, to: To) -> None:
        self._questions = questions
        self._to = to

    async def put(self, item: Envelope[Any], /) -> None:
        """See Inbox."""
        await self._questions.put(self._to, item)

    def offer(self, item: Envelope[Any], /) -> bool:
        """See Inbox."""
        return self._questions.offer(self._to, item)


class RemoteTurns:
    """Turns that all processes share."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """See Turns."""
        reply: Reply[Any] = Reply()
        number = self._questions.ask(To.HUB, Envelope(TakeTurn(name), reply))
        await reply.wait()
        try:
            yield
        finally:
            self._questions.pass_turn(number)


class RemoteFirstLink:
    def __init__(self, hub: RemoteMailbox) -> None:
        self._hub = hub

    async def use(self, code: str) -> Caller | Refusal:
        """See OneLink."""
        outcome = await ask(self._hub, UseFirstLink(code))
        return outcome if isinstance(outcome, Refusal) else outcome.caller


class RemoteHousekeeping:
    """`deletions` follows what the other process says: late, if anything, which is the safe side."""

    def __init__(self, mailbox: RemoteMailbox, hub: RemoteMailbox, deletions: int) -> None:
        self.mailbox = mailbox
        self.deletions = deletions
        self._hub = hub

    async def searched(self) -> OrphanSearch:
        """See Housekeeping."""
        outcome = await ask(self._hub, HowSearch())
        assert isinstance(outcome, OrphanSearch)
        return outcome


class RemoteBackups:
    def __init__(self, mailbox: RemoteMailbox, hub: RemoteMailbox) -> None:
        self.mailbox = mailbox
        self._hub = hub

    async def state(self) -> BackupState | None:
        """See Backups."""
        outcome = await ask(self._hub, HowBackup())
        return outcome if isinstance(outcome, BackupState) else None


class RemoteMetrics:
    """Counts this front's requests; the text is made where all counts come together."""

    def __init__(self, hub: RemoteMailbox, requests: Requests) -> None:
        self.requests = requests
        self._hub = hub

    async def text(self) -> bytes:
        """See Told."""
        outcome = await ask(self._hub, Expose())
        assert isinstance(outcome, Exposed)
        return outcome.text


class Ear:
    """Takes what comes over the link to whom it is for, in its order. `stop` is called when the front is to end, and
    `begun` is set when it may let people in."""

    def __init__(
        self,
        link: Link[ToFront],
        questions: Questions,
        *,
        broadcaster: Broadcaster,
        housekeeping: RemoteHousekeeping,
        counting: Counting,
        rights: Iterable[Listener],
        heed: Callable[[Use], None],
        stop: Callable[[], None],
    ) -> None:
        self._link = link
        self._questions = questions
        self._broadcaster = broadcaster
        self._housekeeping = housekeeping
        self._counting = counting
        self._rights = tuple(rights)
        self._heed = heed
        self._stop = stop
        self.begun = trio.Event()

    async def run(self) -> None:
        """Ends with the link. Raises BrokenFrameError."""
        while frames := await self._link.receive():
            for frame in frames:
                self.take(frame)

    def take(self, frame: ToFront) -> None:
        match frame:
            case Answered(number, outcome):
                self._questions.answered(number, outcome)
            case Broke(number, error):
                self._questions.broke(number, error)
            case LetGo(number):
                self._questions.let_go(number)
            case Happened(events):
                for event in events:
                    self._broadcaster.relayed(event)
            case Forget(change):
                self._forget(change)
            case Use():
                self._heed(frame)
            case Deletions(rounds):
                self._housekeeping.deletions = rounds
            case Count() | AreYouThere():
                self._link.send(self._asked(frame))
            case Begin():
                self.begun.set()
            case Stop():
                self._stop()
            case Hello():
                raise AssertionError("it comes once, and first")

    def _asked(self, frame: Count | AreYouThere) -> Counted | Here:
        if isinstance(frame, AreYouThere):
            return Here()
        return Counted(frame.number, self._counting.share(), cost_of_this_process())

    def _forget(self, change: int) -> None:
        for listener in self._rights:
            listener.post((AccessChanged(),))
        self._link.send(Forgot(change))
