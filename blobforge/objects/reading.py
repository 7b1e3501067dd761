"""Long reads: what a thread that reads a whole object, and the caller that waits for it, tell one another.

State owned here: how many bytes have come out of a store, and whether a caller has left.
"""

from __future__ import annotations

import threading
from types import TracebackType

COPIED_A_SECOND = 20 << 20  # bytes, by a slow store; a copy that is given up is begun anew, and would never end


def copy_timeout(at_least: float, size: int | None) -> float:
    """For how long (s) a copy of so many bytes, if that is known, may take a store that says nothing meanwhile."""
    return max(at_least, size / COPIED_A_SECOND if size is not None else 0.0)


class Moved:
    """Bytes that have come out of a store so far. Of two threads that add at the same time, one may be lost: what
    counts is that the number grows."""

    def __init__(self) -> None:
        self.bytes = 0

    def __call__(self) -> int:
        return self.bytes


class Reading:
    """One read. A `with` block around the wait for it ends the thread of a caller that was cancelled."""

    def __init__(self, moved: Moved) -> None:
        self._moved = moved
        self._abandoned = threading.Event()

    def __enter__(self) -> Reading:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._abandoned.set()

    def goes_on(self, count: int) -> bool:
        """Called by the thread: so many bytes have come. Whether the answer is still waited for."""
        self._moved.bytes += count
        return not self._abandoned.is_set()
