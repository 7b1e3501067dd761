"""Asking the commons of all servers. State owned here: the commons, used by one thread at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import trio

from blobforge.machinery.hop import Hop, in_thread
from blobforge.store.commons import Commons

T = TypeVar("T")


class Shared:
    def __init__(self, commons: Commons, *, hop: Hop | None = None) -> None:
        self.alone = commons.alone
        self._commons = commons
        self._hop = hop or in_thread
        self._turn = trio.CapacityLimiter(1)

    @property
    def waiting(self) -> int:
        """How many callers wait for their turn."""
        return self._turn.statistics().tasks_waiting

    async def ask(self, call: Callable[[Commons], T]) -> T:
        """Call with the commons, in a thread. Raises what the call raises, and DatabaseError."""
        async with self._turn:
            return await self._hop(partial(call, self._commons))

    def close(self) -> None:
        self._commons.close()
