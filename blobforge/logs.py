"""Logging: structlog, JSON when nobody watches, and no secret in any line.

Redaction is the last step before a line is written, so that it also covers what libraries and tracebacks say.
"""

from __future__ import annotations

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
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


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
