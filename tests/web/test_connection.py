"""Connections on the socket: one after the other, several at once, slowly, badly, and to their ends."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
import trio
import trio.lowlevel

from tests.fixtures.server import ServerProcess
from tests.web.wire import answers, as_bytes_take, asked, connect, eventually, post, served
from web.connection import connection, places, shared

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads nothing of the body, but for `/read` and `/slow`."""
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    body, more = b"1234567890", scope["path"] in ("/read", "/slow")
    if more:
        body = b""
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
            if scope["path"] == "/slow":
                await trio.sleep(1)
        body = str(len(body)).encode()
    elif scope["path"] == "/large":
        body = bytes(50_000_000)
    elif scope["path"] == "/breaks":
        raise RuntimeError("a bug")
    headers = [(b"content-length", str(len(body)).encode())] if scope["path"] != "/stream" else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body[:5], "more_body": True})
    if scope["path"] == "/breaks-late":
        raise RuntimeError("a bug")
    await send({"type": "http.response.body", "body": body[5:], "more_body": False})


# ------------------------------------------------------------------ many requests


@pytest.mark.parametrize("path", ["/", "/stream"])
async def test_one_connection_serves_many_requests(path: str, autojump_clock: Any) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    async with served(app) as server, await connect(server) as stream:
        for _ in range(3):
            await stream.send_all(request)
            (answer,) = await answers(stream, 1)
            assert (answer.status, answer.body) == (200, b"1234567890")
        await stream.send_all(request * 50)
        assert [answer.status for answer in await answers(stream, 50)] == [200] * 50


async def test_bodies_in_chunks_and_of_known_length(autojump_clock: Any) -> None:
    known = post("/read", b"x" * 100_000)
    chunked = b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%X\r\n%s\r\n" % (size, b"x" * size) for size in (1, 10, 70_000)) + b"0\r\n\r\n"
    async with served(app) as server, await connect(server) as stream:
        await stream.send_all((known + chunked + chunks) * 3)
        assert [each.body for each in await answers(stream, 6)] == [b"100000", b"70011"] * 3
        for byte in chunked + chunks[:200]:
            await stream.send_all(bytes([byte]))
        await stream.send_all(chunks[200:] + GET)
        assert [each.body for each in await answers(stream, 2)] == [b"70011", b"1234567890"]


async def test_who_waits_for_100_is_told_to_go_on(autojump_clock: Any) -> None:
    async with served(app) as server, await connect(server) as stream:
        await stream.send_all(post("/read", b"", {"expect": "100-continue"}, length=5))
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100 ")
        await stream.send_all(b"hello")
        assert (await answers(stream, 1))[0].body == b"5"


