"""How a blocking call leaves trio's thread.

Whoever blocks is given its hop, so that tests in virtual time can call in place: while a thread is in flight, a
virtual clock would jump over every deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar, cast

import trio

T = TypeVar("T")


class Hop(Protocol):
    """Calls `call` where it may block, and returns or raises what it does."""

    async def __call__(self, call: Callable[[], T], /) -> T: ...


async def in_thread(call: Callable[[], T], /) -> T:
    """The usual one. Not abandoned when cancelled: what has begun is seen through to its end."""
    return await trio.to_thread.run_sync(call)


class _AtOnce:
    """A limiter that lets everybody in: trio's own gives way to all other tasks before it does."""

    async def acquire_on_behalf_of(self, _: object) -> None:
        pass

    def release_on_behalf_of(self, _: object) -> None:
        pass


_AT_ONCE = _AtOnce()


async def in_thread_at_once(call: Callable[[], T], /) -> T:
    """As `in_thread`, for one who makes one call at a time, and whose thread is to begin before others go on."""
    return await trio.to_thread.run_sync(call, limiter=cast(trio.CapacityLimiter, _AT_ONCE))


async def in_place(call: Callable[[], T], /) -> T:
    """For virtual time: trio waits for as long as the call takes."""
    await trio.lowlevel.checkpoint()
    return call()
