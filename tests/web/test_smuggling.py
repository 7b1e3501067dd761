"""Requests that two parsers could read differently: one verdict on each, whichever way it is for, however it comes.

Each of the table goes to a hot route, to a route of Quart's and to an object's URL: in one piece, byte by byte,
behind a good request and before one. Refused means 400, a connection that is closed, and nothing behind it carried
out.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from functools import partial
from typing import Any

import pytest
import trio
import trio.lowlevel

from tests.fixtures.local import LocalServer
from tests.web.wire import Served, answers, connect, lean

TARGETS = {
    "hot": "POST /api/workers/w1/heartbeat",
    "quart": "POST /api/jobs/77/retry",
    "objects": "PUT an upload URL",
}
HOW: tuple[dict[str, Any], ...] = (
    {"before": False, "behind": False, "step": None},
    {"before": False, "behind": True, "step": None},
    {"before": True, "behind": False, "step": None},
    {"before": False, "behind": False, "step": 1},
    {"before": True, "behind": True, "step": 1},
)
GOOD = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


class Verdict(StrEnum):
    TAKEN = "taken"  # and the connection goes on
    LAST = "taken, and the connection ends"
    REFUSED = "refused"


T, L, R = Verdict.TAKEN, Verdict.LAST, Verdict.REFUSED
HEAD = b"<M> <P> HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer <T>\r\n"
LENGTH, CHUNKED = HEAD + b"Content-Length: 2\r\n", HEAD + b"Transfer-Encoding: chunked\r\n"
EMPTY = HEAD + b"Content-Length: 0\r\n"

CASES: dict[str, tuple[bytes, Verdict]] = {
    # bodies of known length
    "a length": (LENGTH + b"\r\n{}", T),
    "no length": (HEAD + b"\r\n", T),
    "a length with zeros": (HEAD + b"Content-Length: 002\r\n\r\n{}", T),
    "a length in spaces": (HEAD + b"Content-Length: \t 2 \r\n\r\n{}", T),
    "a length twice": (LENGTH + b"Content-Length: 2\r\n\r\n{}", R),
    "two lengths": (LENGTH + b"Content-Length: 0\r\n\r\n{}", R),
    "two lengths in one line": (HEAD + b"Content-Length: 2, 2\r\n\r\n{}", R),
    "a length with a plus": (HEAD + b"Content-Length: +2\r\n\r\n{}", R),
    "a length below nothing": (HEAD + b"Content-Length: -2\r\n\r\n{}", R),
    "a length in hex": (HEAD + b"Content-Length: 0x2\r\n\r\n{}", R),
    "a length with a fraction": (HEAD + b"Content-Length: 2.0\r\n\r\n{}", R),
    "a length with an underscore": (HEAD + b"Content-Length: 0_2\r\n\r\n{}", R),
    "a length of two words": (HEAD + b"Content-Length: 2 2\r\n\r\n{}", R),
    "an empty length": (HEAD + b"Content-Length:\r\n\r\n{}", R),
    "a length of too many digits": (HEAD + b"Content-Length: " + b"0" * 30 + b"2\r\n\r\n{}", R),
    "a length beyond all integers": (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n{}", R),
    "Arabic digits": (HEAD + "Content-Length: ٢\r\n\r\n{}".encode(), R),
    # bodies in chunks
    "chunks": (CHUNKED + b"\r\n2\r\n{}\r\n0\r\n\r\n", T),
    "chunks, in capitals": (HEAD + b"Transfer-Encoding: Chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", T),
    "a size with zeros": (CHUNKED + b"\r\n0002\r\n{}\r\n000\r\n\r\n", T),
    "no chunk but the last": (CHUNKED + b"\r\n0\r\n\r\n", T),
    "chunks and a length": (CHUNKED + b"Content-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n", R),
    "a length and chunks": (LENGTH + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", R),
    "chunks twice": (CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", R),
    "chunks twice in one line": (HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", R),
    "identity": (HEAD + b"Transfer-Encoding: identity\r\n\r\n", R),
    "packed chunks": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", R),
    "chunks, then packed": (HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", R),
    "a coding that nobody knows": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", R),
    "a coding in quotes": (HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', R),
    "a coding with a parameter": (HEAD + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", R),
    "a coding with a form feed": (HEAD + b"Transfer-Encoding: \x0cchunked\r\n\r\n0\r\n\r\n", R),
    "an empty coding": (HEAD + b"Transfer-Encoding:\r\n\r\n", R),
    "chunks in HTTP/1.0": (CHUNKED.replace(b"1.1", b"1.0") + b"\r\n0\r\n\r\n", R),
    "an extension of a chunk": (CHUNKED + b"\r\n2;x=y\r\n{}\r\n0\r\n\r\n", R),
    "an extension with a line feed": (CHUNKED + b"\r\n2;\n{}\r\n0\r\n\r\n", R),
    "a size with a plus": (CHUNKED + b"\r\n+2\r\n{}\r\n0\r\n\r\n", R),
    "a size below nothing": (CHUNKED + b"\r\n-2\r\n{}\r\n0\r\n\r\n", R),
    "a size in hex, with a sign": (CHUNKED + b"\r\n0x2\r\n{}\r\n0\r\n\r\n", R),
    "a size behind a space": (CHUNKED + b"\r\n 2\r\n{}\r\n0\r\n\r\n", R),
    "a size before a space": (CHUNKED + b"\r\n2 \r\n{}\r\n0\r\n\r\n", R),
    "no size": (CHUNKED + b"\r\n\r\n{}\r\n0\r\n\r\n", R),
    "no digit": (CHUNKED + b"\r\nzz\r\n{}\r\n0\r\n\r\n", R),
    "a size beyond all integers": (CHUNKED + b"\r\n" + b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n", R),
    "a size that ends with a line feed": (CHUNKED + b"\r\n2\n{}\r\n0\r\n\r\n", R),
    "a chunk that ends with a line feed": (CHUNKED + b"\r\n2\r\n{}\n0\r\n\r\n", R),
    "a chunk that is longer than it says": (CHUNKED + b"\r\n1\r\n{}\r\n0\r\n\r\n", R),
    "a chunk that ends with other bytes": (CHUNKED + b"\r\n2\r\n{}XX0\r\n\r\n", R),
    "a trailer": (CHUNKED + b"\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n", R),
    "a length as a trailer": (CHUNKED + b"\r\n0\r\nContent-Length: 5\r\n\r\n", R),
    # lines
    "line feeds alone": (EMPTY.replace(b"\r\n", b"\n") + b"\n", R),
    "one line feed alone": (EMPTY.replace(b"x\r\n", b"x\n") + b"\r\n", R),
    "a line feed alone at the end": (EMPTY[:-2] + b"\n\r\n", R),
    "a return alone": (EMPTY.replace(b"x\r\n", b"x\r", 1) + b"\r\n", R),
    "a return in a value": (EMPTY + b"X: a\rContent-Length: 2\r\n\r\n", R),
    "two returns": (EMPTY + b"X: a\r\r\n\r\n", R),
    "an empty line before": (b"\r\n" + EMPTY + b"\r\n", R),
    "a space before": (b" " + EMPTY + b"\r\n", R),
    "a folded line": (EMPTY + b"X: a\r\n b\r\n\r\n", R),
    "a folded length": (HEAD + b"Content-Length:\r\n 2\r\n\r\n{}", R),
    "a folded first line": (HEAD.replace(b"Host", b" Host") + b"\r\n", R),
    # names and values
    "a space before the colon": (HEAD + b"Content-Length : 2\r\n\r\n{}", R),
    "a tab before the colon": (HEAD + b"Content-Length\t: 2\r\n\r\n{}", R),
    "a space before the name": (EMPTY + b" X: y\r\n\r\n", R),
    "no colon": (EMPTY + b"X\r\n\r\n", R),
    "no name": (EMPTY + b": y\r\n\r\n", R),
    "a name with a letter that is none": (EMPTY + b"X\xff: y\r\n\r\n", R),
    "a name in brackets": (EMPTY + b"[X]: y\r\n\r\n", R),
    "NUL in a name": (EMPTY + b"X\0: y\r\n\r\n", R),
    "NUL in a value": (EMPTY + b"X: a\0b\r\n\r\n", R),
    "a control character in a value": (EMPTY + b"X: a\x01b\r\n\r\n", R),
    "DEL in a value": (EMPTY + b"X: a\x7fb\r\n\r\n", R),
    "Latin in a value": (EMPTY + b"X: \xe9\xff\r\n\r\n", T),
    "an empty value": (EMPTY + b"X:\r\nY: \t \r\n\r\n", T),
    "an underscore for a dash": (HEAD + b"Content_Length: 2\r\n\r\n", T),
    # the first line
    "a version of two digits": (EMPTY.replace(b"1.1", b"1.10") + b"\r\n", R),
    "HTTP/1.2": (EMPTY.replace(b"1.1", b"1.2") + b"\r\n", R),
    "HTTP/2.0": (EMPTY.replace(b"1.1", b"2.0") + b"\r\n", R),
    "HTTP/0.9": (b"<M> <P>\r\n\r\n", R),
    "another protocol": (EMPTY.replace(b"HTTP", b"ICAP") + b"\r\n", R),
    "a small http": (EMPTY.replace(b"HTTP", b"http") + b"\r\n", R),
    "two spaces": (EMPTY.replace(b"<M> <P>", b"<M>  <P>") + b"\r\n", R),
    "a tab": (EMPTY.replace(b"<M> <P>", b"<M>\t<P>") + b"\r\n", R),
    "a space at the end": (EMPTY.replace(b"1.1\r\n", b"1.1 \r\n") + b"\r\n", R),
    "a space in the path": (EMPTY.replace(b"<P> ", b"<P> x ") + b"\r\n", R),
    "a letter that is none in the path": (EMPTY.replace(b"<P> ", b"<P>\xff ") + b"\r\n", R),
    "an address with a scheme": (EMPTY.replace(b"<P> ", b"http://x<P> ") + b"\r\n", R),
    "an address with a host": (EMPTY.replace(b" <P> ", b" x:80 ") + b"\r\n", R),
    "a path without a slash": (EMPTY.replace(b" <P> ", b" a<P> ") + b"\r\n", R),
    "a star": (EMPTY.replace(b" <P> ", b" * ") + b"\r\n", R),
    "a method that nobody knows": (EMPTY.replace(b"<M> ", b"BREW ") + b"\r\n", R),
    "a method in small letters": (EMPTY.replace(b"<M> ", b"post ") + b"\r\n", R),
    "a connection to elsewhere": (EMPTY.replace(b"<M> <P>", b"CONNECT x:80") + b"\r\n", R),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", R),
    # hosts, and who goes on
    "no host": (EMPTY.replace(b"Host: x\r\n", b"") + b"\r\n", R),
    "two hosts": (EMPTY + b"Host: y\r\n\r\n", R),
    "the same host twice": (EMPTY + b"Host: x\r\n\r\n", R),
    "HTTP/1.0 without a host": (EMPTY.replace(b"Host: x\r\n", b"").replace(b"1.1", b"1.0") + b"\r\n", L),
    "HTTP/1.0": (LENGTH.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n\r\n{}", L),
    "the last": (LENGTH + b"Connection: close\r\n\r\n{}", L),
    "the last, in many words": (LENGTH + b"Connection: TE, CLOSE\r\n\r\n{}", L),
    "the last, in the second line": (LENGTH + b"Connection: x\r\nConnection: close\r\n\r\n{}", L),
    "nearly the last": (LENGTH + b"Connection: closed\r\n\r\n{}", T),
    "an upgrade": (EMPTY + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", R),
    "an upgrade to HTTP/2": (EMPTY + b"Upgrade: h2c\r\n\r\n", R),
    "waits for 100": (LENGTH + b"Expect: 100-continue\r\n\r\n{}", T),
}


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60
    assert {verdict for _, verdict in CASES.values()} == set(Verdict)


async def verdict_on(server: Served, sent: bytes, *, before: bool, behind: bool, step: int | None) -> Verdict:
    """What the server says to these bytes."""
    async with await connect(server) as stream:
        whole = (GOOD if before else b"") + sent + (GOOD if behind else b"")
        try:
            for at in range(0, len(whole), step or len(whole)):
                await stream.send_all(whole[at : at + (step or len(whole))])
                await trio.lowlevel.checkpoint()
            if not behind:
                await stream.send_all(GOOD)  # does the connection go on?
        except trio.BrokenResourceError:
            pass  # refused before all was said
        said = await answers(stream, 2 + before)
    if before:
        assert said.pop(0).status == 200
    assert said, "no answer at all"
    if said[0].status == 400:
        assert said[0].headers["connection"] == "close"
        assert len(said) == 1
        assert said[0].headers["content-type"] == "application/problem+json"
        return R
    assert said[0].status < 500
    assert len(said) == 1 or said[1].status == 200
    return T if len(said) == 2 else L


@pytest.mark.parametrize("way", TARGETS)
async def test_one_verdict(local: LocalServer, autojump_clock: Any, way: str) -> None:
    await local.register()
    method, path = TARGETS[way].split(" ", 1)
    if way == "objects":
        digest = hashlib.sha256(b"{}").hexdigest()
        _, given = await local.call("POST", "/api/files/upload-url", {"source_hash": digest})
        path = given["url"].removeprefix("http://localhost")
    wrong: list[str] = []

    async def look(name: str, server: Served, **how: Any) -> None:
        text, expected = CASES[name]
        for name_, value in (("M", method), ("P", path), ("T", local.parts.admin_token)):
            text = text.replace(f"<{name_}>".encode(), value.encode())
        found = await verdict_on(server, text, **how)
        if found is not expected:
            wrong.append(f"{name}, {how}: {found}, not {expected}")

    async with lean(local) as server:
        for name in CASES:
            async with trio.open_nursery() as nursery:
                for how in HOW:
                    nursery.start_soon(partial(look, name, server, **how))
    assert wrong == []
