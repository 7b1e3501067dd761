"""How a blocking call leaves trio's thread.

Code that blocks is given its hop, so that tests in virtual time can call in place: while a thread is in flight, a
virtual clock would jump over every deadline.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol, TypeVar

import trio

if TYPE_CHECKING:
    from outcome import Outcome

T = TypeVar("T")


class Hop(Protocol):
    """Calls `call` where it may block, and returns or raises what it does."""

    async def __call__(self, call: Callable[[], T], /) -> T: ...


async def in_thread(call: Callable[[], T], /) -> T:
    """The usual one. Not abandoned when cancelled: what has begun is seen through to its end."""
    return await trio.to_thread.run_sync(call)


async def in_thread_at_once(call: Callable[[], T], /) -> T:
    """As `in_thread`, for a caller of one call at a time, whose thread is to begin before other tasks go on.

    Of what `trio.to_thread` does around a call, nothing is left but the call: no limiter, no context, no name of the
    thread for the system to keep, which are a third of the hop's 90 us.
    """
    await trio.lowlevel.checkpoint_if_cancelled()
    task, token = trio.lowlevel.current_task(), trio.lowlevel.current_trio_token()

    def deliver(outcome: Outcome[T]) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(trio.lowlevel.reschedule, task, outcome)

    trio.lowlevel.start_thread_soon(call, deliver)
    result: T = await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
    return result


async def in_place(call: Callable[[], T], /) -> T:
    """Call on trio's own thread, for virtual time: trio waits for as long as the call takes."""
    await trio.lowlevel.checkpoint()
    return call()
