"""A blocking call outside of trio's thread: its outcome comes back, and what has begun is seen through to its end."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import trio

from blobforge.machinery.hop import Hop, in_place, in_thread, in_thread_at_once

HOPS = pytest.mark.parametrize("hop", [in_thread, in_thread_at_once, in_place])


@HOPS
async def test_what_the_call_returns_or_raises_comes_back(hop: Hop) -> None:
    assert await hop(lambda: 5) == 5

    def broken() -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        await hop(broken)


@pytest.mark.parametrize("hop", [in_thread, in_thread_at_once])
async def test_a_call_that_has_begun_is_seen_through_to_its_end(hop: Hop) -> None:
    begun, may_end = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()
    ended: list[Any] = []

    def call() -> str:
        token.run_sync_soon(begun.set)
        assert may_end.wait(10)
        return "done"

    async def ask() -> None:
        ended.append(await hop(call))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await begun.wait()
        nursery.cancel_scope.cancel()
        may_end.set()
    assert ended == ["done"]


@HOPS
async def test_a_call_of_a_cancelled_task_does_not_begin(hop: Hop) -> None:
    called: list[int] = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await hop(lambda: called.append(1))
    assert scope.cancelled_caught
    assert called == []
