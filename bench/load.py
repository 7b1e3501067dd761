"""A load generator that is not the bottleneck: raw sockets on trio, one keep-alive connection a client.

It knows just enough HTTP/1.1 for answers with a Content-Length, which is all that this API sends to JSON requests.
How busy it was itself stands in each row (`load_cpu`, of one core), so that nobody has to believe the first sentence.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple

import trio

from bench.plan import BenchError
from bench.servers import Server

BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
RECONNECT_SECONDS = 0.05


class Answer(NamedTuple):
    status: int
    head: bytes  # the status line and the headers, in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One client's connection. Not for concurrent use."""

    def __init__(self, stream: trio.SocketStream, host: str, headers: str) -> None:
        self._stream = stream
        self._host = host
        self._headers = headers
        self._buffer = b""

    async def post(self, path: str, body: bytes) -> Answer:
        return await self._ask("POST", path, body)

    async def get(self, path: str) -> Answer:
        return await self._ask("GET", path)

    async def put(self, path: str, body: bytes) -> Answer:
        """To a signed URL: without our own headers."""
        return await self._ask("PUT", path, body, headers="Content-Type: application/octet-stream\r\n")

    async def good(self, path: str, value: Any) -> Any:
        """POST what is not measured; the decoded answer. Raises BenchError for a refusal."""
        answer = await self.post(path, encode(value))
        if not 200 <= answer.status < 300:
            raise BenchError(f"{path}: {answer.status} {answer.body.decode()[:300]}")
        return answer.json()

    async def _ask(self, method: str, path: str, body: bytes = b"", headers: str | None = None) -> Answer:
        """Raises one of BROKEN when the server goes away."""
        own = f"Content-Type: application/json\r\n{self._headers}" if headers is None else headers
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{own}Content-Length: {len(body)}\r\n\r\n"
        await self._stream.send_all(head.encode() + body)
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._more()
        answered = self._buffer[:end].lower()
        at = answered.find(b"content-length:")
        length = int(answered[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        total = end + 4 + length
        while len(self._buffer) < total:
            await self._more()
        answer = Answer(int(answered[9:12]), answered, self._buffer[end + 4 : total])
        self._buffer = self._buffer[total:]
        return answer

    async def _more(self) -> None:
        data = await self._stream.receive_some(65536)
        if not data:
            raise trio.BrokenResourceError("the server closed the connection")
        self._buffer += data

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)


async def connect(server: Server) -> Connection:
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    try:
        stream = await trio.open_tcp_stream(host, int(port))
    except OSError as error:
        raise BenchError(f"cannot connect: {error}") from error
    return Connection(stream, f"{host}:{port}", server.headers)


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Connection]:
    connection = await connect(server)
    try:
        yield connection
    finally:
        await connection.aclose()


@dataclass
class Tally:
    """What one measurement came to. Latencies are in seconds, one for each turn; CPU is of one core."""

    done: int = 0
    errors: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    server_cpu: float | None = None
    load_cpu: float | None = None

    @property
    def rate(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0

    def row(self) -> dict[str, Any]:
        return {"per_second": round(self.rate, 1)} | self.spread() | self.costs()

    def spread(self) -> dict[str, Any]:
        """The latencies alone."""
        ordered = sorted(self.latencies)
        return {
            "p50_ms": round(percentile(ordered, 0.50) * 1000, 2),
            "p99_ms": round(percentile(ordered, 0.99) * 1000, 2),
            "turns": len(ordered),
            "errors": self.errors,
        }

    def costs(self) -> dict[str, Any]:
        said = {"server_cpu": self.server_cpu, "load_cpu": self.load_cpu}
        return {name: round(cpu, 2) for name, cpu in said.items() if cpu is not None}


@asynccontextmanager
async def timed(tally: Tally, server: Server | None = None) -> AsyncIterator[None]:
    """Note how long the block takes, and what it costs the server and us."""
    began, ours, theirs = time.perf_counter(), time.process_time(), server.cpu() if server else 0.0
    yield
    tally.seconds = time.perf_counter() - began
    tally.load_cpu = (time.process_time() - ours) / tally.seconds
    if server is not None:
        tally.server_cpu = (server.cpu() - theirs) / tally.seconds


class Turn(NamedTuple):
    """What one turn came to: how much of what is counted, and how many errors."""

    done: int
    errors: int = 0


FAILED = Turn(0, 1)
TakeTurn = Callable[[Connection, int], Awaitable[Turn]]  # of a client, by its number


async def measure(server: Server, turn: TakeTurn, *, clients: int, seconds: float) -> Tally:
    """Have `clients` connections take turns side by side for `seconds`."""
    tally = Tally()
    connections = [await connect(server) for _ in range(clients)]

    async def client(number: int) -> None:
        while (begun := trio.current_time()) - started < seconds:
            try:
                outcome = await turn(connections[number], number)
            except BROKEN:
                # Counted, and the client goes on: a server that drops connections must not look fast.
                outcome = FAILED
                connections[number] = await _again(server, connections[number])
            tally.latencies.append(trio.current_time() - begun)
            tally.done += outcome.done
            tally.errors += outcome.errors

    try:
        async with timed(tally, server):
            started = trio.current_time()
            async with trio.open_nursery() as nursery:
                for number in range(clients):
                    nursery.start_soon(client, number)
    finally:
        for connection in connections:
            await connection.aclose()
    return tally


async def _again(server: Server, broken: Connection) -> Connection:
    await broken.aclose()
    await trio.sleep(RECONNECT_SECONDS)
    return await connect(server)


def median_row(tallies: list[Tally]) -> dict[str, Any]:
    """The run with the median rate, all errors added up, with the lowest and the highest rate."""
    rates = [tally.rate for tally in tallies]
    middle = median(rates)
    chosen = min(tallies, key=lambda tally: abs(tally.rate - middle))
    return chosen.row() | {
        "errors": sum(tally.errors for tally in tallies),
        "spread": [round(min(rates), 1), round(max(rates), 1)],
    }


async def side_by_side(runs: int, subjects: dict[str, Callable[[], Awaitable[Tally]]]) -> dict[str, dict[str, Any]]:
    """Measure each subject `runs` times, in turns, so that all of them see the same machine."""
    tallies: dict[str, list[Tally]] = {name: [] for name in subjects}
    for _ in range(runs):
        for name, one in subjects.items():
            tallies[name].append(await one())
    return {name: median_row(each) for name, each in tallies.items()}


def percentile(ordered: list[float], share: float) -> float:
    """Of values in ascending order; 0 when there is none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
