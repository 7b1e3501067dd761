"""Logging: structlog, JSON when nobody watches, and no secret in any line.

Redaction is the last step before a line is written, so that it also covers what libraries and tracebacks say.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

GONE = "[redacted]"
_SECRETS = re.compile(
    r"(?P<token>bfw?_[A-Za-z0-9_-]{12,})"
    # 256 random bits in base64url, in both cases: what a session's cookie and the first-start code are.
    r"|(?P<random>(?<![A-Za-z0-9_-])(?=[a-z0-9_-]*[A-Z])(?=[A-Z0-9_-]*[a-z])[A-Za-z0-9_-]{43}(?![A-Za-z0-9_-]))"
    r"|(?P<bearer>(?i:bearer)\s+\S+)"
    r"|(?P<name>(?i:X-Amz-Signature|X-Amz-Credential|X-Amz-Security-Token|sig|code|state|token|secret)=)[^&\s\"'<>]+"
)


# State owned here: the secrets of this process's configuration, which have no form to be known by.
_configured: list[str] = []
SHORTEST = 8  # characters; something shorter is a word of other texts, too
# And the logger that `configure` made for requests.
_of_requests: list[Any] = []


def hide(secrets: Iterable[str]) -> None:
    """From now on, redact these values as well, wherever they stand."""
    _configured[:] = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)


def redact(text: str) -> str:
    """The text without tokens, worker secrets, session ids, signatures of URLs, and what `hide` was told."""
    for secret in _configured:
        text = text.replace(secret, GONE)
    return _SECRETS.sub(lambda match: (match["name"] or "") + GONE, text)


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
    _of_requests[:] = [
        structlog.get_logger("blobforge.http") if console else _straight(stream, "blobforge.http", level)
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def of_requests() -> Any:
    """The logger for one line a request: the same lines, a third of the cost."""
    return _of_requests[0] if _of_requests else structlog.get_logger("blobforge.http")


def _straight(stream: TextIO, name: str, level: str) -> Any:
    """A logger of JSON lines that go to `stream` and not through the standard library's handlers (49 us a line)."""

    def named(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["logger"] = name
        return event

    return structlog.wrap_logger(
        _Lines(stream),
        processors=[
            structlog.contextvars.merge_contextvars,
            _redact_event,  # all that is not from here
            structlog.processors.add_log_level,
            named,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    ).bind()


class _Lines:
    """Writes lines, or does without: a log that takes none (disk full, reader gone) must stop no request."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = msg


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
