"""One request that Hypercorn and Quart answer, between its lean reader and them. State owned here: the request's
progress.

Hypercorn's HTTP/1.1 (`H11Protocol`) is given exactly one request: its head, and its body as it was framed already.
Nothing of Hypercorn is subclassed. In the place of its connections and task groups stands `Exchange`, which is what
they are to the protocol: something that sends bytes, and something that runs the application.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from werkzeug.exceptions import BadRequest

from web.answer import GoneError

log = structlog.get_logger("blobforge.http")

MOST_MESSAGES = 8  # parts of a body that wait for the application: at most so many reads from the socket

AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]


class Wire(Protocol):
    """The connection, as far as an exchange needs it."""

    @property
    def client(self) -> tuple[str, int]: ...

    @property
    def server(self) -> tuple[str, int]: ...

    async def send(self, data: bytes) -> None:
        """Raises GoneError."""

    async def raw_part(self) -> bytes:
        """The next bytes of the body as they came, chunks' lines and all. Raises GoneError and BadRequest."""

    def watch(self, on_gone: Callable[[], object], /) -> None: ...

    def forget(self) -> None: ...


class Exchange:
    """One request and its answer; `wire` is the connection, `app` what Hypercorn serves. `run` it once."""

    def __init__(self, wire: Wire, app: AsgiApp, config: Config, context: WorkerContext, state: Any) -> None:
        self._wire = wire
        self._app = app
        self._nursery: trio.Nursery | None = None
        self._running = False
        self._head = b""
        self._head_sent = False
        self._gone = False
        self.bad_body = False  # what came for the body is none
        self._incoming = MessageQueue()
        self._protocol = H11Protocol(
            app,  # type: ignore[arg-type]  # it is only handed to `spawn_app`
            config,
            context,
            self,  # type: ignore[arg-type]
            ConnectionState(state),
            False,
            wire.client,
            wire.server,
            self.send,
        )

    @property
    def begun(self) -> bool:
        """Whether a part of the answer has been sent."""
        return self._head_sent

    @property
    def ended_well(self) -> bool:
        """Whether the answer was sent whole, and more may follow it."""
        return self._protocol.connection.our_state in (h11.IDLE, h11.DONE) and not self._gone

    async def run(self, head: bytes) -> None:
        """Run until the application is done, or the body turns out to be none."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._protocol.handle(RawData(head))
            if not self._running:
                return
            try:
                while part := await self._wire.raw_part():
                    await self._protocol.handle(RawData(part))
                with trio.CancelScope() as waiting:
                    self._wire.watch(waiting.cancel)
                    try:
                        await trio.sleep_forever()  # until the application is done
                    finally:
                        self._wire.forget()
            except BadRequest:
                self.bad_body = True
                nursery.cancel_scope.cancel()
            except GoneError:
                pass
            # The client has gone: the application is told, and cancels what it does.
            await self._protocol.handle(Closed())
            await trio.sleep_forever()

    # --- what Hypercorn's protocol takes for its connection

    async def send(self, event: Event) -> None:
        """Send what the protocol says. The head goes out with what comes behind it."""
        if isinstance(event, RawData):
            if not self._head_sent and not self._head and not event.data.startswith(b"HTTP/1.1 1"):
                self._head = event.data
                return
            await self._send(event.data)
        elif self._head:
            await self._send(b"")

    async def _send(self, data: bytes) -> None:
        if self._head:
            data, self._head, self._head_sent = self._head + data, b"", True
        if not data or self._gone:
            return
        try:
            await self._wire.send(data)
        except GoneError:
            self._gone = True
            await self._protocol.handle(Closed())

    # --- what it takes for its task group

    async def spawn_app(
        self, app: AsgiApp, config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        """Run the application; returns what messages are put for it with."""
        assert self._nursery is not None
        self._running = True
        self._nursery.start_soon(self._run_app, scope, send)
        return self._incoming.put

    async def _run_app(self, scope: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        assert self._nursery is not None
        try:
            try:
                await self._app(scope, self._incoming.receive, send)
            except Exception:
                log.exception("the application broke")
            await send(None)
        finally:
            self._nursery.cancel_scope.cancel()


class MessageQueue:
    """The messages that a request's application has still to receive.

    In place of a memory channel: there each message is a round of trio's scheduler, and the smallest request has
    three of them, 35 us.
    """

    def __init__(self) -> None:
        self._most: float = MOST_MESSAGES
        self._messages: deque[Any] = deque()
        self._moved = trio.lowlevel.ParkingLot()

    async def put(self, message: Any) -> None:
        """Add a message; waits while MOST_MESSAGES have not been received."""
        if message["type"].endswith(".disconnect"):
            self._most = math.inf  # the last one; the application may be done, and receive nothing any more
        while len(self._messages) >= self._most:
            await self._moved.park()
        self._messages.append(message)
        self._moved.unpark_all()

    async def receive(self) -> Any:
        while not self._messages:
            await self._moved.park()
        message = self._messages.popleft()
        self._moved.unpark_all()
        return message
