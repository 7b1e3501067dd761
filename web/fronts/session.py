"""One front as the process of the actors sees it. State owned here: what it has asked and was not answered, the turns
that it has, and whether it is still there.

What a front asks goes into the actors' mailboxes as an envelope like any other. When the front is gone, nobody waits
for the answers: that is all that the actors notice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
import trio

from actors.mailbox import Envelope, Inbox
from actors.messages import Done, Outcome
from blobforge.refusals import Refusal
from web.auth.turns import Turns
from web.fronts.frames import (
    Answered,
    AreYouThere,
    Ask,
    Begin,
    Broke,
    Counted,
    Expose,
    Exposed,
    Forgot,
    Frame,
    FromFront,
    GaveUp,
    Here,
    HowBackup,
    HowSearch,
    LetGo,
    LetIn,
    Opened,
    PassTurn,
    TakeTurn,
    To,
    Use,
    UseFirstLink,
)
from web.fronts.link import Link
from web.metrics.share import Cost, Share
from web.services import Services

if TYPE_CHECKING:
    from web.fronts.hub import Hub

log = structlog.get_logger("blobforge.fronts")

# Bytes that a front may leave unread: some of the largest answers there are. The actors do not wait for it.
MOST_UNREAD = 256 << 20
# Looks in a row. Counted so, and not in seconds of a clock: where the whole machine was suspended, the front is not
# to blame.
MOST_SILENT = 20  # without a word, though it was asked whether it is there: stopped, or stuck
MOST_FORGETTING = 4  # in which it has not forgotten whose rights have changed: the change waits to be answered
MOST_STARTING = 120  # before its first word; nobody waits for it


class RemoteReply:
    """Where the answer to a front's question goes."""

    __slots__ = ("_number", "_session", "abandoned")

    def __init__(self, session: Session, number: int) -> None:
        self._session = session
        self._number = number
        self.abandoned = False

    def settle(self, outcome: Any, /) -> None:
        if not self.abandoned:
            self._session.answer(self._number, outcome)

    def fail(self, error: Exception, /) -> None:
        if not self.abandoned:
            self._session.broke(self._number, error)


