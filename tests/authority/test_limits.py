"""Caps on connections, streams and waiting claims, per address and in total; and room comes back, whatever ends."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
import trio
from quart_trio import QuartTrio

from tests.fixtures.local import LocalServer, open_local
from tests.fixtures.server import ServerProcess, serving
from tests.web import wire
from tests.web.calls import assert_problem
from web.connection.connection import Connection
from web.limits import QUIET_LOOKS, Limit

TOTAL, EACH = 6, 3
PATIENCE = 30  # seconds until a test gives up; none is asserted


@pytest.fixture(scope="module")
def capped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with little room."""
    folder = tmp_path_factory.mktemp("capped") / "data"
    limits = {"max_connections": TOTAL, "max_connections_per_address": EACH}
    with serving(folder, **limits, log_level="warning") as process:
        yield process


class Line:
    """One plain connection from one of this machine's loopback addresses."""

    def __init__(self, server: ServerProcess, address: str = "127.0.0.1") -> None:
        where = urlsplit(server.url)
        self.socket = socket.create_connection((where.hostname, where.port), PATIENCE, (address, 0))

    def served(self) -> bool:
        """Whether a request on it is answered; False when the server has closed it."""
        with suppress(ConnectionError):
            self.socket.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}") and (part := self.socket.recv(4096)):
                answer += part
            return answer.startswith(b"HTTP/1.1 200")
        return False

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Vanish without a word, as a machine that crashes and comes back does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


@contextmanager
def lines(server: ServerProcess, *addresses: str) -> Iterator[list[Line]]:
    """Connections that are served. What was closed before, the server may notice a moment later."""
    deadline = time.monotonic() + PATIENCE
    with ExitStack() as stack:
        opened: list[Line] = []
        for address in addresses:
            line = Line(server, address)
            while not line.served():
                line.close()
                assert time.monotonic() < deadline, f"no room for {address}, the connection number {len(opened) + 1}"
                time.sleep(0.01)
                line = Line(server, address)
            stack.callback(line.close)
            opened.append(line)
        yield opened


def refused(server: ServerProcess, address: str) -> bool:
    line = Line(server, address)
    try:
        return not line.served()
    finally:
        line.close()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


A, B, C = "127.0.0.1", "127.0.0.2", "127.0.0.3"


def test_connections_from_one_address(capped: ServerProcess) -> None:
    with lines(capped, *[A] * EACH) as held:
        assert refused(capped, A)
        assert not refused(capped, B), "others are not concerned"
        assert all(line.served() for line in held), "nor are those that were there before"
    until(lambda: not refused(capped, A))


def test_connections_in_total(capped: ServerProcess) -> None:
    with lines(capped, A, A, A, B, B, B) as held:
        assert refused(capped, C)
        held[0].close()
        until(lambda: not refused(capped, C))
        assert all(line.served() for line in held[1:])


@pytest.mark.parametrize(
    "sent", [b"", b"GET /li", b"GET /livez HTTP/1.1\r\nHost", b"\x16\x03\x01\x02\x00", b"\0\xff"]
)
def test_clients_that_vanish_in_the_middle(capped: ServerProcess, sent: bytes) -> None:
    """Before the request, within its head, or speaking TLS to us: their room comes back."""
    for vanish in (Line.close, Line.reset):
        for _ in range(TOTAL * 2):
            line = Line(capped)
            with suppress(ConnectionError):
                line.socket.sendall(sent)
            vanish(line)
        with lines(capped, A, A, A, B, B, B):
            pass


def test_clients_that_vanish_while_they_are_answered(capped: ServerProcess) -> None:
    stream = f"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {capped.token}\r\n\r\n".encode()
    for _ in range(EACH * 2):
        until(lambda: vanishes_from(capped, stream))
    with lines(capped, A, A, A, B, B, B):
        pass


def vanishes_from(server: ServerProcess, stream: bytes) -> bool:
    """Open a stream and vanish. False while the room of the one before has not come back: then it is not let in."""
    line = Line(server)
    with suppress(ConnectionError):
        line.socket.sendall(stream)
        head = line.socket.recv(4096)
        assert head.startswith(b"HTTP/1.1 200") or not head
        line.reset()
        return bool(head)
    line.close()
    return False


async def test_a_connection_that_fails_gives_its_room_back_and_ends_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Connection, "run", broken)
    limit = Limit(1)
    async with wire.served(QuartTrio("web"), limit=limit) as server:
        with trio.fail_after(PATIENCE):
            for _ in range(3):
                async with await wire.connect(server) as stream:
                    with suppress(trio.BrokenResourceError):
                        assert await stream.receive_some() == b"", "closed"
                while limit.used:
                    await trio.sleep(0.01)
        assert limit.refused == 0


def test_room_is_given_back_whatever_happens() -> None:
    limit = Limit(2, 1)
    with limit.room("a") as first, limit.room("a") as second, limit.room("b") as third, limit.room("c") as fourth:
        assert (first, second, third, fourth) == (True, False, True, False)
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), limit.room("a"):
            raise error
    assert limit.used == 0
    assert limit._used == {}, "no trace of addresses that are gone"


