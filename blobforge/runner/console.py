"""The runner's events on a stream, one line each: for a person, for a log, or as JSON for a program."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any, Literal, TextIO

from blobforge.runner.events import log

Style = Literal["terminal", "logfmt", "json"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_BARE = re.compile(r"[^\s\"=]+")


def show_events(stream: TextIO | None = None, *, style: Style | None = None, quiet: bool = False) -> None:
    """Show events on `stream` (stderr), with `quiet` warnings only. The default style goes by what the stream is."""
    into = stream or sys.stderr
    handler = logging.StreamHandler(into)
    handler.setFormatter(_Formatter(style or ("terminal" if into.isatty() else "logfmt")))
    log.addHandler(handler)
    log.setLevel(logging.WARNING if quiet else logging.INFO)


class _Formatter(logging.Formatter):
    """A record stays in its line: paths and the last words of commands are strangers' text."""

    def __init__(self, style: Style) -> None:
        super().__init__()
        self._kind = style

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}: {self.formatException(record.exc_info)}"
        if self._kind == "terminal":
            return _one_line(f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {text}")
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        fields: dict[str, Any] = {
            "time": moment,
            "level": record.levelname.lower(),
            "event": getattr(record, "event", record.name),
            **getattr(record, "fields", {}),
            "msg": text,
        }
        if self._kind == "json":
            return json.dumps(fields, ensure_ascii=True, default=str)
        return " ".join(f"{name}={_value(value)}" for name, value in fields.items())


def _value(value: object) -> str:
    """The value as logfmt writes it: quoted where it is more than a word."""
    text = _one_line(",".join(map(str, value)) if isinstance(value, list) else str(value))
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _one_line(text: str) -> str:
    return _CONTROL.sub(" ", text).strip()
