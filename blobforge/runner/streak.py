"""Jobs that fail one after the other: when a worker takes no more of them, and how it finds its way back.

State owned here: how many in a row, and until when nothing is claimed. A machine without a library fails all that it
gets, and would spend the tries of every document in the queue.
"""

from __future__ import annotations

import trio

from blobforge.runner.redacting import beginning

PAUSE = 60.0  # seconds until one job is taken as a trial; doubled each time that it fails, too
LONGEST_PAUSE = 3600.0


class Streak:
    """`most` failures in a row without a success stop the claiming; None: never."""

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._count = 0
        self._last = ""
        self._pause = PAUSE
        self._until = 0.0

    @property
    def on(self) -> bool:
        """Whether jobs are taken one at a time, as trials, if at all."""
        return self._most is not None and self._count >= self._most

    def succeeded(self) -> None:
        self._count, self._pause = 0, PAUSE

    def failed(self, reason: str) -> None:
        """Count one more failure. From the last one allowed on, each begins a pause."""
        again = self.on
        self._count += 1
        self._last = reason
        if self.on:
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if again else PAUSE
            self._until = trio.current_time() + self._pause

    def in_the_way(self, *, trial_runs: bool) -> tuple[str, float] | None:
        """What keeps the next job away, and the seconds after which to look again; None: nothing does."""
        if not self.on:
            return None
        said = f"{self._count} jobs in a row failed here, the last one with: {beginning(self._last, 200)}"
        left = self._until - trio.current_time()
        if left > 0:
            return f"{said}; one is tried in {self._pause:.0f} s", left
        return (f"{said}; one is being tried", PAUSE) if trial_runs else None