@pytest.mark.parametrize(
    "request_",
    [GET.replace(b"Host", b"Connection: close\r\nHost"), GET.replace(b"Host", b"Connection: x , Close\r\nHost"),
     GET.replace(b"Host", b"Connection: x\r\nConnection: close\r\nHost"), b"GET / HTTP/1.0\r\n\r\n",
     b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"],
)  # fmt: skip
async def test_bytes_behind_the_last_request_are_not_carried_out(request_: bytes, autojump_clock: Any) -> None:
    async with served(app) as server:
        (answer,) = await asked(server, request_ + GET, None)
        assert answer.headers["connection"] == "close"


async def test_half_a_close_is_answered(autojump_clock: Any) -> None:
    async with served(app) as server, await connect(server) as stream:
        await stream.send_all(GET)
        await stream.send_eof()
        assert [each.status for each in await answers(stream)] == [200]


async def test_a_bug_ends_its_request_and_no_other(autojump_clock: Any, capsys: pytest.CaptureFixture[str]) -> None:
    async with served(app) as server:
        (answer,) = await asked(server, GET.replace(b"/ ", b"/breaks "), None)
        assert answer.status == 500
        with pytest.raises(Exception, match="peer closed"):
            await asked(server, GET.replace(b"/ ", b"/breaks-late "), None)
        assert (await asked(server, GET))[0].status == 200
    assert "a bug" in capsys.readouterr().out


# ------------------------------------------------------------------ limits


@pytest.mark.parametrize("step", [1 << 20, 7919, 501])
@pytest.mark.parametrize("header", [b"X: " + b"x" * 60_000 + b"\r\n", b"X-Y: z\r\n" * 8_000])
async def test_a_head_is_too_large_in_one_read_as_in_many(header: bytes, step: int, autojump_clock: Any) -> None:
    sent = GET.replace(b"\r\n\r\n", b"\r\n" + header + b"\r\n")
    async with served(app) as server, await connect(server) as stream:
        for at in range(0, len(sent), step):
            try:
                await stream.send_all(sent[at : at + step])
            except trio.BrokenResourceError:
                break
            await trio.lowlevel.checkpoint()
        (answer,) = await answers(stream)
        assert (answer.status, answer.headers["connection"]) == (431, "close")


async def test_a_head_has_so_many_lines(autojump_clock: Any) -> None:
    async with served(app) as server:
        for more, status in ((99, 200), (100, 431)):
            lines = b"".join(b"X-%d: y\r\n" % number for number in range(more))
            assert (await asked(server, GET.replace(b"Host", lines + b"Host")))[0].status == status


@pytest.mark.parametrize(("said", "seconds", "status"), [(b"", 75, None), (b"G", 15, 408), (GET[:-2], 15, 408)])
async def test_silence_is_closed(said: bytes, seconds: float, status: int | None, autojump_clock: Any) -> None:
    async with served(app) as server, await connect(server) as stream:
        began = trio.current_time()
        await stream.send_all(said)
        assert [each.status for each in await answers(stream)] == ([status] if status else [])
        assert seconds <= trio.current_time() - began <= seconds + 2
        await eventually(lambda: server.limit.used == 0)


async def test_so_is_one_that_says_a_byte_a_second_and_one_between_two_requests(autojump_clock: Any) -> None:
    async with served(app) as server, await connect(server) as stream:
        began = trio.current_time()
        for byte in b"GET / HTTP/1.1\r\nHost: " + b"x" * 100:
            try:
                await stream.send_all(bytes([byte]))
            except trio.BrokenResourceError:
                break
            await trio.sleep(1)
        assert trio.current_time() - began <= shared.HEAD + 3
        async with await connect(server) as idle:
            await idle.send_all(GET)
            assert len(await answers(idle, 1)) == 1
            began = trio.current_time()
            assert await idle.receive_some() == b""
            assert shared.BETWEEN <= trio.current_time() - began <= shared.BETWEEN + 2


async def test_who_takes_nothing_of_an_answer_is_given_up(autojump_clock: Any) -> None:
    async with served(app) as server, await connect(server) as stream:
        await stream.send_all(GET.replace(b"/ ", b"/large "))
        await eventually(lambda: server.limit.used == 1)
        began = trio.current_time()
        await eventually(lambda: server.limit.used == 0)
        assert trio.current_time() - began <= connection.UNREAD_SECONDS + 3


# ------------------------------------------------------------------ answers before the end of a body


@pytest.mark.parametrize("size", [1000, 500_000])
async def test_a_connection_goes_on_behind_a_small_body_that_nobody_reads(size: int, autojump_clock: Any) -> None:
    async with served(app) as server, await connect(server) as stream:
        for _ in range(2):
            await stream.send_all(post("/", b"x" * size))
            await stream.send_all(GET)
            assert [each.status for each in await answers(stream, 2)] == [200, 200]


async def test_who_still_sends_a_large_body_gets_to_see_the_answer(autojump_clock: Any) -> None:
    """As urllib does it: all of the body first, and then it looks."""
    async with served(app) as server, await connect(server) as stream:
        with as_bytes_take(autojump_clock):
            await stream.send_all(post("/", b"x" * 5_000_000) + GET)
            assert [each.status for each in await answers(stream)] == [200]


async def flood(stream: trio.SocketStream) -> None:
    for _ in range(1 << 14):
        await stream.send_all(bytes(1 << 16))


async def test_nobody_is_read_from_without_end(autojump_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER_BYTES", 4 << 20)
    async with served(app) as server:
        async with await connect(server) as stream:
            await stream.send_all(post("/", b"", length=1 << 40))
            with pytest.raises(trio.BrokenResourceError):
                await flood(stream)
        async with await connect(server) as stream:
            began = trio.current_time()
            await stream.send_all(post("/", b"", length=1 << 40))
            await eventually(lambda: server.limit.used == 0)
            assert trio.current_time() - began <= 2 * connection.LINGER_SECONDS + 1


# ------------------------------------------------------------------ the end of the server


async def test_who_does_not_read_holds_up_the_end_for_the_grace_and_no_longer(autojump_clock: Any) -> None:
    async with served(app, grace=7) as server, await connect(server) as stream:
        await stream.send_all(GET.replace(b"/ ", b"/large "))
        assert (await stream.receive_some(10)) == b"HTTP/1.1 2"
        began = trio.current_time()
        server.stop.set()
        await eventually(lambda: server.limit.used == 0)
        assert trio.current_time() - began <= 8


async def test_what_is_under_way_is_answered_at_the_end_and_what_is_idle_is_closed(autojump_clock: Any) -> None:
    async with served(app, grace=30) as server, await connect(server) as idle, await connect(server) as busy:
        await idle.send_all(GET)
        assert len(await answers(idle, 1)) == 1
        await busy.send_all(post("/slow", b"x" * 10, length=20))
        await trio.sleep(2)
        server.stop.set()
        assert await idle.receive_some() == b""
        await trio.sleep(2)
        await busy.send_all(b"x" * 10)
        (answer,) = await answers(busy)
        assert answer.body == b"20"


# ------------------------------------------------------------------ places


async def test_the_fewer_places_are_free_the_shorter_may_be_the_silence(autojump_clock: Any) -> None:
    limit = places.Limit(40)
    async with served(app, limit=limit) as server:
        silent = [await connect(server) for _ in range(40)]
        await eventually(lambda: limit.used == 40)
        began = trio.current_time()
        await eventually(lambda: limit.used == 0)
        assert trio.current_time() - began <= 10
        for each in silent:
            await each.aclose()


def test_some_places_are_for_this_machine_and_for_known_callers() -> None:
    limit, known = places.Limit(100, 60), places.KnownAddresses()
    those = places.Places(limit, known)
    known.note("10.0.0.9", 0)
    assert sum(those.take("10.0.0.1", 1) for _ in range(100)) == 60
    assert sum(those.take("10.0.0.2", 1) for _ in range(100)) == 35
    assert limit.refused == 40 + 65
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.9"):
        assert those.take(address, 1)
    assert not those.take("10.0.0.3", 1)
    assert not those.take("10.0.0.9", places.VALID_SECONDS + 1)
    those.give("127.0.0.1")
    assert limit.used == 98
    assert those.first_byte_seconds == places.SHORTEST


async def test_silent_strangers_shut_out_neither_this_machine_nor_known_callers(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two addresses take every place that they may have. (All of them are loopback here, hence the other meaning.)"""
    monkeypatch.setattr(places, "is_loopback", lambda address: address == "127.0.0.1")
    limit, known = places.Limit(60, 40), places.KnownAddresses()
    known.note("127.0.0.9", trio.current_time())
    async with served(app, limit=limit, known=known) as server:
        silent = [await connect(server, address) for address in ("127.0.0.2", "127.0.0.3") for _ in range(40)]
        await eventually(lambda: limit.used == 57)
        for address in ("127.0.0.1", "127.0.0.9"):
            assert (await asked(server, GET, address=address))[0].status == 200
        assert await asked(server, GET, address="127.0.0.4") == [], "the rest is kept for those"
        began = trio.current_time()
        await eventually(lambda: limit.used == 0)
        assert trio.current_time() - began < 10
        assert (await asked(server, GET, address="127.0.0.4"))[0].status == 200
        for each in silent:
            await each.aclose()


def test_a_request_without_a_path_is_no_fault_of_ours(server: ServerProcess) -> None:
    """Found by the corpus: `GET ?x` was an unhandled exception, and 500."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET ?x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")  # a target begins with a slash, or is a whole URL


def test_a_refusal_before_the_body_costs_the_next_request_nothing(server: ServerProcess) -> None:
    """The server was done with a request (401) whose body had not come yet, and closed the connection behind it."""
    host, port = server.url.removeprefix("http://").split(":")
    head = b"POST /api/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        for _ in range(3):
            connection.sendall(head)
            time.sleep(0.05)  # the body comes in a packet of its own
            connection.sendall(b"{}")
            answer = b""
            while not answer.endswith(b"}"):
                data = connection.recv(65536)
                assert data, f"closed after {answer!r}"
                answer += data
            assert answer.startswith(b"HTTP/1.1 401"), answer
