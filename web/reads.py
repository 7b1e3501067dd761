"""Reading from the database beside the writer. State owned here: the read connections."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from blobforge.machinery.hop import Hop, in_thread
from blobforge.store.sqlite.reader import Reader

T = TypeVar("T")

CONNECTIONS = 4  # reads are short; more threads would only take turns


class ReadPool:
    """A few read-only connections, each used by one thread at a time."""

    def __init__(self, path: Path, *, connections: int = CONNECTIONS, hop: Hop | None = None) -> None:
        self._hop = hop or in_thread
        self._idle = [Reader(path) for _ in range(connections)]
        self._limiter = trio.CapacityLimiter(connections)

    async def run(self, read: Callable[[Reader], T]) -> T:
        """Call `read` with a connection in a thread. Raises what it raises."""
        async with self._limiter:
            reader = self._idle.pop()
            try:
                return await self._hop(partial(read, reader))
            finally:
                self._idle.append(reader)

    def close(self) -> None:
        for reader in self._idle:
            reader.close()
