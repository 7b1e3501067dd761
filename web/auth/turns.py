"""One at a time for each name, in this process. State owned here: whose turn it is.

Where several processes serve HTTP, the one that holds the actors has these, and the others ask it for a turn
(`web/fronts/remote.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import trio


class Turns(Protocol):
    def turn(self, name: str, /) -> AbstractAsyncContextManager[None]:
        """Wait until nobody else has a turn by this name; the block is the turn."""
        ...


class LocalTurns:
    def __init__(self) -> None:
        self._locks: defaultdict[str, trio.Lock] = defaultdict(trio.Lock)

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """See Turns."""
        lock = self._locks[name]
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():  # and so nobody waits for it
                self._locks.pop(name, None)
