"""Connections accepted, looked at once a second, and ended. State owned here: the open connections.

Hypercorn's own server has no cap on connections, keeps a task and two timers beside each, and shields what it sends.
This stands in its place, for what Hypercorn answers as well: see `exchange.py`.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.typing import LifespanState

from web.connection.connection import Connection
from web.connection.exchange import AsgiApp
from web.connection.hot import HotRoutes
from web.connection.places import FIRST_BYTE, Places
from web.connection.shared import SharedParts
from web.limits import Unread
from web.metrics.requests import Requests

log = structlog.get_logger("blobforge.http")

LOOK_SECONDS = 1.0  # between two looks at the connections' deadlines
ACCEPTED_AT_ONCE = 100  # before others have a turn
NO_FILES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
NO_FILES_SECONDS = 0.1
TOLD_SECONDS = 60.0


class Server:
    """Serves `app` and the hot routes on one listening socket, which must not block."""

    def __init__(
        self,
        app: AsgiApp,
        hot: HotRoutes,
        config: Config,
        listener: socket.socket,
        places: Places,
        requests: Requests,
        unread: Unread,
    ) -> None:
        self._app = app
        self._config = config
        self._listener = listener
        self._places = places
        self._state: LifespanState = {}
        self._shared = SharedParts(app, hot, config, requests, self._state, unread)
        self._open: set[Connection] = set()
        self._told_at = -TOLD_SECONDS  # when it was logged that no connection can be accepted

    async def serve(
        self,
        *,
        shutdown: Callable[[], Awaitable[object]],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `shutdown` returns; then no new connection, and `graceful_timeout` seconds for open ones."""
        lifespan = Lifespan(ASGIWrapper(self._app), self._config, self._state)
        async with trio.open_nursery() as beside:
            await beside.start(lifespan.handle_lifespan)
            await lifespan.wait_for_startup()
            beside.start_soon(self._shared.departures.run)
            beside.start_soon(self._look)
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(self._accept, connections)
                    task_status.started()
                    await shutdown()
                    accepting.cancel_scope.cancel()
                self._shared.stopping = True
                await self._shared.context.terminated.set()
                connections.cancel_scope.deadline = trio.current_time() + self._config.graceful_timeout
                for connection in list(self._open):
                    if connection.idle:
                        connection.close()
            await lifespan.wait_for_shutdown()
            beside.cancel_scope.cancel()

    async def _accept(self, connections: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._listener)
            for _ in range(ACCEPTED_AT_ONCE):
                try:
                    accepted, address = self._listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in NO_FILES:
                        self._cannot_accept(error)
                        await trio.sleep(NO_FILES_SECONDS)
                    continue  # else: the client has gone again already
                self._admit(accepted, address[:2] if address else ("", 0), connections)
            await trio.lowlevel.checkpoint()

    def _cannot_accept(self, error: OSError) -> None:
        """Told once in a while: it is tried again many times a second."""
        now = trio.current_time()
        if now - self._told_at >= TOLD_SECONDS:
            self._told_at = now
            log.warning("cannot accept connections", reason=str(error))

    def _admit(self, accepted: socket.socket, client: tuple[str, int], connections: trio.Nursery) -> None:
        if not self._places.take(client[0], trio.current_time()):
            accepted.close()
            return
        accepted.setblocking(False)
        if accepted.family != socket.AF_UNIX:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections.start_soon(self._run, Connection(accepted, client, self._shared))

    async def _run(self, connection: Connection) -> None:
        self._open.add(connection)
        try:
            await connection.run()
        except Exception:
            # A bug, brought about by a client: it ends this connection, and no other.
            log.exception("a connection broke off")
        finally:
            connection.close()
            self._open.discard(connection)
            self._places.give(connection.client[0])

    async def _look(self) -> None:
        """Close those whose clients have taken too long."""
        while True:
            await trio.sleep(LOOK_SECONDS)
            now = trio.current_time()
            silent = now + FIRST_BYTE - self._places.first_byte_seconds
            for connection in list(self._open):
                until = silent if connection.stranger and connection.idle else now
                if connection.reading_until < until or connection.sending_until < now:
                    connection.expire()
