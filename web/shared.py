"""Asking the commons of all servers. State owned here: the commons, used by one thread at a time."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import trio

from blobforge.machinery.hop import Hop, in_thread
from blobforge.store.commons import Commons
from blobforge.store.errors import DatabaseError

T = TypeVar("T")

LETTING_GO = 2.0  # seconds for it
ASKED_AGAIN = 0.1  # seconds between two tries to be the one


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

    @asynccontextmanager
    async def held(self, name: str, seconds: float) -> AsyncIterator[None]:
        """Of all servers, one is in this block at a time; for so long at most, and the others wait. Raises
        DatabaseError."""
        holder = secrets.token_hex(8)
        while not await self.ask(lambda commons: commons.hold(name, holder, seconds)):  # noqa: ASYNC110 - asked
            await trio.sleep(ASKED_AGAIN)
        try:
            yield
        finally:
            # Else it ends by itself.
            with trio.move_on_after(LETTING_GO, shield=True), suppress(DatabaseError):
                await self.ask(lambda commons: commons.let_go(name, holder))

    def close(self) -> None:
        self._commons.close()
