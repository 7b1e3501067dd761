"""A load generator that is not the bottleneck: raw sockets on trio, one keep-alive connection a client.

It knows just enough HTTP/1.1 for answers with a Content-Length, which is all that this API sends to JSON requests.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import trio


class Connection:
    """One client's connection. Not for concurrent use."""

    def __init__(self, stream: trio.SocketStream, host: str, headers: str) -> None:
        self._stream = stream
        self._head = f"Host: {host}\r\nContent-Type: application/json\r\n{headers}"
        self._buffer = b""

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """(status, body). Raises trio.BrokenResourceError when the server goes away."""
        head = f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        await self._stream.send_all(head.encode() + body)
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._more()
        headers = self._buffer[:end].lower()
        status = int(headers[9:12])
        at = headers.find(b"content-length:")
        length = int(headers[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        total = end + 4 + length
        while len(self._buffer) < total:
            await self._more()
        answer, self._buffer = self._buffer[end + 4 : total], self._buffer[total:]
        return status, answer

    async def _more(self) -> None:
        data = await self._stream.receive_some(65536)
        if not data:
            raise trio.BrokenResourceError("the server closed the connection")
        self._buffer += data


@asynccontextmanager
async def connected(url: str, headers: str = "") -> AsyncIterator[Connection]:
    """A connection to `http://host:port`; `headers` are lines that end in CRLF."""
    host, port = url.removeprefix("http://").rsplit(":", 1)
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        yield Connection(stream, f"{host}:{port}", headers)


@dataclass
class Tally:
    """What one measurement came to. Latencies are in seconds, one for each turn."""

    turns: int = 0
    errors: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.turns / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000 if ordered else 0.0

    def row(self) -> dict[str, Any]:
        return {
            "per_second": round(self.rate, 1),
            "p50_ms": round(self.percentile(0.50), 2),
            "p99_ms": round(self.percentile(0.99), 2),
            "turns": self.turns,
            "errors": self.errors,
        }


Turn = Callable[[Connection, int], Awaitable[int]]  # does one turn, returns the number of errors that it met


async def measure(url: str, turn: Turn, *, clients: int, seconds: float, headers: str = "") -> Tally:
    """Have `clients` connections do turns side by side for `seconds`."""
    tally = Tally()
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connected(url, headers)) for _ in range(clients)]
        started = trio.current_time()

        async def client(connection: Connection, number: int) -> None:
            while trio.current_time() - started < seconds:
                begun = trio.current_time()
                tally.errors += await turn(connection, number)
                tally.latencies.append(trio.current_time() - begun)
                tally.turns += 1

        async with trio.open_nursery() as nursery:
            for number, connection in enumerate(connections):
                nursery.start_soon(client, connection, number)
        tally.seconds = trio.current_time() - started
    return tally


async def median_of(runs: int, one: Callable[[], Awaitable[Tally]]) -> dict[str, Any]:
    """The run with the median rate of `runs`, all errors added up."""
    tallies = [await one() for _ in range(runs)]
    middle = median(tally.rate for tally in tallies)
    chosen = min(tallies, key=lambda tally: abs(tally.rate - middle))
    return chosen.row() | {
        "errors": sum(tally.errors for tally in tallies),
        "spread": [round(min(t.rate for t in tallies), 1), round(max(t.rate for t in tallies), 1)],
    }


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
