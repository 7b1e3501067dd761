"""The time that the writer proposes for a transaction. State owned here: how far the last turn's was ahead of it.

The time of turns never goes back, and all servers share it: where one server's clock was hours ahead, and was set
right, it is ahead of all clocks. If it stood still until they have come to it, nothing that is due in a while would
be for as long: tries of deliveries, trials, rates. So it goes on at half the pace of time, and they meet.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from blobforge.spans import SET_BACK_MS


class TurnTime:
    """`clock` is wall time in ms."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._own = 0  # what the clock said last
        self._ahead: tuple[int, float] | None = None  # that time, and when it was so

    def now(self) -> int:
        self._own = self._clock()
        if self._ahead is None:
            return self._own
        at, since = self._ahead
        return max(self._own, at + round((trio.current_time() - since) * 500))

    def taken(self, at: int, *, proposed: int) -> None:
        """The transaction for which this was proposed has had this time."""
        if at - self._own <= SET_BACK_MS:
            self._ahead = None
        elif self._ahead is None or at > proposed:
            self._ahead = at, trio.current_time()
