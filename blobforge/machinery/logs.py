"""Logging: structlog, JSON where stderr is no terminal, and no secret in any line. State owned here: the log of
requests.

Redaction (`redaction.py`) is the last step before a line is written, so that it also covers what libraries and
tracebacks say.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from blobforge.machinery.redaction import redact

# The log of requests that `configure` made.
_of_requests: list[Callable[[Answered], None]] = []


def configure(level: str, format_: str, stream: TextIO | None = None) -> None:
    """Send everything, the libraries' lines too, to `stream` (stderr by default).

    `level` is debug, info, warning or error; `format_` is json, console or auto (console on a terminal).
    """
    stream = stream if stream is not None else sys.stderr
    console = format_ == "console" or (format_ == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redact_event,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=stream.isatty()) if console else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Hypercorn's own access log would write query strings, and botocore's debug lines whole requests.
    for noisy in ("hypercorn.access", "botocore", "boto3", "urllib3", "s3transfer"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if logging.getLevelName(level.upper()) > logging.INFO:
        _of_requests[:] = [_not_at_all]
    else:
        _of_requests[:] = [_in_words if console else _AccessLog(stream).write]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


class Answered(msgspec.Struct, omit_defaults=True):
    """The line of one request. `ms` is how long it took; `caller` is None for a stranger."""

    method: str
    path: str
    status: int
    ms: float
    caller: str | None
    request_id: str
    trace_id: str = ""


def answered(line: Answered) -> None:
    """Log a request. The line has one shape, and structlog's chain is not asked for it: that took 80 us, this 4."""
    _of_requests[0](line) if _of_requests else _in_words(line)


def _not_at_all(_line: Answered) -> None:
    pass


def _in_words(line: Answered) -> None:
    said = msgspec.structs.asdict(line)
    if not line.trace_id:
        del said["trace_id"]
    structlog.get_logger("blobforge.http").info("request", **said)


class _AccessLog:
    """Writes lines as JSON, or does without: a log that takes none (disk full, reader gone) must stop no request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        # Past the two buffers of a text stream, where there are any: a line is one write, whole.
        self._raw: io.RawIOBase | None = getattr(getattr(stream, "buffer", None), "raw", None)
        self._encode = msgspec.json.Encoder().encode
        self._second = 0
        self._time = b""  # that second, as every line of it begins its time

    def write(self, line: Answered) -> None:
        line.path = redact(line.path)
        if line.caller is not None:
            line.caller = redact(line.caller)
        encoded = b'%b,"event":"request","level":"info","logger":"blobforge.http","timestamp":"%b"}\n' % (
            self._encode(line)[:-1],
            self._now(),
        )
        with contextlib.suppress(OSError):
            if self._raw is not None:
                self._raw.write(encoded)
            else:
                self._stream.write(encoded.decode())
                self._stream.flush()

    def _now(self) -> bytes:
        """RFC 3339 in UTC, with microseconds."""
        microseconds = time.time_ns() // 1000
        second = microseconds // 1_000_000
        if second != self._second:
            self._second = second
            self._time = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()
        return b"%b.%06dZ" % (self._time, microseconds % 1_000_000)


def _redact_event(_logger: Any, _method: str, event: EventDict) -> EventDict:
    # What begins with an underscore is structlog's own (the LogRecord) and is not written.
    return {key: value if key.startswith("_") else _redact_value(value) for key, value in event.items()}


def _redact_value(value: Any) -> Any:
    """The value without secrets, however deep; what is no plain data becomes the text that would be written."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return redact(value)
        case dict():
            return {_redact_value(key): _redact_value(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_redact_value(inner) for inner in value]
        case _:
            return redact(repr(value))
