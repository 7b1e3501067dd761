"""Malformed requests, sent as they stand to a real server: each is refused, none does anything.

No answer of 5xx, no exception in the log, not a row changed. `corpus/` has what is sent: bodies, paths, queries,
header lines, and what else may come over a socket. What a fuzzer or a person finds is added there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

import pytest
import trio

from tests.fixtures.server import ServerProcess
from tests.fuzz.aftermath import no_fault_in, tables
from tests.fuzz.malformed import GOOD_BODY, corpus

PATIENCE = 1.5  # seconds until a request that has no end is given one
SECONDS = 20  # for one exchange, on a busy machine; the server ends a silent one after five
AT_ONCE = 16
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


def request(method: bytes, target: bytes, token: str, body: bytes = b"", line: bytes = b"") -> bytes:
    """A whole request; a header of ours gives way to `line` where it has the same name."""
    ours = {
        b"Connection": b"close",
        b"Host": b"x",
        b"Authorization": b"Bearer " + token.encode(),
        b"Content-Type": b"application/json",
        b"Content-Length": str(len(body)).encode(),
    }
    theirs = line.partition(b":")[0].lower()
    if theirs.strip() == b"transfer-encoding":
        del ours[b"Content-Length"]
    lines = [name + b": " + value for name, value in ours.items() if name.lower() != theirs]
    return b"\r\n".join([method + b" " + target + b" HTTP/1.1", *lines, *([line] if line else []), b"", body])


def bad_requests(token: str) -> Iterator[bytes]:
    """Well-formed HTTP, mostly; none of it may be taken."""
    for body in corpus("bodies", "whole"):
        for target in (b"/api/jobs", b"/api/workers/register", b"/api/jobs/batch"):
            yield request(b"POST", target, token, body)
    for member in corpus("bodies", "member"):
        yield request(b"POST", b"/api/jobs", token, GOOD_BODY + member + b"}")
    for query in corpus("targets", "query"):
        yield request(b"GET", b"/api/jobs?" + query, token)


def odd_requests(token: str) -> Iterator[bytes]:
    """Some of these are answered 200, and rightly so."""
    for path in corpus("targets", "path"):
        for method in (b"GET", b"POST", b"PATCH", b"DELETE"):
            yield request(method, path, token)
    for query in corpus("targets", "harmless"):
        yield request(b"GET", b"/api/jobs?" + query, token)
    for line in corpus("headers", "line"):
        yield request(b"POST", b"/api/jobs", token, b"{}", line)
        yield request(b"GET", b"/api/jobs", token, b"", line)
    for raw in corpus("wire", "raw"):
        yield raw.replace(b"AUTH", b"Authorization: Bearer " + token.encode())


async def exchange(port: int, sent: bytes) -> bytes:
    """What comes back before the server closes. When it waits for more, our side is closed; a stream is left."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    answer = bytearray()
    async with stream:
        with suppress(trio.BrokenResourceError):  # refused before it was all there
            await stream.send_all(sent)
        with suppress(trio.BrokenResourceError):
            with trio.move_on_after(PATIENCE):
                await read_all(stream, answer)
                return bytes(answer)
            await stream.send_eof()
            with trio.move_on_after(SECONDS):
                await read_all(stream, answer)
    return bytes(answer)


async def read_all(stream: trio.SocketStream, answer: bytearray) -> None:
    async for chunk in stream:
        answer += chunk


async def statuses(server: ServerProcess, requests: list[bytes]) -> list[list[int]]:
    """The statuses that each was answered with, in order."""
    port = int(server.url.rsplit(":", 1)[1])
    found: list[list[int]] = [[] for _ in requests]
    limit = trio.CapacityLimiter(AT_ONCE)

    async def one(index: int) -> None:
        async with limit:
            answer = await exchange(port, requests[index])
            found[index] = [int(status) for status in _STATUS.findall(answer)]

    async with trio.open_nursery() as nursery:
        for index in range(len(requests)):
            nursery.start_soon(one, index)
    return found


def test_the_corpus_is_large() -> None:
    files = {
        "bodies": ("whole", "member"),
        "targets": ("path", "query", "harmless"),
        "headers": ("line",),
        "wire": ("raw",),
    }
    assert sum(len(corpus(name, key)) for name, keys in files.items() for key in keys) >= 200


@pytest.mark.timeout(110)
async def test_malformed_requests_do_nothing(server: ServerProcess) -> None:
    """One of each thing is there that they could do something to."""
    with server.client() as http:
        http.post("/api/workers/register", json={"id": "w1", "type": "pdf"}).raise_for_status()
        made = http.post("/api/jobs", json={"type": "pdf", "source_hash": "b" * 64}).json()
        http.put(made["upload_url"], content=b"not these bytes")
    before = tables(server)
    bad = list(bad_requests(server.token))
    answers = zip(bad, await statuses(server, bad), strict=True)
    assert [(seen, sent[-200:]) for sent, seen in answers if len(seen) != 1 or not 400 <= seen[0] < 500] == []
    odd = list(odd_requests(server.token))
    found = zip(odd, await statuses(server, odd), strict=True)
    assert [(seen, sent[:200]) for sent, seen in found if any(status >= 500 for status in seen)] == []
    no_fault_in(server)
    assert tables(server) == before
