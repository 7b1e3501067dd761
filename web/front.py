"""Hypercorn, with a cap on connections: in total, and from one address.

Hypercorn has none, and its `serve` makes its listeners itself; so this does what its `worker_serve` does (Hypercorn
0.18, `hypercorn/trio/run.py`) with a listener of ours, and nothing of its workers, TLS and QUIC, which stand before
this server and not in it. A connection above the cap is closed as soon as it is accepted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, Updated
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState, LifespanState
from quart_trio import QuartTrio

from web.limits import Limit

log = structlog.get_logger("blobforge.http")


class CappedListener(trio.abc.Listener[trio.SocketStream]):
    """Accepts while there is room, and closes at once what comes beyond it."""

    def __init__(self, listener: trio.SocketListener, limit: Limit) -> None:
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

    async def aclose(self) -> None:
        await self._listener.aclose()


class Connection(TCPServer):
    """Hypercorn's, that ends when its client goes.

    Hypercorn (0.18) waits out the keep-alive timeout first, the socket in CLOSE_WAIT: clients that come and go would
    fill their address's room with connections that nobody holds any longer.
    """

    _gone = False

    async def _read_data(self) -> None:
        await super()._read_data()
        self._gone = True
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        if self._gone and isinstance(event, Updated):
            return  # nothing is to be waited for
        await super().protocol_send(event)


class Targets(ASGIWrapper):
    """Requests without a path (`GET ?x`) lead nowhere. Quart (0.22) breaks, looking for their first character."""

    async def __call__(self, scope: Any, receive: Any, send: Any, sync_spawn: Any, call_soon: Any) -> None:
        if scope["type"] != "lifespan" and not scope["path"]:
            scope["path"] = "*"  # what no route is for
        await super().__call__(scope, receive, send, sync_spawn, call_soon)


async def serve(
    app: QuartTrio,
    config: Config,
    listener: CappedListener,
    *,
    shutdown: Callable[[], Awaitable[object]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` returns; then no new connection, and `graceful_timeout` for the open ones."""
    wrapped = Targets(app)
    state: LifespanState = {}
    lifespan = Lifespan(wrapped, config, state)
    context = WorkerContext(None)

    async def connection(stream: trio.SocketStream) -> None:
        try:
            await Connection(wrapped, config, context, ConnectionState(state.copy()), stream)  # type: ignore[arg-type]  # plain works, too
        except* Exception as errors:
            # What a client brings about ends its own connection and nobody else's. Hypercorn lets some of it out: one
            # that closes in the middle of its body, while it is being answered, would take the whole server down.
            log.warning("a connection broke off", error=repr(errors.exceptions[0]))
        finally:
            listener.release(stream)

    async with trio.open_nursery() as lifespan_nursery:
        await lifespan_nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(
                    partial(trio.serve_listeners, connection, [listener], handler_nursery=connections)
                )
                task_status.started()
                await shutdown()
                accepting.cancel_scope.cancel()
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + config.graceful_timeout
        await lifespan.wait_for_shutdown()
        lifespan_nursery.cancel_scope.cancel()
