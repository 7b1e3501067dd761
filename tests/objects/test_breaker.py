"""Deadlines and the circuit breaker, on virtual time: no thread is involved."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
import trio
import trio.testing

from blobforge.machinery.hop import in_place
from blobforge.objects import ObjectStoreError
from blobforge.objects.breaker import Breaker, NotAnsweringError

T = TypeVar("T")
PAUSE = 5.0


class Store:
    """A hop into a store that takes `delay` seconds to answer. Counts how often it was asked."""

    def __init__(self, delay: float = 0.0) -> None:
        self.delay = delay
        self.asked = 0

    async def hop(self, work: Callable[[], T], /) -> T:
        self.asked += 1
        await trio.sleep(self.delay)
        return work()


@pytest.fixture
def breaker() -> Breaker:
    return Breaker("the store", pause=PAUSE)


async def ask(breaker: Breaker, store: Store) -> str:
    return await breaker.call(store.hop, lambda: "answer", timeout=1.0, op="ask")


async def fails(breaker: Breaker, store: Store) -> float:
    """Seconds until the call failed."""
    before = trio.current_time()
    with pytest.raises(NotAnsweringError):
        await ask(breaker, store)
    return trio.current_time() - before


async def test_a_hang_costs_one_deadline_then_nothing(breaker: Breaker, autojump_clock) -> None:
    hung = Store(delay=1e9)
    assert await fails(breaker, hung) == 1.0
    for _ in range(100):
        assert await fails(breaker, hung) == 0.0
    assert hung.asked == 1


async def test_says_since_when_and_when_next(breaker: Breaker, autojump_clock) -> None:
    with pytest.raises(NotAnsweringError, match="the store: no answer within 1 s"):
        await ask(breaker, Store(1e9))
    with pytest.raises(NotAnsweringError, match=r"not answering since 20.*Z; it is asked again in 5\.0 s"):
        await ask(breaker, Store())


async def test_after_the_pause_one_probe_goes_and_the_others_fail_at_once(breaker: Breaker, autojump_clock) -> None:
    store = Store(1e9)
    await fails(breaker, store)
    await trio.sleep(PAUSE)
    waited: list[float] = []

    async def one() -> None:
        waited.append(await fails(breaker, store))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(one)
    assert sorted(waited) == [0.0] * 9 + [1.0]
    assert store.asked == 2
    assert await fails(breaker, store) == 0.0  # the probe missed its deadline: another pause


async def test_an_answer_to_the_probe_lets_everyone_in_again(breaker: Breaker, autojump_clock) -> None:
    store = Store(1e9)
    await fails(breaker, store)
    await trio.sleep(PAUSE)
    store.delay = 0.5
    assert await ask(breaker, store) == "answer"
    assert await ask(breaker, store) == "answer"


async def test_a_cancelled_probe_makes_room_for_another(breaker: Breaker, autojump_clock) -> None:
    store = Store(1e9)
    await fails(breaker, store)
    await trio.sleep(PAUSE)
    with trio.move_on_after(0.1):
        await ask(breaker, store)
    store.delay = 0
    assert await ask(breaker, store) == "answer"


async def test_a_refusal_is_an_answer(breaker: Breaker, autojump_clock) -> None:
    store = Store()

    def refuse() -> None:
        raise ObjectStoreError("403")

    for _ in range(3):
        with pytest.raises(ObjectStoreError, match="403"):
            await breaker.call(store.hop, refuse, timeout=1.0, op="ask")
    assert await ask(breaker, store) == "answer"
    await fails(breaker, Store(1e9))
    await trio.sleep(PAUSE)
    with pytest.raises(ObjectStoreError, match="403"):
        await breaker.call(store.hop, refuse, timeout=1.0, op="ask")  # as a probe
    with trio.move_on_after(0.1):  # nothing is a probe any more: two may ask at once
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, breaker, Store(0.5))
            await trio.testing.wait_all_tasks_blocked()
            assert await ask(breaker, store) == "answer"


async def test_a_slow_transfer_opens_nothing_but_heeds_what_is_open(breaker: Breaker, autojump_clock) -> None:
    slow = Store(1e9)
    with pytest.raises(NotAnsweringError):
        await breaker.transfer(slow.hop, lambda: None, timeout=600.0, op="ask")
    assert await ask(breaker, Store()) == "answer"
    await fails(breaker, Store(1e9))
    before = trio.current_time()
    with pytest.raises(NotAnsweringError, match="not answering since"):
        await breaker.transfer(slow.hop, lambda: None, timeout=600.0, op="ask")
    assert trio.current_time() == before


async def test_in_place_runs_here(breaker: Breaker) -> None:
    assert await breaker.call(in_place, lambda: 7, timeout=1.0, op="ask") == 7


class Flowing(Store):
    """Bytes come out of it for so long, each second some; then it says nothing more, or has ended."""

    def __init__(self, seconds: int, *, ends: bool = True) -> None:
        super().__init__()
        self.seconds, self.ends = seconds, ends
        self.moved = 0

    async def hop(self, work: Callable[[], T], /) -> T:
        for _ in range(self.seconds):
            await trio.sleep(1)
            self.moved += 1
        if not self.ends:
            await trio.sleep_forever()
        return work()


async def read(breaker: Breaker, store: Flowing, work: Callable[[], str] = lambda: "read") -> str:
    return await breaker.transfer(store.hop, work, timeout=8.0, op="digest", moved=lambda: store.moved)


async def test_what_goes_on_may_take_as_long_as_it_likes(breaker: Breaker, autojump_clock) -> None:
    """A large object was read from its beginning again, for ever."""
    assert await read(breaker, Flowing(10_000)) == "read"
    before = trio.current_time()
    with pytest.raises(NotAnsweringError, match="no answer within 8 s"):
        await read(breaker, Flowing(100, ends=False))
    assert 100 + 8 <= trio.current_time() - before <= 100 + 2 * 8
    assert breaker.answering  # one that stops midway says nothing about the others
    assert breaker.calls.failures["digest", "silent"] == 1


async def test_a_refusal_amid_a_long_read_is_what_it_is(breaker: Breaker, autojump_clock) -> None:
    def refuse() -> str:
        raise ObjectStoreError("no")

    with pytest.raises(ObjectStoreError, match=r"^no$"):
        await read(breaker, Flowing(3), refuse)
    with trio.move_on_after(5) as scope:
        await read(breaker, Flowing(100))
    assert scope.cancelled_caught
