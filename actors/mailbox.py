"""How actors are reached: a bounded mailbox, and a reply that is settled once.

A producer waits when a mailbox is full: that is the back-pressure. Messages go forward only (web -> scheduler ->
writer -> broadcaster); an answer comes back through the Reply, and what a commit has brought about is posted to the
writer's listeners. Neither ever waits, so there is no cycle to deadlock in.

A task that is woken costs a request about 10 us, and a round of trio's loop as much again: so a mailbox that has
room, or has something in it, does not give way to other tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

import trio

from actors.messages import Audit, Message, Repeatable
from blobforge.access import Caller
from blobforge.machinery.tracing import Trace
from blobforge.refusals import Refusal

O = TypeVar("O")  # noqa: E741 - the outcome
A_contra = TypeVar("A_contra", contravariant=True)
M = TypeVar("M")


class ReplyTo(Protocol[A_contra]):
    """Where the answer to a message goes. `abandoned`: the asker waits for it no longer."""

    @property
    def abandoned(self) -> bool: ...

    def settle(self, outcome: A_contra, /) -> None: ...

    def fail(self, error: Exception, /) -> None: ...


class Reply(Generic[O]):
    """The answer to one message: settled once by the actor, awaited once by the asker.

    `abandoned` turns true when the asker has gone away. It is read by the writer's thread as well; that is safe,
    for it only ever goes from False to True.
    """

    # The asker's task itself, and not an Event: ten thousand long polls wait for one of these.
    __slots__ = ("_asker", "_error", "_outcome", "abandoned")

    def __init__(self) -> None:
        self._asker: trio.lowlevel.Task | None = None
        self._outcome: O | Refusal | None = None
        self._error: Exception | None = None
        self.abandoned = False

    def settle(self, outcome: O | Refusal) -> None:
        self._outcome = outcome
        if self._asker is not None:
            self._wake(self._asker)

    def fail(self, error: Exception) -> None:
        """The message met a bug: the asker gets the exception."""
        self._error = error
        if self._asker is not None:
            self._wake(self._asker)

    def give_up(self, error: Exception) -> None:
        """The asker is to wait no longer, and gets the exception; an answer that is there already counts."""
        if self._outcome is None and self._error is None:
            self.abandoned = True
            self.fail(error)

    async def wait(self) -> O | Refusal:
        if self._outcome is None and self._error is None:
            self._asker = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abandon)
        if self._error is not None:
            raise self._error
        assert self._outcome is not None
        return self._outcome

    def _wake(self, asker: trio.lowlevel.Task) -> None:
        self._asker = None
        trio.lowlevel.reschedule(asker)

    def _abandon(self, _: object) -> trio.lowlevel.Abort:
        """The asker was cancelled."""
        self._asker = None
        self.abandoned = True
        return trio.lowlevel.Abort.SUCCEEDED


class Callback(Generic[O]):
    """A reply for an actor that goes on instead of waiting: it is called back, and must not block."""

    def __init__(
        self, done: Callable[[O | Refusal | Exception], None], abandoned: Callable[[], bool] = lambda: False
    ) -> None:
        self._done = done
        self._abandoned = abandoned

    @property
    def abandoned(self) -> bool:
        return self._abandoned()

    def settle(self, outcome: O | Refusal) -> None:
        self._done(outcome)

    def fail(self, error: Exception) -> None:
        self._done(error)


class Envelope(Generic[O]):
    """A message on its way: the plain data, where the answer goes, how it may be repeated, its audit record, which
    traced request is behind it (None: not traced), and which caller (None: an actor of ours)."""

    __slots__ = ("audit", "caller", "message", "repeat", "reply", "trace")

    def __init__(
        self,
        message: Message[O],
        reply: ReplyTo[O | Refusal],
        repeat: Repeatable | None = None,
        audit: Audit | None = None,
        trace: Trace | None = None,
        caller: Caller | None = None,
    ) -> None:
        self.audit = audit
        self.caller = caller
        self.message = message
        self.reply = reply
        self.repeat = repeat
        self.trace = trace


class Mailbox(Generic[M]):
    """A bounded trio memory channel with the two ways to use it."""

    def __init__(self, capacity: int) -> None:
        self._send, self._receive = trio.open_memory_channel[M | None](capacity)

    async def put(self, item: M) -> None:
        """Put, once there is room."""
        if not self.offer(item):
            await self._send.send(item)

    def offer(self, item: M) -> bool:
        """Put if there is room; whether there was."""
        try:
            self._send.send_nowait(item)
        except trio.WouldBlock:
            return False
        return True

    async def take(self, *, until: float = math.inf) -> M | None:
        """The next item; None for a nudge, or when `until` (trio's clock) has come."""
        try:
            return self._receive.receive_nowait()
        except trio.WouldBlock:
            pass
        if until == math.inf:
            return await self._receive.receive()
        with trio.move_on_at(until):
            return await self._receive.receive()
        return None

    def take_nowait(self) -> M | None:
        """The next item if there is one (None for a nudge too)."""
        try:
            return self._receive.receive_nowait()
        except trio.WouldBlock:
            return None

    def nudge(self) -> None:
        """Wake the owner. When the mailbox is full, it is about to look anyway."""
        try:
            self._send.send_nowait(None)
        except trio.WouldBlock:
            return

    def __len__(self) -> int:
        return self._receive.statistics().current_buffer_used

    @property
    def capacity(self) -> float:
        """How many items fit in before senders wait."""
        return self._receive.statistics().max_buffer_size


def ask(
    mailbox: Mailbox[Envelope[O]],
    message: Message[O],
    repeat: Repeatable | None = None,
    audit: Audit | None = None,
    trace: Trace | None = None,
    caller: Caller | None = None,
) -> Coroutine[Any, Any, O | Refusal]:
    """Send a message and wait for its answer.

    No coroutine of its own: each that waits is half a kilobyte of a long poll.
    """
    reply: Reply[O] = Reply()
    envelope = Envelope(message, reply, repeat, audit, trace, caller)
    return reply.wait() if mailbox.offer(envelope) else _ask_later(mailbox, envelope, reply)


async def _ask_later(mailbox: Mailbox[Any], envelope: Envelope[Any], reply: Reply[Any]) -> Any:
    await mailbox.put(envelope)
    return await reply.wait()
