"""A load generator that is not the bottleneck: raw sockets, one keep-alive connection a client.

It knows just enough HTTP/1.1 for answers with a Content-Length, which is all that this API sends to JSON requests.
`measure` drives the clients by an epoll loop of its own, where a cycle costs a third of what it would cost on trio;
benchmarks that have timers of their own ask on trio. How busy it was itself stands in each row (`load_cpu`, of one
core), so that each row proves the first sentence.
"""

from __future__ import annotations

import select
import socket
import time
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec
import trio

from bench.plan import BenchError
from bench.servers import Server

K = TypeVar("K")
BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
RECONNECT_SECONDS = 0.05
WARM = 10  # rounds that are not counted
SILENT_SECONDS = 60.0  # without any answer to any client: the server hangs

encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
_decode: Callable[[bytes], Any] = msgspec.json.Decoder().decode


class Answer(NamedTuple):
    status: int
    head: bytes  # the status line and the headers, in lower case
    body: bytes

    def json(self) -> Any:
        return _decode(self.body)


class Wire(Protocol):
    """Bytes to and from a server. Raises one of BROKEN when it goes away."""

    async def send_all(self, data: bytes) -> None: ...

    async def receive_some(self, max_bytes: int) -> bytes: ...

    async def aclose(self) -> None: ...


@types.coroutine
def _readable(fd: int) -> Generator[int, None, None]:
    """Wait, in `_drive`, until there is something to read."""
    yield fd


class Lean:
    """A Wire for `_drive`."""

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = self._socket.fileno()

    async def send_all(self, data: bytes) -> None:
        self._socket.sendall(data)

    async def receive_some(self, max_bytes: int) -> bytes:
        await _readable(self._fd)
        return self._socket.recv(max_bytes)

    async def aclose(self) -> None:
        self._socket.close()


def _drive(clients: Sequence[Coroutine[int, None, None]]) -> None:
    """Run them side by side to their ends. Raises BenchError when nothing comes any more."""
    poll = select.epoll()
    waiting: dict[int, Coroutine[int, None, None]] = {}

    def step(client: Coroutine[int, None, None], woken_by: int) -> None:
        try:
            fd = client.send(None)
        except StopIteration:
            waiting.pop(woken_by, None)
            return
        if fd != woken_by or waiting.get(fd) is not client:
            waiting.pop(woken_by, None)
            waiting[fd] = client
            poll.register(fd, select.EPOLLIN)

    try:
        for client in clients:
            step(client, -1)
        while waiting:
            ready = poll.poll(SILENT_SECONDS)
            if not ready:
                raise BenchError(f"the server has not answered any of {len(waiting)} clients for {SILENT_SECONDS} s")
            for fd, _ in ready:
                if (woken := waiting.get(fd)) is not None:
                    step(woken, fd)
    finally:
        poll.close()
        for client in clients:
            client.close()


