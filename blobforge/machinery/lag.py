"""How late the event loop is: a task that wants to wake at a time, and notes how much later it did. State owned here:
those delays."""

from __future__ import annotations

import trio

from blobforge.machinery.tally import Spread

EVERY = 0.25  # seconds; a stall is noticed if it covers one of these moments, so anything longer than that is


class LoopLag:
    """Measures how late the event loop wakes a task: a computation on trio's thread, or a machine without CPU, holds
    up every request as it holds up this task."""

    def __init__(self) -> None:
        self.seconds = Spread()

    async def run(self) -> None:
        while True:
            wanted = trio.current_time() + EVERY
            await trio.sleep_until(wanted)
            self.seconds.add(max(0.0, trio.current_time() - wanted))