async def test_a_limit_that_refuses_is_told_once_and_so_is_its_end(local: LocalServer, autojump_clock: Any) -> None:
    """In the log, in the metrics, and among what needs attention."""
    limits, streams = local.parts.limits, local.parts.services.streams

    async def told() -> tuple[list[Any], bool]:
        _, attention = await local.call("GET", "/api/stats/attention")
        _, metrics = await local.call("GET", "/metrics")
        return attention["limits"], b'blobforge_limit_refusing{limit="event_streams"} 1.0' in metrics

    with structlog.testing.capture_logs() as logs:
        limits.look()
        for _ in range(5):
            streams.refused += 100
            limits.look()
            found = {"name": "event_streams", "used": 0, "total": streams.total, "refused": streams.refused}
            assert await told() == ([found], True)
        for _ in range(QUIET_LOOKS):
            limits.look()
        assert await told() == ([], False)
        streams.refused += 1
        limits.look()
        lines = [(each["event"], each.get("refused")) for each in logs if each.get("limit")]
    assert lines == [("a limit begins to refuse", None), ("a limit refuses no longer", 500), *lines[:1]]
    _, page = await local.call("GET", "/", headers=_admin(local))
    assert b"callers are refused" in page


# ------------------------------------------------------------------ streams and waiting claims, in virtual time


def scope(local: LocalServer, address: str, path: str = "/events", method: str = "GET") -> dict[str, Any]:
    token = f"Bearer {local.parts.admin_token}".encode()
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": (address, 4000),
        "headers": [(b"host", b"x"), (b"authorization", token), (b"content-type", b"application/json")],
        "server": ("x", 80), "extensions": {}, "state": {},
    }  # fmt: skip


class Client:
    """An ASGI client that can vanish at any moment: on the start of the answer, for one."""

    def __init__(self, *, body: bytes = b"", vanish_at: str | None = None) -> None:
        self.status = 0
        self.started, self.gone = trio.Event(), trio.Event()
        self._body: bytes | None = body
        self._vanish_at = vanish_at

    async def receive(self) -> dict[str, Any]:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == self._vanish_at:
            self.gone.set()
            await trio.sleep_forever()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message.get("body"):
            self.started.set()


async def test_streams(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", max_streams=3, max_streams_per_address=2) as local:
        async with trio.open_nursery() as nursery:
            held = [Client() for _ in range(3)]
            for client, address in zip(held, (A, A, B), strict=True):
                nursery.start_soon(local.app, scope(local, address), client.receive, client.send)
                await client.started.wait()
            answer = await local.http.open(
                "/events", method="GET", headers=_admin(local), scope_base={"client": (A, 1)}
            )
            assert_problem((answer.status_code, await answer.get_json()), 429, "slow-down")
            assert answer.headers["Retry-After"]
            answer = await local.http.open(
                "/events", method="GET", headers=_admin(local), scope_base={"client": (C, 1)}
            )
            assert answer.status_code == 429, "no room in total"
            assert (await local.call("GET", "/api/stats"))[0] == 200, "anything else goes on"
            for client in held:
                client.gone.set()
        assert local.parts.services.streams.used == 0
        assert local.parts.broadcaster.subscribers == 0


@pytest.mark.parametrize("moment", ["http.response.start", "http.response.body"])
async def test_streams_of_clients_that_vanish(tmp_path: Path, autojump_clock: Any, moment: str) -> None:
    """Even before the first byte: then the stream was never begun, and nobody but its maker can end it."""
    async with open_local(tmp_path / "data", max_streams=2) as local:
        for _ in range(5):
            client = Client(vanish_at=moment)
            await local.app(scope(local, A), client.receive, client.send)
            assert local.parts.services.streams.used == 0
            assert local.parts.broadcaster.subscribers == 0


async def test_claims_that_wait(tmp_path: Path, autojump_clock: Any) -> None:
    body = b'{"worker_id":"w1","job_type":"pdf","wait":30}'
    async with open_local(tmp_path / "data", max_long_polls=3, max_long_polls_per_address=2) as local:
        await local.register()
        async with trio.open_nursery() as nursery:
            held = [Client(body=body) for _ in range(3)]
            for client, address in zip(held, (A, A, B), strict=True):
                nursery.start_soon(
                    local.app, scope(local, address, "/api/jobs/claim", "POST"), client.receive, client.send
                )
                await trio.sleep(0.1)
            headers = _admin(local) | {"Content-Type": "application/json"}
            for address in (A, C):
                answer = await local.http.open(
                    "/api/jobs/claim", method="POST", headers=headers, data=body, scope_base={"client": (address, 1)}
                )
                assert_problem((answer.status_code, await answer.get_json()), 429, "slow-down")
            assert await local.claim() == {"job": None}, "a claim that does not wait takes no room"
            held[0].gone.set()
            await trio.sleep(0.1)
            assert local.parts.services.long_polls.used == 2, "who is gone waits no longer"
        assert local.parts.services.long_polls.used == 0


def _admin(local: LocalServer) -> dict[str, str]:
    return {"Authorization": f"Bearer {local.parts.admin_token}"}