class Session:
    """`trouble` is why the front has to be ended, if it has. `share` and `cost` are as it told them last."""

    def __init__(
        self,
        number: int,
        link: Link[FromFront],
        hub: Hub,
        services: Services,
        turns: Turns,
        *,
        opened: Callable[[], None],
    ) -> None:
        self.number = number
        self.link = link
        self.share = Share()
        self.cost: Cost | None = None
        self.trouble: str | None = None
        self.there = False  # whether it has said anything yet; before, it lets nobody in
        self._hub = hub
        self._services = services
        self._turns = turns
        self._opened = opened
        self._open = trio.CancelScope()
        self._asked: dict[int, RemoteReply] = {}
        self._in_turn: dict[int, tuple[trio.CancelScope, trio.Event]] = {}
        self._counts = 0
        self._has_counted = trio.Event()
        self._busy = False
        self._heard = True
        self._silent = 0
        self._forgetting = 0

    # --- to the front

    def send(self, frame: Frame) -> None:
        self.link.send(frame)
        self._check()

    def send_encoded(self, frame: bytes) -> None:
        self.link.send_encoded(frame)
        self._check()

    def _check(self) -> None:
        if self.link.waiting > MOST_UNREAD:
            self.cut("it does not read what it is sent")

    def answer(self, number: int, outcome: Any) -> None:
        del self._asked[number]
        self._hub.after_change(partial(self.send, Answered(number, outcome)))

    def broke(self, number: int, error: Exception) -> None:
        del self._asked[number]
        self.send(Broke(number, f"{type(error).__name__}: {error}"))

    # --- its end

    def cut(self, why: str) -> None:
        """End it, now."""
        if self.trouble is None:
            self.trouble = why
        self._open.cancel()

    def ended(self) -> None:
        """Nobody waits for its answers any more."""
        for reply in self._asked.values():
            reply.abandoned = True
        self._asked.clear()
        self._open.cancel()
        self._has_counted.set()

    def look(self, *, forgetting: bool) -> None:
        """From time to time: is it there, and does it do as it is told? `forgetting`: see Forget."""
        if self._busy:
            return  # it is not its fault that we do not listen
        self._silent = 0 if self._heard else self._silent + 1
        self._heard = False
        self._forgetting = self._forgetting + 1 if forgetting else 0
        if not self.there:
            if self._silent > MOST_STARTING:
                self.cut("it does not begin")
        elif self._silent > MOST_SILENT:
            self.cut("it does not answer any more")
        elif self._forgetting > MOST_FORGETTING:
            self.cut("it does not forget whose rights have changed")
        elif self._silent == 0:
            self.send(AreYouThere())

    # --- what it says

    async def run(self, nursery: trio.Nursery) -> None:
        """Listen to it until it ends, or must end. Raises BrokenFrameError."""
        with self._open:
            while frames := await self.link.receive():
                self._heard = True
                if not self.there:
                    self.there = True
                    self.send(Begin())
                for frame in frames:
                    await self._take(frame, nursery)

    async def _take(self, frame: FromFront, nursery: trio.Nursery) -> None:
        match frame:
            case Ask(to=To.HUB):
                nursery.start_soon(self._answer_here, frame)
            case Ask():
                await self._deliver(frame, nursery)
            case GaveUp(number):
                self._give_up(number)
            case PassTurn(number):
                if number in self._in_turn:
                    self._in_turn[number][1].set()
            case Forgot(change):
                self._hub.forgot(self, change)
            case Use():
                self._hub.used(self, frame)
            case Counted(number, share, cost):
                self.share, self.cost, self._counts = share, cost, number
                self._has_counted.set()
            case Here():
                pass  # that it was heard is all
            case Opened():
                self._opened()

    async def _deliver(self, question: Ask, nursery: trio.Nursery) -> None:
        """Into the actor's mailbox. Where the writer or the scheduler has no room, the front is not listened to until
        there is: that is the back-pressure. Nobody waits for an actor that others have no business with."""
        reply = RemoteReply(self, question.number)
        self._asked[question.number] = reply
        message: Any = question.message
        envelope: Envelope[Any] = Envelope(message, reply, question.repeat, question.audit, question.trace)
        mailbox = self._mailbox(question.to)
        if mailbox.offer(envelope):
            return
        if question.to in (To.WRITER, To.SCHEDULER):
            self._busy = True
            await mailbox.put(envelope)
            self._busy = False
        else:
            nursery.start_soon(mailbox.put, envelope)

    def _mailbox(self, to: To) -> Inbox[Envelope[Any]]:
        match to:
            case To.WRITER:
                return self._services.writer
            case To.SCHEDULER:
                return self._services.scheduler
            case To.INTAKE:
                return self._services.intake
            case To.JANITOR:
                return self._services.janitor.mailbox
            case _:
                return self._services.backups.mailbox

    def _give_up(self, number: int) -> None:
        reply = self._asked.pop(number, None)
        if reply is None:
            return  # its answer is on the way, and the front will see that nobody waits for it
        reply.abandoned = True
        if number in self._in_turn:
            self._in_turn[number][0].cancel()
        self.send(LetGo(number))

    # --- what is asked of nobody's mailbox

    async def _answer_here(self, question: Ask) -> None:
        reply = RemoteReply(self, question.number)
        self._asked[question.number] = reply
        if isinstance(question.message, TakeTurn):
            await self._take_turn(question.number, question.message.name, reply)
            return
        try:
            outcome = await self._looked_up(question.message)
        except Exception as error:
            log.exception("cannot answer a front", front=self.number, question=type(question.message).__name__)
            reply.fail(error)
        else:
            reply.settle(outcome)

    async def _looked_up(self, question: object) -> Outcome | Refusal:
        match question:
            case UseFirstLink(code):
                caller = await self._services.first_link.use(code)
                return caller if isinstance(caller, Refusal) else LetIn(caller)
            case HowSearch():
                return await self._services.janitor.searched()
            case HowBackup():
                return await self._services.backups.state() or Done()
            case Expose():
                return Exposed(await self._services.metrics.text())
            case _:
                raise TypeError(f"{question!r} is for a mailbox")

    async def _take_turn(self, number: int, name: str, reply: RemoteReply) -> None:
        passed = trio.Event()
        with trio.CancelScope() as scope:
            self._in_turn[number] = (scope, passed)
            async with self._turns.turn(name):
                reply.settle(Done())
                await passed.wait()
        del self._in_turn[number]

    async def counted(self, number: int) -> None:
        """Wait until it has answered this Count, or has ended."""
        while self._counts < number and not self._open.cancel_called:
            if self._has_counted.is_set():
                self._has_counted = trio.Event()
            await self._has_counted.wait()
