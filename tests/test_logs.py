"""No secret in any line, whoever wrote it and however deep it sits."""

from __future__ import annotations

import errno
import io
import itertools
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from blobforge.access import WORKER_SECRET_PREFIX, new_token
from blobforge.machinery import logs, redaction

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
    assert redaction.redact(text) == left


class Full(io.StringIO):
    """A log on a disk that is full."""

    def write(self, _text: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def answered(path: str = "/api/stats", **others: str) -> logs.Answered:
    return logs.Answered("GET", path, 200, 1.5, others.pop("caller", None), "0123456789abcdef", **others)


def test_a_log_that_takes_no_line_stops_no_request(lines: io.StringIO) -> None:
    logs.configure("info", "json", Full())
    logs.answered(answered())
    with open("/dev/full", "w") as full:  # a file's own buffers are passed by
        logs.configure("info", "json", full)
        logs.answered(answered())
    logs.configure("info", "json", lines)
    logs.answered(answered())
    assert len(lines.getvalue().splitlines()) == 1


FIELDS = {"method": "GET", "path": "/api/stats", "status": 200, "ms": 1.5, "caller": None, "event": "request",
          "request_id": "0123456789abcdef", "level": "info", "logger": "blobforge.http"}  # fmt: skip


def test_a_request_is_one_line_of_json(lines: io.StringIO) -> None:
    before = datetime.now(UTC)
    logs.answered(answered())
    logs.answered(answered(trace_id="ab" * 16, caller="token:1"))
    first, second = (json.loads(line) for line in lines.getvalue().splitlines())
    assert before <= datetime.fromisoformat(first.pop("timestamp")) <= datetime.now(UTC)
    del second["timestamp"]
    assert first == FIELDS
    assert second == FIELDS | {"trace_id": "ab" * 16, "caller": "token:1"}


def test_a_request_has_the_same_fields_as_any_other_line(lines: io.StringIO) -> None:
    logs.answered(answered())
    structlog.get_logger("blobforge.http").info("request")
    ours, structlogs = (json.loads(line) for line in lines.getvalue().splitlines())
    assert set(structlogs) < set(ours)
    assert len(ours["timestamp"]) == len(structlogs["timestamp"])


@pytest.mark.parametrize("format_", ["json", "console"])
def test_no_secret_in_the_line_of_a_request(lines: io.StringIO, format_: str) -> None:
    logs.configure("info", format_, lines)
    redaction.hide(["correct-horse"])
    try:
        for path in (f"/objects/k?sig={SIGNATURE}", f"/api/{TOKEN}/x", "/api/correct-horse", f"/a/{WORKER_SECRET}"):
            logs.answered(answered(path, caller=f"worker {TOKEN}"))
    finally:
        redaction.hide([])
    said = lines.getvalue()
    assert said.count(redaction.GONE) == 8
    for secret in (TOKEN, WORKER_SECRET, SIGNATURE, "correct-horse"):
        assert secret not in said


def test_a_file_is_written_in_the_order_of_the_lines(lines: io.StringIO, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        logs.configure("info", "json", stream)
        for _ in range(3):
            structlog.get_logger("test").info("other")
            logs.answered(answered("/\u00e9\n"))
    said = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in said] == ["other", "request"] * 3
    assert said[1]["path"] == "/\u00e9\n"


PARTS = st.sampled_from(
    [TOKEN, WORKER_SECRET, "bf_", "bfw_0123456789_-", "Bearer x", "BEARER\t\u00e9", "sig=", "X-Amz-Signature=1",
     "/api/jobs", "token=\n", "a" * 43, "aB" * 21, "aB" * 21 + "c", " ", "\u0130", "\u017f", "bearer"]
)  # fmt: skip


@given(st.lists(st.one_of(PARTS, st.text(max_size=15))).map("".join))
def test_what_is_not_suspect_holds_no_secret(text: str) -> None:
    """The quick look before the whole expression changes nothing."""
    whole = redaction._SECRETS.sub(lambda match: (match["name"] or "") + redaction.GONE, text)
    assert redaction.redact(text) == whole


def _clean(buffer: io.StringIO) -> list[dict[str, object]]:
    text = buffer.getvalue()
    for secret in (TOKEN, WORKER_SECRET, SIGNATURE):
        assert secret not in text
    assert text.count(redaction.GONE) > 0
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
    assert line["headers"] == {"Authorization": redaction.GONE, "x": ["y", redaction.GONE]}


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
        logs.answered(answered())
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


def test_what_one_test_leaves_behind() -> None:
    logs.configure("error", "json", io.StringIO())
    assert structlog.is_configured()


def test_is_not_found_by_the_next_one(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.get_logger("test").info("hello")
    assert "hello" in capsys.readouterr().out
