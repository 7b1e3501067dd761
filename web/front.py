"""Hypercorn, with a cap on connections (in total, and from one address) and with less work around each request.

Hypercorn has no cap, and its `serve` makes its listeners itself; so this does what its `worker_serve` does (Hypercorn
0.18, `hypercorn/trio/run.py`) with a listener of ours, and nothing of its workers, TLS and QUIC, which stand before
this server and not in it. A connection above the cap is closed as soon as it is accepted.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, NoReturn

import h11
import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, RawData, Updated
from hypercorn.protocol import ProtocolWrapper
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.task_group import TaskGroup, _handle
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, H11SendableEvent, LifespanState
from hypercorn.utils import parse_socket_addr

from web.answer import WHEN_GONE
from web.limits import Limit

log = structlog.get_logger("blobforge.http")

IDLE_LOOK_SECONDS = 1.0


class CappedListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts while there is room, and closes at once what comes beyond it."""

    def __init__(self, listener: trio.abc.Listener[trio.SocketStream], limit: Limit) -> None:
        self._listener = listener
        self._limit = limit
        self._held: dict[trio.SocketStream, ExitStack] = {}
        self.refused = 0

    async def accept(self) -> trio.SocketStream:
        while True:
            stream = await self._listener.accept()
            try:
                address = stream.socket.getpeername()[0]
            except OSError:  # gone again already
                await trio.aclose_forcefully(stream)
                continue
            held = ExitStack()
            if held.enter_context(self._limit.room(address)):
                self._held[stream] = held
                return stream
            held.close()
            self.refused += 1
            await trio.aclose_forcefully(stream)

    def release(self, stream: trio.SocketStream) -> None:
        """The connection has ended."""
        self._held.pop(stream).close()

    async def hang_up(self) -> None:
        """Until cancelled; then close what is still open. Hypercorn shields whatever it sends: a client that does
        not read its answer would hold up the end of the server for as long as it likes."""
        try:
            await trio.sleep_forever()
        finally:
            for stream in self._held:
                stream.socket.close()

    async def aclose(self) -> None:
        await self._listener.aclose()


class Protocol(H11Protocol):
    """Hypercorn's HTTP/1.1, that sends the head of an answer together with what comes behind it."""

    _head = b""

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            self._head = data
            return
        data, self._head = self._head + data, b""
        if data:  # the end of a body of known length is nothing
            await self.send(RawData(data=data))

    async def _send_error_response(self, status_code: int) -> None:
        # 501 is for a transfer coding that nobody knows: the client's mistake, and an alarm of ours.
        await super()._send_error_response(400 if status_code == 501 else status_code)


class Incoming:
    """What is put for a request's application to receive.

    In place of Hypercorn's memory channel: there, each message is a round of trio's scheduler, and there are three in
    the smallest request, 35 us of it.
    """

    def __init__(self, most: int) -> None:
        self._most: float = most
        self._messages: list[Any] = []  # a few at most; a deque takes 0.7 KB, and long polls are many
        self._moved = trio.lowlevel.ParkingLot()
        self._gone = False
        self._told: Callable[[], None] | None = None

    def when_gone(self, told: Callable[[], None]) -> None:
        """See WHEN_GONE."""
        self._told = told
        if self._gone:
            told()

    async def put(self, message: Any) -> None:
        """Waits while there are `most` messages that nobody has received."""
        if message["type"].endswith(".disconnect"):
            self._most = math.inf  # the last one; the application may be done, and receive nothing any more
            self._gone = True
            if self._told is not None:
                self._told()
        while len(self._messages) >= self._most:
            await self._moved.park()
        self._messages.append(message)
        self._moved.unpark_all()

    async def receive(self) -> Any:
        while not self._messages:
            await self._moved.park()
        message = self._messages.pop(0)
        self._moved.unpark_all()
        return message


def _no_threads(*_: Any) -> NoReturn:
    raise NotImplementedError("no WSGI application is served here")


class Tasks(TaskGroup):
    """Hypercorn's, with our queues."""

    async def spawn_app(self, app: Any, config: Config, scope: Any, send: Any) -> Any:
        assert self._nursery is not None
        incoming = Incoming(config.max_app_queue_size)
        scope["extensions"][WHEN_GONE] = incoming.when_gone
        handle = partial(
            _handle, app, config, scope, incoming.receive, send, sync_spawn=_no_threads, call_soon=_no_threads
        )
        self._nursery.start_soon(handle)
        return incoming.put


