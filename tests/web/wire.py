"""A server on real sockets in this process, read by the lean reader or by Hypercorn alone, and bare clients of it."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import h11
import trio
from werkzeug.routing import Map

from blobforge.config import Settings
from blobforge.serve.listener import http_settings
from tests.fixtures.local import LocalServer
from web.app import LINES
from web.connection.hot import HotRoutes
from web.connection.places import KnownAddresses, Places
from web.connection.serving import Server
from web.limits import Limit, Unread
from web.metrics.requests import Requests

PATIENCE = 3600  # seconds of the clock that the test runs on, mostly a virtual one; none is asserted
# What is new in each answer; a signed URL says until when it is good, and a virtual second may have passed.
_NEW = re.compile(rb'"request_id":"[0-9a-f]{16}"|(?<=[?&])(?:expires=\d+|sig=[0-9a-f]{64})')
NO_ROUTES = HotRoutes([], Map(), headers=lambda asked: LINES, largest=1 << 20, patience=30)


@dataclass
class Served:
    server: Server
    port: int
    limit: Limit
    stop: trio.Event


@asynccontextmanager
async def served(
    app: Any,
    hot: HotRoutes = NO_ROUTES,
    *,
    grace: float = 5.0,
    limit: Limit | None = None,
    known: KnownAddresses | None = None,
    host: str = "127.0.0.1",
    unread: Unread | None = None,
    send_buffer: int | None = None,
) -> AsyncIterator[Served]:
    """An application before a port of its own; ended as SIGTERM ends it, behind the block or by `stop`. With a small
    `send_buffer` the system takes little of an answer that its client does not read."""
    limit, stop = limit or Limit(1000), trio.Event()
    with socket.create_server((host, 0)) as listener:
        listener.setblocking(False)
        if send_buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        config = http_settings(Settings(shutdown_grace=grace))
        server = Server(
            app, hot, config, listener, Places(limit, known or KnownAddresses()), Requests(), unread or Unread()
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(server.serve, shutdown=stop.wait))
            yield Served(server, listener.getsockname()[1], limit, stop)
            stop.set()


@asynccontextmanager
async def lean(local: LocalServer, **options: Any) -> AsyncIterator[Served]:
    """As a server has it: hot routes by the lean reader, any other by Hypercorn."""
    async with served(local.app.asgi_app, local.app.hot, **options) as server:
        yield server


@asynccontextmanager
async def by_hypercorn(local: LocalServer, **options: Any) -> AsyncIterator[Served]:
    """The same without hot routes."""
    async with served(local.app.asgi_app, **options) as server:
        yield server


async def connect(server: Served, address: str = "127.0.0.1") -> trio.SocketStream:
    """A connection from one of this machine's loopback addresses."""
    client = trio.socket.socket()
    await client.bind((address, 0))
    await client.connect(("127.0.0.1", server.port))
    return trio.SocketStream(client)


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def comparable(self) -> tuple[int, dict[str, str], bytes]:
        """All of it, but for what is new each time."""
        headers = {name: value for name, value in self.headers.items() if name not in ("x-request-id", "date")}
        return self.status, headers, _NEW.sub(b"", self.body)


async def answers(stream: trio.SocketStream, most: int | None = None) -> list[Answered]:
    """What comes back until the server closes, or until there are so many answers. Raises when it is no HTTP."""
    reader = h11.Connection(h11.CLIENT)
    found: list[Answered] = []
    with trio.fail_after(PATIENCE):
        while most is None or len(found) < most:
            reader.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
            reader.send(h11.EndOfMessage())
            answer = await _answer(reader, stream)
            if answer is None:
                break
            found.append(answer)
            if reader.our_state is h11.MUST_CLOSE or reader.their_state is h11.MUST_CLOSE:
                assert await _rest(stream) == b"", "nothing comes behind an answer that closes"
                break
            reader.start_next_cycle()
    return found


async def _answer(reader: h11.Connection, stream: trio.SocketStream) -> Answered | None:
    start: h11.Response | None = None
    body = b""
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA:
            try:
                data = await stream.receive_some(65536)
            except trio.BrokenResourceError:
                return None
            if not data and start is None:
                return None
            reader.receive_data(data)
        elif isinstance(event, h11.Response):
            start = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert start is not None
            lines = [(name.decode().lower(), value.decode("latin1")) for name, value in start.headers]
            assert len(dict(lines)) == len(lines), "a header was sent twice"
            return Answered(start.status_code, dict(lines), body)
        elif not isinstance(event, h11.InformationalResponse):
            return None


async def _rest(stream: trio.SocketStream) -> bytes:
    said = b""
    try:
        while part := await stream.receive_some(65536):
            said += part
    except trio.BrokenResourceError:
        pass
    return said


async def asked(server: Served, sent: bytes, most: int | None = 1, *, address: str = "127.0.0.1") -> list[Answered]:
    """The answers to these bytes, on a connection of their own."""
    async with await connect(server, address) as stream:
        await stream.send_all(sent)
        return await answers(stream, most)


@contextmanager
def as_bytes_take(clock: Any) -> Iterator[None]:
    """Within the block a virtual clock waits for bytes that are on their way through the system: they take real time,
    and on a busy machine it would else jump past the deadlines of who reads them."""
    before, clock.autojump_threshold = clock.autojump_threshold, 0.25
    try:
        yield
    finally:
        clock.autojump_threshold = before


def post(
    path: str,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
    *,
    method: str = "POST",
    length: int | None = None,
) -> bytes:
    """The bytes of a request with a body of known length."""
    lines = {"host": "blobforge.test", "content-length": str(len(body) if length is None else length)} | (
        headers or {}
    )
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin1") + body


async def eventually(true: Callable[[], bool | Awaitable[bool]]) -> None:
    with trio.fail_after(PATIENCE):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await trio.sleep(0.01)
