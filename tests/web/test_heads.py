"""What is known of earlier heads changes nothing about a later one: the same bytes mean the same, or are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.connection.head import LARGEST_HEAD, LARGEST_KNOWN, MOST_KNOWN, Head, HeadError, Heads

GOOD = b"Host: a\r\nAuthorization: Bearer x\r\nContent-Length: 2\r\n\r\n"
REQUEST_LINES = [
    b"POST /api/jobs/claim HTTP/1.1\r\n", b"GET /api/jobs/12 HTTP/1.1\r\n", b"GET /x?y=1&z HTTP/1.1\r\n",
    b"GET /caf%C3%A9 HTTP/1.1\r\n", b"POST /a HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n", b"GET * HTTP/1.1\r\n",
    b"BREW /pot HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n", b"post /a HTTP/1.1\r\n", b"GET  /a HTTP/1.1\r\n",
    b"GET /a HTTP/1.1\n", b"GET a HTTP/1.1\r\n", b"GET http://a/b HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n",
    b"GET /a\x80 HTTP/1.1\r\n", b"GET /a HTTP/1.1 \r\n", b"HEAD /a HTTP/1.1\r\n", b"GET //a/./.. HTTP/1.1\r\n",
    b"GET /long/" + b"a" * LARGEST_HEAD + b" HTTP/1.1\r\n",
]  # fmt: skip
HEADER_LINES = [
    GOOD, b"Host: a\r\n\r\n", b"\r\n", b"Host: a\r\nHost: a\r\n\r\n",
    b"Host: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"Host: a\r\nConnection: close\r\n\r\n", b"Host: a\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    b"Host: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n", b"Host: a\r\nContent-Length: +2\r\n\r\n",
    b"Host: a\r\n folded: x\r\n\r\n", b"Host : a\r\n\r\n", b"Host: a\nX: y\r\n\r\n",
    b"Host: a\r\nExpect: 100-continue\r\n\r\n",
    b"Host: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", b"Host: a\r\nX: \x00\r\n\r\n",
]  # fmt: skip


def meaning(read: Any, raw: bytes) -> Any:
    try:
        head = read(raw)
    except HeadError as error:
        return error.refusal
    fields = (head.raw, head.method, head.path, head.query, head.length, head.keep_alive, head.expects)
    return fields, head.headers.lines


@pytest.mark.parametrize("before", REQUEST_LINES)
@pytest.mark.parametrize("line", REQUEST_LINES)
def test_every_request_line_behind_every_other(before: bytes, line: bytes) -> None:
    for lines in HEADER_LINES:
        heads = Heads()
        meaning(heads.read, before + lines)
        assert meaning(heads.read, line + lines) == meaning(Head, line + lines)
        assert meaning(heads.read, line + lines) == meaning(Head, line + lines)


@given(
    st.lists(
        st.tuples(st.sampled_from(REQUEST_LINES), st.sampled_from(HEADER_LINES), st.binary(max_size=3)), max_size=8
    )
)
def test_in_any_order(asked: list[tuple[bytes, bytes, bytes]]) -> None:
    heads = Heads()
    for line, lines, odd in asked:
        raw = line + odd + lines
        assert meaning(heads.read, raw) == meaning(Head, raw)


def test_what_is_known_is_bounded() -> None:
    heads = Heads()
    for number in range(MOST_KNOWN + 5):
        heads.read(b"GET / HTTP/1.1\r\nHost: a\r\nX: %d\r\n\r\n" % number)
    assert len(heads._known) == 5
    heads.read(b"GET / HTTP/1.1\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * LARGEST_KNOWN))
    assert len(heads._known) == 5
