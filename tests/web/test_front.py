"""What we do to Hypercorn: idle connections, requests that end badly, answers that go out in one piece."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from blobforge.config import Settings
from blobforge.listener import http_settings
from web import front
from web.limits import Limit


class Idler:
    def __init__(self) -> None:
        self.closed = False

    async def close_idle(self) -> None:
        await trio.lowlevel.checkpoint()
        self.closed = True


async def test_who_asks_for_nothing_for_too_long_is_closed(autojump_clock: Any) -> None:
    idle = front.Idle(patience=75)
    quiet, busy, back = Idler(), Idler(), Idler()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(idle.run)
        for each in (quiet, busy, back):
            idle.begins(each)  # type: ignore[arg-type]
        await trio.sleep(50)
        idle.ends(busy)  # type: ignore[arg-type]
        idle.begins(back)  # type: ignore[arg-type]
        await trio.sleep(30)
        assert (quiet.closed, busy.closed, back.closed) == (True, False, False)
        await trio.sleep(50)
        assert (busy.closed, back.closed) == (False, True)
        nursery.cancel_scope.cancel()


async def test_all_idle_ones_are_closed_at_the_end(autojump_clock: Any) -> None:
    idle = front.Idle(patience=75)
    waits, works = Idler(), Idler()
    for each in (waits, works):
        idle.begins(each)  # type: ignore[arg-type]
    idle.ends(works)  # type: ignore[arg-type]
    await idle.close()
    assert (waits.closed, works.closed) == (True, False)


async def answers(scope: Any, receive: Any, send: Any) -> None:
    """Reads nothing of the body."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/large":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(50_000_000), "more_body": False})
        return
    body = b"1234567890"
    headers = [(b"content-length", b"10")] if scope["path"] != "/stream" else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body[:5], "more_body": True})
    await send({"type": "http.response.body", "body": body[5:], "more_body": False})


@asynccontextmanager
async def served(grace: float = 30.0) -> AsyncIterator[int]:
    """The port of a front before `answers`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        capped = front.CappedListener(trio.SocketListener(trio.socket.from_stdlib_socket(listener)), Limit(100))
        config, stop = http_settings(Settings(shutdown_grace=grace)), trio.Event()
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(front.serve, answers, config, capped, shutdown=stop.wait)  # type: ignore[arg-type]
            )
            yield listener.getsockname()[1]
            stop.set()


async def sent(stream: trio.SocketStream, data: bytes) -> bytes:
    """All that comes back until there is the end of an answer, or of the connection."""
    with trio.fail_after(30):
        await stream.send_all(data)
        heard = b""
        while not heard.endswith((b"67890", b"0\r\n\r\n")) and (part := await stream.receive_some()):
            heard += part
    return heard


async def flood(stream: trio.SocketStream) -> None:
    for _ in range(1500):
        await stream.send_all(bytes(65536))


@pytest.mark.parametrize("path", ["/", "/stream"])
async def test_one_connection_serves_many_requests(path: str) -> None:
    async with served() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for _ in range(3):
            heard = await sent(stream, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert heard.startswith(b"HTTP/1.1 200")
            assert heard.count(b"HTTP/1.1") == 1
        both = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2
        heard = await sent(stream, both)
        while heard.count(b"67890") < 2:
            heard += await sent(stream, b"")
        assert heard.count(b"HTTP/1.1 200") == 2


async def test_a_body_that_nobody_reads_ends_its_connection_only() -> None:
    async with served() as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
            assert (await sent(stream, head)).startswith(b"HTTP/1.1 200")
            with trio.fail_after(30), pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
                await flood(stream)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            assert (await sent(stream, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_transfer_coding_that_nobody_knows_is_the_clients_mistake() -> None:
    async with served() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        heard = await sent(stream, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: rot13\r\n\r\n")
        assert heard.startswith(b"HTTP/1.1 400")


async def test_http_2_is_spoken_too() -> None:
    async with served() as port, await trio.open_tcp_stream("127.0.0.1", port) as stream:
        with trio.fail_after(30):
            await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            heard = await stream.receive_some()
        assert heard[3] == 4, "a frame of settings comes first"


async def test_who_does_not_read_an_answer_holds_up_the_end_for_the_grace_and_no_longer() -> None:
    with trio.fail_after(30):
        async with AsyncExitStack() as clients, served(grace=0.2) as port:
            stream = await clients.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
            await stream.send_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive_some(10)) == b"HTTP/1.1 2"
