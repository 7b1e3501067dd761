"""A way to the server that stays where it is while servers come and go, and that cuts connections in mid-answer."""

from __future__ import annotations

import random
import socket
import struct

import trio

PIECE = 65_536


class Relay:
    """Passes connections on to the port that it was is led to; new ones wait while there is none. Of all answers the
    share `cut` is passed on in part, and both sides are reset then; `cuts` counts them."""

    def __init__(self, dice: random.Random) -> None:
        self._port = 0
        self._there = trio.Event()
        self.cut = 0.0
        self.cuts = 0
        self.url = ""
        self._dice = dice

    def lead_to(self, port: int) -> None:
        """0: nowhere."""
        self._port = port
        if port:
            self._there.set()
        else:
            self._there = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=512)
        self.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        await trio.serve_listeners(self._pass_on, [listener], task_status=_Started(task_status))

    async def _pass_on(self, client: trio.SocketStream) -> None:
        await self._there.wait()
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self._port)
        except OSError:
            _reset(client)
            return
        async with trio.open_nursery() as both:

            async def pump(source: trio.SocketStream, sink: trio.SocketStream, *, may_cut: bool) -> None:
                try:
                    while piece := await source.receive_some(PIECE):
                        if may_cut and self._dice.random() < self.cut:
                            await sink.send_all(piece[: self._dice.randrange(len(piece))])
                            self.cuts += 1
                            break
                        await sink.send_all(piece)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass
                both.cancel_scope.cancel()

            both.start_soon(lambda: pump(client, server, may_cut=False))
            both.start_soon(lambda: pump(server, client, may_cut=True))
        _reset(client)
        _reset(server)


class _Started(trio.TaskStatus[object]):
    """What `serve_listeners` reports is nobody's business here."""

    def __init__(self, told: trio.TaskStatus[None]) -> None:
        self._told = told

    def started(self, _value: object = None) -> None:
        self._told.started()


def _reset(stream: trio.SocketStream) -> None:
    """Close with a reset: what was not read yet is lost."""
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()