class Connection:
    """One client's connection. Not for concurrent use."""

    def __init__(self, wire: Wire, host: str, headers: str) -> None:
        self._wire = wire
        self._host = host
        self._headers = headers
        self._buffer = b""

    async def post(self, path: str, body: bytes) -> Answer:
        return await self.ask(self.request("POST", path, body))

    async def get(self, path: str) -> Answer:
        return await self.ask(self.request("GET", path))

    async def put(self, path: str, body: bytes) -> Answer:
        """To a signed URL: without our own headers."""
        return await self.ask(self.request("PUT", path, body, headers="Content-Type: application/octet-stream\r\n"))

    async def good(self, path: str, value: Any) -> Any:
        """POST what is not measured; the decoded answer. Raises BenchError for a refusal."""
        answer = await self.post(path, encode(value))
        if not 200 <= answer.status < 300:
            raise BenchError(f"{path}: {answer.status} {answer.body.decode()[:300]}")
        return answer.json()

    def request(self, method: str, path: str, body: bytes = b"", headers: str | None = None) -> bytes:
        """The bytes of a request."""
        own = f"Content-Type: application/json\r\n{self._headers}" if headers is None else headers
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{own}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    async def ask(self, request: bytes) -> Answer:
        """Raises one of BROKEN when the server goes away."""
        await self._wire.send_all(request)
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

    async def drain(self, request: bytes) -> tuple[int, int]:
        """The status of the answer, and how many bytes its body has, which are thrown away as they come."""
        await self._wire.send_all(request)
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._more()
        answered = self._buffer[:end].lower()
        length = int(answered.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        left = length - (len(self._buffer) - end - 4)
        self._buffer = b""
        while left > 0:
            data = await self._wire.receive_some(1 << 20)
            if not data:
                raise trio.BrokenResourceError("the server closed the connection")
            left -= len(data)
        return int(answered[9:12]), length

    async def _more(self) -> None:
        data = await self._wire.receive_some(65536)
        if not data:
            raise trio.BrokenResourceError("the server closed the connection")
        self._buffer += data

    async def aclose(self) -> None:
        await self._wire.aclose()


def _address(url: str) -> tuple[str, int]:
    host, port = url.removeprefix("http://").partition("/")[0].rsplit(":", 1)
    return host, int(port)


def connect_lean(server: Server) -> Connection:
    """For `_drive`. Raises BenchError."""
    host, port = _address(server.url)
    try:
        return Connection(Lean(host, port), f"{host}:{port}", server.headers)
    except OSError as error:
        raise BenchError(f"cannot connect: {error}") from error


def connected(server: Server) -> AbstractAsyncContextManager[Connection]:
    """For benchmarks on trio."""
    return connected_to(server.url, server.headers)


@asynccontextmanager
async def connected_to(url: str, headers: str = "") -> AsyncIterator[Connection]:
    """The same to where the URL leads, with these headers in each request."""
    host, port = _address(url)
    try:
        stream = await trio.open_tcp_stream(host, port)
    except OSError as error:
        raise BenchError(f"cannot connect: {error}") from error
    try:
        yield Connection(stream, f"{host}:{port}", headers)
    finally:
        await trio.aclose_forcefully(stream)


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
        costs = {name: round(cpu, 2) for name, cpu in said.items() if cpu is not None}
        if self.server_cpu is not None and self.done:
            costs["cpu_us"] = round(self.server_cpu * self.seconds / self.done * 1e6, 1)
        return costs


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
    """Have `clients` connections take turns side by side for `seconds`. Trio stands still meanwhile."""
    tally = Tally()
    connections = [connect_lean(server.at(number)) for number in range(clients)]
    now = time.perf_counter

    async def client(number: int) -> None:
        while (begun := now()) < end:
            try:
                outcome = await turn(connections[number], number)
            except BROKEN:
                # Counted, and the client goes on: a server that drops connections must not look fast.
                outcome = FAILED
                await connections[number].aclose()
                time.sleep(RECONNECT_SECONDS)  # noqa: ASYNC251 - this is no task of trio's
                connections[number] = connect_lean(server.at(number))
            tally.latencies.append(now() - begun)
            tally.done += outcome.done
            tally.errors += outcome.errors

    try:
        async with timed(tally, server):
            end = now() + seconds
            _drive([client(number) for number in range(clients)])
    finally:
        for connection in connections:
            await connection.aclose()
    await trio.lowlevel.checkpoint()
    return tally


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


async def one_by_one(rounds: int, subjects: Mapping[K, Callable[[], Awaitable[bool]]]) -> dict[K, dict[str, Any]]:
    """One request of each in turns, so that all of them see the same machine; whether it was good. `ratio`: the
    median beside the first one's."""
    times: dict[K, list[float]] = {subject: [] for subject in subjects}
    errors = dict.fromkeys(subjects, 0)
    for number in range(rounds + WARM):
        for subject, ask in subjects.items():
            began = time.perf_counter()
            good = await ask()
            took = time.perf_counter() - began
            errors[subject] += not good
            if number >= WARM:
                times[subject].append(took * 1000)
    first = median(next(iter(times.values())))
    return {
        subject: {
            "p50_ms": round(median(each), 2), "p99_ms": round(percentile(sorted(each), 0.99), 2),
            "ratio": round(median(each) / first, 2), "turns": len(each), "errors": errors[subject],
        }
        for subject, each in times.items()
    }  # fmt: skip


def percentile(ordered: list[float], share: float) -> float:
    """Of values in ascending order; 0 when there is none."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
