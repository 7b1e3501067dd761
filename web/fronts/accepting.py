"""How several processes take turns to accept from one listening socket. No state but the socket."""

from __future__ import annotations

import socket

import trio

from web.limits import Limit

# Seconds that a front leaves to the others when it has more connections than they have on average. Connections stay
# for days: without it, the process that happens to be quicker in a busy moment would have the most work for as long.
PAUSE = 0.002


class SharedListener(trio.abc.Listener[trio.SocketStream]):
    """The listening socket that all fronts have; `connections` knows how many are open here and elsewhere."""

    def __init__(self, listener: socket.socket, connections: Limit, *, others: int) -> None:
        self._listener = listener
        self._connections = connections
        self._others = others

    async def accept(self) -> trio.SocketStream:
        """The next connection that none of the others has taken."""
        while True:
            await trio.lowlevel.wait_readable(self._listener)
            if self._connections.used * self._others > self._connections.elsewhere:
                await trio.sleep(PAUSE)
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            accepted.setblocking(False)
            return trio.SocketStream(trio.socket.from_stdlib_socket(accepted))

    async def aclose(self) -> None:
        self._listener.close()
        await trio.lowlevel.checkpoint()
