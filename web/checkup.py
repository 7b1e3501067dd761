"""How the parts are, for callers that ask often. State owned here: the parts' states, for a second."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import trio

FRESH_SECONDS = 1.0  # the health is open to all callers: it costs one commit, and one call to the store, in this time


class Checkup:
    """Looks at each part at most once in FRESH_SECONDS; a caller that comes during a look waits for its result."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[float, Any]] = {}
        self._looking: defaultdict[str, trio.Lock] = defaultdict(trio.Lock)

    async def part(self, name: str, look: Callable[[], Awaitable[Any]]) -> Any:
        """What `look` found for the part of this name, now or just before."""
        async with self._looking[name]:
            at, found = self._found.get(name, (-math.inf, None))
            if trio.current_time() - at > FRESH_SECONDS:
                found = await look()
                self._found[name] = (trio.current_time(), found)
            return found
