"""Time in a play, and a scheduler that makes the same choices for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import trio
import trio._core._run as scheduling  # its dice are private, and there is no other way to them

from tests.fixtures.local import EPOCH_MS


class WallClock:
    """Wall time in ms, which somebody may set wrong. Owns: by how much it is off."""

    def __init__(self) -> None:
        self._off = 0
        self.was_set = False

    def __call__(self) -> int:
        return EPOCH_MS + round(trio.current_time() * 1000) + self._off

    def rfc3339(self, ahead: float) -> str:
        """The time in so many seconds."""
        return datetime.fromtimestamp(self() / 1000 + ahead, UTC).isoformat()

    def jump(self, seconds: float) -> None:
        self._off += round(seconds * 1000)
        self.was_set = True


@contextmanager
def determined(seed: int) -> Iterator[None]:
    """Which task runs next is chosen by dice; these fall the same way each time.

    trio keeps tasks that became ready together in sets, whose order depends on addresses: with the flag it sorts them
    before it shuffles.
    """
    internals: Any = scheduling
    flag, state = internals._ALLOW_DETERMINISTIC_SCHEDULING, internals._r.getstate()
    internals._ALLOW_DETERMINISTIC_SCHEDULING = True
    internals._r.seed(seed)
    try:
        yield
    finally:
        internals._ALLOW_DETERMINISTIC_SCHEDULING = flag
        internals._r.setstate(state)


def dice(seed: int, who: str) -> random.Random:
    """Each has dice of his own, so that a change to one leaves the others' choices as they are."""
    return random.Random(f"{seed} {who}")