class Protocols(ProtocolWrapper):
    """Hypercorn's choice between HTTP/1.1 and HTTP/2, with our HTTP/1.1."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.protocol = Protocol(*arguments)


class Idle:
    """The connections that wait for a request. State owned here: since when each of them does.

    In place of Hypercorn's own, which start and cancel a task around each request: 80 us of it.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._since: dict[Connection, float] = {}  # the one that has waited longest is the first

    def begins(self, connection: Connection) -> None:
        self._since.pop(connection, None)
        self._since[connection] = trio.current_time()

    def ends(self, connection: Connection) -> None:
        self._since.pop(connection, None)

    async def run(self) -> None:
        """Close those that have waited too long."""
        while True:
            await trio.sleep(IDLE_LOOK_SECONDS)
            await self.close(trio.current_time() - self._patience)

    async def close(self, before: float = math.inf) -> None:
        """Close those that wait since before this moment; all of them where none is given."""
        async with trio.open_nursery() as nursery:
            while self._since:
                connection, since = next(iter(self._since.items()))
                if since > before:
                    return
                del self._since[connection]
                nursery.start_soon(connection.close_idle)


class Connection(TCPServer):
    """Hypercorn's, without what it does for TLS, and ending when its client goes.

    Hypercorn (0.18) waits out the keep-alive timeout first, the socket in CLOSE_WAIT: clients that come and go would
    fill their address's room with connections that nobody holds any longer.
    """

    _gone = False

    def __init__(
        self, app: ASGIWrapper, config: Config, context: WorkerContext, state: LifespanState,
        stream: trio.SocketStream, idle: Idle,
    ) -> None:  # fmt: skip
        super().__init__(app, config, context, state, stream)  # type: ignore[arg-type]  # plain works, too
        self._idle = idle
        del self.idle_task  # `Idle` is in its place

    async def run(self) -> None:
        socket = self.stream.socket
        try:
            client = parse_socket_addr(socket.family, socket.getpeername())
            server = parse_socket_addr(socket.family, socket.getsockname())
            async with Tasks() as tasks:
                state = ConnectionState(self.state)
                self.protocol = Protocols(
                    self.app, self.config, self.context, tasks, state, False, client, server, self.protocol_send
                )
                if not self.context.terminated.is_set():
                    self._idle.begins(self)
                    await self._read_data()
        except OSError:
            pass
        finally:
            self._idle.ends(self)
            await self._close()

    async def _read_data(self) -> None:
        await super()._read_data()
        self._gone = True
        self._idle.ends(self)

    async def protocol_send(self, event: Event) -> None:
        if not isinstance(event, Updated):
            await super().protocol_send(event)
        elif event.idle and not self._gone:
            self._idle.begins(self)
        else:
            self._idle.ends(self)

    async def close_idle(self) -> None:
        """Nothing has been asked for too long, or the server stops."""
        with trio.CancelScope(shield=True):
            await self._initiate_server_close()


class Targets(ASGIWrapper):
    """Requests without a path (`GET ?x`) lead nowhere. Quart (0.22) breaks, looking for their first character."""

    async def __call__(self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any) -> None:
        if scope["type"] != "lifespan" and not scope["path"]:
            scope["path"] = "*"  # what no route is for
        await self.app(scope, receive, send)


async def serve(
    app: Any,
    config: Config,
    listener: CappedListener,
    *,
    shutdown: Callable[[], Awaitable[object]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application until `shutdown` returns; then no new connection, and `graceful_timeout` for the open
    ones."""
    wrapped = Targets(app)
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, state)
    context = WorkerContext(None)
    idle = Idle(config.keep_alive_timeout)

    async def connection(stream: trio.SocketStream) -> None:
        try:
            await Connection(wrapped, config, context, state.copy(), stream, idle).run()
        except* Exception as errors:
            # What a client brings about ends its own connection and nobody else's. Hypercorn lets some of it out: one
            # that closes in the middle of its body, while it is being answered, would take the whole server down.
            log.warning("a connection broke off", error=repr(errors.exceptions[0]))
        finally:
            listener.release(stream)

    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as ending:
            ending.start_soon(listener.hang_up)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(
                        partial(trio.serve_listeners, connection, [listener], handler_nursery=connections)
                    )
                    accepting.start_soon(idle.run)
                    task_status.started()
                    await shutdown()
                    accepting.cancel_scope.cancel()
                await context.terminated.set()
                await idle.close()
                ending.cancel_scope.deadline = trio.current_time() + config.graceful_timeout
            ending.cancel_scope.cancel()
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel()
