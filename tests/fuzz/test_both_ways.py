"""The corpus both ways: what the lean reader answers is answered as Hypercorn and Quart would, to the last byte.

Malformed bodies, header lines and paths of the hot routes, bodies that do not come, and what is taken in good order
and changes nothing when it comes a second time. `tests/web/test_ways.py` has the hot routes' own tests.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
import trio
import trio.lowlevel

from tests.fixtures.local import LocalServer
from tests.fuzz.malformed import GOOD_BODY, corpus
from tests.web.wire import Served, answers, by_hypercorn, connect, lean
from web.app import routes

PATHS = [
    re.sub(r"<id:\w+>", "1", re.sub(r"<worker:\w+>", "w1", route.path))
    for route in routes()
    if route.hot and route.body is not None
]
JSON = (b"content-type", b"application/json")
# Header lines that h11 lets through (RFC 9110, 5.1 and 5.5).
_NAME = re.compile(rb"[!#-'*+.^-z|~0-9A-Z-]+")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*")
GONE = "gone"


class Sent(NamedTuple):
    """One request. `parts` of a body come one after the other; None: the client goes away."""

    path: str
    parts: tuple[bytes | None, ...] = (b"",)
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)
    silent: bool = False  # the rest of the body never comes
    query: bytes = b""


class BothWays:
    """A server that is asked by its lean reader, and by Hypercorn. Each pair comes from an address of its own, or the
    limit on failed authentications would fall between the two."""

    def __init__(self, local: LocalServer, hot: Served, quart: Served) -> None:
        self._servers = hot, quart
        self._pairs = 0
        self._token = local.parts.admin_token.encode()

    async def same(self, sent: Sent, *, known: bool = True) -> Any:
        """The answer, which must be the same; as the administrator if `known`."""
        self._pairs += 1
        client = f"127.1.{self._pairs // 250}.{self._pairs % 250}"
        if known:
            sent = sent._replace(headers=(*sent.headers, (b"authorization", b"Bearer " + self._token)))
        if not {name for name, _ in sent.headers} & {b"content-length", b"transfer-encoding"}:
            length = str(sum(len(part or b"") for part in sent.parts)).encode()
            sent = sent._replace(headers=(*sent.headers, (b"content-length", length)))
        hot, quart = [await heard(server, sent, client) for server in self._servers]
        assert hot == quart, sent
        return hot


async def heard(server: Served, sent: Sent, client: str) -> Any:
    """What a server answers; GONE when it leaves the client without."""
    lines = b"".join(b"%s: %s\r\n" % line for line in ((b"host", b"x"), *sent.headers))
    target = quote(sent.path).encode() + (b"?" + sent.query if sent.query else b"")
    chunked = b"transfer-encoding" in dict(sent.headers)
    async with await connect(server, client) as stream:
        await stream.send_all(b"POST %s HTTP/1.1\r\n%s\r\n" % (target, lines))
        for part in sent.parts:
            if part is None:
                return GONE
            with suppress(trio.BrokenResourceError):
                await stream.send_all(b"%x\r\n%s\r\n" % (len(part), part) if chunked and part else part)
            await trio.lowlevel.checkpoint()
        if chunked and not sent.silent:
            with suppress(trio.BrokenResourceError):
                await stream.send_all(b"0\r\n\r\n")
        (answer,) = await answers(stream, 1)
        answer.headers.pop("connection", None)  # only the lean reader knows how much is left to be sent
        return answer.comparable


def lines() -> Iterator[tuple[tuple[bytes, bytes], ...]]:
    """The corpus's header lines, as they arrive: those that are none, or speak of the body's length, never do."""
    for text in corpus("headers", "line"):
        pairs = [line.partition(b":") for line in text.split(b"\r\n")]
        if all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, _, value in pairs):
            found = tuple((name.lower(), value.strip()) for name, _, value in pairs)
            if not {name for name, _ in found} & {b"content-length", b"transfer-encoding"}:
                yield found


@pytest.fixture
async def both(local: LocalServer) -> AsyncIterator[BothWays]:
    """A worker, one job that it holds, and one whose source never came."""
    await local.register()
    await local.submit()
    await local.claim()
    await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": "b" * 64})
    async with lean(local) as hot, by_hypercorn(local) as quart:
        yield BothWays(local, hot, quart)


async def test_bodies_that_are_refused(both: BothWays, autojump_clock: Any) -> None:
    members = [GOOD_BODY + member + b"}" for member in corpus("bodies", "member")]
    for path in PATHS:
        bodies = [*corpus("bodies", "whole"), *(members if path == "/api/jobs" else ())]
        seen = {(await both.same(Sent(path, (body[:7], body[7:]))))[0] for body in bodies}
        assert seen >= {400, 422}, path


async def test_header_lines(both: BothWays, autojump_clock: Any) -> None:
    tried = 0
    for headers in lines():
        named = {name for name, _ in headers}
        sent = Sent("/api/jobs/claim", (b"{}",), headers if b"content-type" in named else (JSON, *headers))
        await both.same(sent, known=b"authorization" not in named)
        tried += 1
    assert tried > 30


async def test_nobody_knows_who_asks(both: BothWays, autojump_clock: Any) -> None:
    for path in PATHS:
        for headers in ((JSON,), (JSON, (b"authorization", b"Bearer bf_x"))):
            assert (await both.same(Sent(path, (b"{}",), headers), known=False))[0] == 401


async def test_paths_that_are_nearly_hot(both: BothWays, autojump_clock: Any) -> None:
    for path in (
        "/api/jobs/01/complete", "/api/jobs/0/complete", "/api/jobs/9223372036854775808/fail", "/api/jobs/x/release",
        "/api/jobs/1/complete/", "/api/jobs//complete", "/api/workers//heartbeat", "/api/workers/a b/heartbeat",
        "/api/workers/a\x00b/heartbeat", "/api/workers/a\nb/heartbeat", f"/api/workers/{'w' * 201}/heartbeat",
        "/api/workers/ü☃/heartbeat", "/api/jobs/1/complete\n", "/api/jobs/claim/", "/API/jobs/claim",
    ):  # fmt: skip
        await both.same(Sent(path, (b"{}",)))
    assert (await both.same(Sent("/api/jobs/claim", (b"{}",), query=b"worker_id=w1&%ff")))[0] == 422


async def test_what_is_taken(both: BothWays, autojump_clock: Any) -> None:
    """And does nothing the second time: the job is there already, there is no other job, the key was used."""
    key = (JSON, (b"idempotency-key", b"once"))
    for path, body, headers, status in (
        ("/api/jobs", b'{"type":"pdf","source_hash":"%s"}' % (b"b" * 64), (JSON,), 200),
        ("/api/jobs/claim", b'{"worker_id":"w1","job_type":"ocr"}', (JSON,), 200),
        ("/api/jobs/claim", b'{"worker_id":"w1","job_types":["ocr"],"limit":2,"wait":3}', (JSON,), 200),
        ("/api/workers/w1/heartbeat", b"", (), 200),
        ("/api/workers/w1/heartbeat", b'{"job_id":999}', (JSON,), 200),
        ("/api/jobs/1/fail", b'{"worker_id":"w1","error":"e"}', key, 200),
        ("/api/jobs/1/complete", b'{"worker_id":"w1"}', (JSON,), 409),
        ("/api/jobs/1/complete", b'{"worker_id":"w1"}', key, 422),
        ("/api/jobs/complete", b'{"jobs":[{"job_id":1,"worker_id":"w1"}]}', (JSON,), 200),
    ):
        assert (await both.same(Sent(path, (body,), headers)))[0] == status, (path, body)


async def test_bodies_that_do_not_come(both: BothWays, autojump_clock: Any) -> None:
    """One that is announced as too large, one that is, one that stops in the middle, and one whose client goes."""
    large = (JSON, (b"content-length", b"9" * 12))
    assert (await both.same(Sent("/api/jobs/claim", (b"{}",), large)))[0] == 413
    chunked = (JSON, (b"transfer-encoding", b"chunked"))
    assert (await both.same(Sent("/api/jobs/claim", (b" " * (1 << 20), b"{}"), chunked)))[0] == 413
    half = (JSON, (b"content-length", b"2"))
    assert (await both.same(Sent("/api/jobs/claim", (b"{",), half, silent=True)))[0] == 408
    assert await both.same(Sent("/api/jobs/claim", (b"{", None), half)) == GONE
