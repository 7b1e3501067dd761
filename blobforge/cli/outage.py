"""A server that is away: how long a command waits for it, at its first call as at any other, and what it says.

State owned here: until when what goes wrong belongs to an outage that was told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from blobforge.cli.common import CliSession
    from blobforge.client import AsyncClient, ClientError

T = TypeVar("T")

PATIENCE = 60.0  # seconds, of a command that has work to do and then ends
_TELL_FROM = 2.0  # seconds; a shorter wait for the server is not worth a line
_SAME_OUTAGE = 30.0  # seconds; a call that fails so soon after the try of another has met what that one met


class Outages:
    """Says on stderr that the server is waited for: once for each outage, however many calls meet it."""

    def __init__(self, session: CliSession, patience: float = PATIENCE) -> None:
        self._session = session
        self._how_long = "until it answers" if patience == math.inf else f"for {patience:.0f} s"
        self._until = -math.inf

    def __call__(self, error: ClientError, pause: float) -> None:
        """A call is made again in so many seconds."""
        if time.monotonic() < self._until or pause >= _TELL_FROM:
            self.broken(error, pause)

    def broken(self, error: ClientError, pause: float) -> None:
        """A stream that stood has broken off: that is told at once."""
        now = time.monotonic()
        if now >= self._until:
            self._session.note(f"{error}; trying again {self._how_long}")
        self._until = now + pause + _SAME_OUTAGE


def follow(session: CliSession, work: Callable[[AsyncClient, Outages], Awaitable[T]]) -> T:
    """`session.run` for what goes on until the server says that something has ended: it is waited for without end."""
    outages = Outages(session, math.inf)
    return session.run(lambda client: work(client.with_patience(math.inf), outages), on_retry=outages)
