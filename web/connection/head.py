"""The head of a request: one strict reading of it, before either way in sees it.

Two parsers that disagree on where a request ends are how requests are smuggled. Here one reading decides where each
request ends, and takes only what llhttp and h11 read alike: what one of them takes leniently and the other refuses
(obsolete folding, bare line feeds, a length that is given twice, a space too many) is refused for both.
"""

from __future__ import annotations

import re
from typing import NoReturn, overload
from urllib.parse import unquote

import httptools

from blobforge.refusals import Refusal, RefusalCode

LARGEST_HEAD = 32 * 1024  # bytes, the empty line included
MOST_HEADERS = 100
LONGEST_LENGTH = 18  # digits of a Content-Length: more fit in no integer of a file system

END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ (?:/[\x21-\x7e]*|\*) HTTP/1\.([01])\r\n")
_BAD_IN_PART = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r[^\n]")
_ALLOWED = bytes(set(range(256)) - set(range(9)) - {0x0B, 0x0C, 0x7F} - set(range(0x0E, 0x20)))

MALFORMED = Refusal(RefusalCode.MALFORMED, "This is no HTTP/1.1 request that can be read in one way only.")
TOO_LARGE = Refusal(
    RefusalCode.HEADERS_TOO_LARGE,
    f"The request's head is larger than {LARGEST_HEAD // 1024} KiB, or has more than {MOST_HEADERS} header lines.",
)
TOO_SLOW = Refusal(RefusalCode.TOO_SLOW, "The request's head did not arrive in time.")
ONLY_HTTP_1 = Refusal(
    RefusalCode.MALFORMED, "This server speaks HTTP/1.1 and switches to no other protocol; send no `Upgrade`."
)


# What the request line of nearly every request looks like; llhttp and h11 take each of these.
_PLAIN_LINE = re.compile(rb"(GET|POST|PUT|PATCH|DELETE) (/[A-Za-z0-9._~/-]*) HTTP/1\.1\r\n")
LARGEST_KNOWN = 2048  # bytes of header lines that are kept
MOST_KNOWN = 1024


class HeadError(Exception):
    """The bytes are no head of a request that this server takes."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


class ParsedHeaders:
    """Header lines by lower-case name. Of several with one name the first counts; those of _JOINED are joined."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        self.lines: dict[str, str] = {}

    @overload
    def get(self, name: str, /) -> str | None: ...

    @overload
    def get(self, name: str, default: str, /) -> str: ...

    def get(self, name: str, default: str | None = None, /) -> str | None:
        return self.lines.get(name.lower(), default)

    def getlist(self, name: str, /) -> list[str]:
        line = self.lines.get(name.lower())
        return [] if line is None else [line]

    def __contains__(self, name: str, /) -> bool:
        return name.lower() in self.lines


class Heads:
    """Reads heads. State owned here: what came of late, without the request lines, and what it means.

    A worker sends the same header lines with each of its requests, and to read them takes a tenth of a request. Equal
    bytes mean the same again; where the request line is not a plain one, everything is read together.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def read(self, raw: bytes) -> Head:
        """A whole head, the empty line at its end included. Raises HeadError."""
        line = _PLAIN_LINE.match(raw)
        if line is None or len(raw) > LARGEST_HEAD:
            return Head(raw)
        lines = raw[line.end() :]
        known = self._known.get(lines)
        if known is not None:
            return known.again(raw, line)
        head = Head(raw)
        if len(lines) <= LARGEST_KNOWN:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[lines] = head
        return head


class Head:
    """`length` is the body's in bytes, None where it comes in chunks. `expects`: the client waits for 100."""

    __slots__ = ("_count", "expects", "headers", "keep_alive", "length", "method", "path", "query", "raw")

    def __init__(self, raw: bytes) -> None:
        """Read a whole head, the empty line at its end included. Raises HeadError."""
        self.raw = raw
        self.headers = ParsedHeaders()
        self._count = 0
        if len(raw) > LARGEST_HEAD:
            check_part(raw)
        line = _REQUEST_LINE.match(raw)
        lines = raw.count(b"\n")
        if line is None or lines != raw.count(b"\r\n") or lines != raw.count(b"\r") or raw.translate(None, _ALLOWED):
            raise HeadError(MALFORMED)
        try:
            parser = httptools.HttpRequestParser(self)
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            raise HeadError(ONLY_HTTP_1) from None
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, HeadError):
                raise error.__context__ from None
            raise HeadError(MALFORMED) from None
        method, target, _ = raw[: line.end()].split(b" ")
        self.method = method.decode()
        if target == b"*" and self.method != "OPTIONS":
            raise HeadError(MALFORMED)
        path, _, self.query = target.partition(b"?")
        self.path = unquote(path.decode()) if b"%" in path else path.decode()
        self._frame(old=line[1] == b"0")

    def again(self, raw: bytes, line: re.Match[bytes]) -> Head:
        """The head of another request with the same header lines, and a plain request line."""
        head = Head.__new__(Head)
        head.raw = raw
        head.headers, head.length, head.keep_alive, head.expects = (
            self.headers, self.length, self.keep_alive, self.expects
        )  # fmt: skip
        head.method, head.path, head.query = line[1].decode(), line[2].decode(), b""
        return head

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count += 1
        if self._count > MOST_HEADERS:
            raise HeadError(TOO_LARGE)
        key, text = name.decode("latin1").lower(), value.decode("latin1").strip(" \t")
        lines = self.headers.lines
        if key not in lines:
            lines[key] = text
        elif key in _JOINED:
            lines[key] += _JOINED[key] + text
        elif key in _ONCE:
            raise HeadError(MALFORMED)

    def _frame(self, *, old: bool) -> None:
        lines = self.headers.lines
        if "upgrade" in lines:
            raise HeadError(ONLY_HTTP_1)
        if not (old or "host" in lines):
            raise HeadError(MALFORMED)
        length, coding = lines.get("content-length"), lines.get("transfer-encoding")
        self.length: int | None = 0
        if coding is not None:
            if length is not None or old or coding.lower() != "chunked":
                raise HeadError(MALFORMED)
            self.length = None
        elif length is not None:
            if not (length.isascii() and length.isdigit() and len(length) <= LONGEST_LENGTH):
                raise HeadError(MALFORMED)
            self.length = int(length)
        connection = lines.get("connection")
        self.keep_alive = not old and (
            connection is None or "close" not in [token.strip(" \t") for token in connection.lower().split(",")]
        )
        self.expects = not old and lines.get("expect", "").lower() == "100-continue"


# What a proxy adds as a line of its own counts as much as what it appends to the line that is there.
_JOINED = {"cookie": "; ", "connection": ",", "x-forwarded-for": ",", "x-forwarded-proto": ","}
_ONCE = frozenset({"host", "content-length", "transfer-encoding", "expect", "upgrade"})


def check_part(part: bytes | bytearray) -> None:
    """Look at a head that is not whole yet. Raises HeadError for what can become none: the rest need not come."""
    if _BAD_IN_PART.search(part, 0, LARGEST_HEAD) or part[:1].isspace():
        _refuse(MALFORMED)
    if len(part) > LARGEST_HEAD:
        _refuse(TOO_LARGE)


def _refuse(refusal: Refusal) -> NoReturn:
    raise HeadError(refusal)
