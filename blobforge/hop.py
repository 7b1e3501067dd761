"""How a blocking call leaves trio's thread.

Whoever blocks is given its hop, so that tests in virtual time can call in place: while a thread is in flight, a
virtual clock would jump over every deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import trio

T = TypeVar("T")


class Hop(Protocol):
    """Calls `call` where it may block, and returns or raises what it does."""

    async def __call__(self, call: Callable[[], T], /) -> T: ...


async def in_thread(call: Callable[[], T], /) -> T:
    """The usual one. Not abandoned when cancelled: what has begun is seen through to its end."""
    return await trio.to_thread.run_sync(call)


async def in_place(call: Callable[[], T], /) -> T:
    """For virtual time: trio waits for as long as the call takes."""
    await trio.lowlevel.checkpoint()
    return call()
