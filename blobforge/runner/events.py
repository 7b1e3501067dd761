"""What the runner says of itself: one record an event, with a name and fields for programs, and a text for people.

The records go through `logging` (logger `blobforge.runner`), as a library's should; the program that shows them
decides how.
"""

from __future__ import annotations

import logging
import time

from blobforge.client import ClientError
from blobforge.client.text import sendable

log = logging.getLogger("blobforge.runner")

Field = str | int | float | bool | list[str] | None


def say(event: str, text: str, *, level: int = logging.INFO, **fields: Field) -> None:
    """One event, such as `job-completed`. Fields without a value are left out."""
    kept = {name: value for name, value in fields.items() if value is not None}
    log.log(level, "%s", sendable(text), extra={"event": event, "fields": kept})


def warn(event: str, text: str, **fields: Field) -> None:
    """Log an event that may need the operator's attention."""
    say(event, text, level=logging.WARNING, **fields)


class ServerAwayNotice:
    """A client's `on_retry` that says now and then that the server is waited for, not at each try."""

    EVERY = 30.0  # seconds

    def __init__(self) -> None:
        self._said: float | None = None

    def __call__(self, error: ClientError, pause: float) -> None:
        now = time.monotonic()
        if self._said is None or now - self._said >= self.EVERY:
            self._said = now
            warn("server-away", f"{error}; trying again until it answers")
