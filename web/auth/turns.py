"""One at a time for each name. State owned here: whose turn it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Turns:
    def __init__(self) -> None:
        self._locks: defaultdict[str, trio.Lock] = defaultdict(trio.Lock)

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait until no other task has a turn by this name; the block is the turn."""
        lock = self._locks[name]
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():  # and so no task waits for it
                self._locks.pop(name, None)
