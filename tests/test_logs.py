"""No secret in any line, whoever wrote it and however deep it sits."""

from __future__ import annotations

import errno
import io
import itertools
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from blobforge import logs
from blobforge.access import WORKER_SECRET_PREFIX, new_token

TOKEN = new_token()
WORKER_SECRET = WORKER_SECRET_PREFIX + new_token().removeprefix("bf_")
SIGNATURE = "0123456789abcdef" * 4


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Logging as the server sets it up, in JSON, into a buffer; put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    buffer = io.StringIO()
    logs.configure("debug", "json", buffer)
    yield buffer
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"token {TOKEN} was used", "token [redacted] was used"),
        (f"X-Worker-Secret: {WORKER_SECRET}", "X-Worker-Secret: [redacted]"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: [redacted]"),
        ("authorization: bearer abc", "authorization: [redacted]"),
        (f"/b/k?X-Amz-Date=1&X-Amz-Signature={SIGNATURE}&x=1", "/b/k?X-Amz-Date=1&X-Amz-Signature=[redacted]&x=1"),
        (f"/objects/sources/ab?exp=5&sig={SIGNATURE}", "/objects/sources/ab?exp=5&sig=[redacted]"),
        ("/auth/callback?code=4/0Ab&state=xyz", "/auth/callback?code=[redacted]&state=[redacted]"),
        (f'"{TOKEN}"', '"[redacted]"'),
        ("bf_short and a plain sentence", "bf_short and a plain sentence"),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_redact(text: str, left: str) -> None:
    assert logs.redact(text) == left


class Full(io.StringIO):
    """A log on a disk that is full."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.usefixtures("lines")
def test_a_log_that_takes_no_line_stops_no_request() -> None:
    logs.configure("info", "json", Full())
    logs.of_requests().info("request", status=200)


def _clean(buffer: io.StringIO) -> list[dict[str, object]]:
    text = buffer.getvalue()
    for secret in (TOKEN, WORKER_SECRET, SIGNATURE):
        assert secret not in text
    assert text.count(logs.GONE) > 0
    return [json.loads(line) for line in text.splitlines()]


def test_messages_and_values(lines: io.StringIO) -> None:
    log = structlog.get_logger("test")
    log.info(f"used {TOKEN}", url=f"http://x/?sig={SIGNATURE}", header=f"Bearer {WORKER_SECRET}", count=3)
    (line,) = _clean(lines)
    assert line["event"] == "used [redacted]"
    assert line["count"] == 3
    assert line["level"] == "info"
    assert line["logger"] == "test"


def test_values_in_values(lines: io.StringIO) -> None:
    """Headers in a dictionary, URLs in a list, an exception as a value: they are written out, too."""
    structlog.get_logger("test").warning(
        "request",
        headers={"Authorization": f"Bearer {TOKEN}", "x": ["y", WORKER_SECRET]},
        urls=(f"http://x/?X-Amz-Signature={SIGNATURE}",),
        error=ValueError(f"bad secret {WORKER_SECRET}"),
        raw=TOKEN.encode(),
    )
    (line,) = _clean(lines)
    assert line["headers"] == {"Authorization": logs.GONE, "x": ["y", logs.GONE]}


def test_tracebacks(lines: io.StringIO) -> None:
    try:
        raise RuntimeError(f"cannot sign with {TOKEN}")
    except RuntimeError:
        structlog.get_logger("test").exception("failed")
        logging.getLogger("library").exception("failed too")
    for line in _clean(lines):
        assert "RuntimeError: cannot sign with [redacted]" in str(line["exception"])


def test_lines_of_libraries(lines: io.StringIO) -> None:
    logging.getLogger("httpx").warning("PUT %s -> %d", f"https://s3/k?X-Amz-Signature={SIGNATURE}", 200)
    (line,) = _clean(lines)
    assert line["event"] == "PUT https://s3/k?X-Amz-Signature=[redacted] -> 200"
    assert line["level"] == "warning"


def test_context_that_is_bound(lines: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(credential=TOKEN, request_id="r1"):
        structlog.get_logger("test").info("hello")
    (line,) = _clean(lines)
    assert line["request_id"] == "r1"


def test_the_level_is_kept_for_both_kinds_of_logger() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    buffer = io.StringIO()
    try:
        logs.configure("warning", "json", buffer)
        structlog.get_logger("test").info("quiet")
        logging.getLogger("library").info("quiet")
        structlog.get_logger("test").warning("loud")
        assert [json.loads(line)["event"] for line in buffer.getvalue().splitlines()] == ["loud"]
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()


def test_a_terminal_gets_text_and_a_file_gets_json() -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    try:
        written = []
        for stream in (Terminal(), io.StringIO()):
            logs.configure("info", "auto", stream)
            structlog.get_logger("test").info(f"used {TOKEN}")
            written.append(stream.getvalue())
        assert TOKEN not in "".join(written)
        assert not written[0].startswith("{")
        assert json.loads(written[1])["event"] == "used [redacted]"
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
