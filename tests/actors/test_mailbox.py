"""Mailboxes and replies: bounded, woken, and never a step back."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors.mailbox import Envelope, Mailbox, Reply, ask
from actors.messages import Done, Ping


async def test_a_full_mailbox_says_so(autojump_clock: Any) -> None:
    mailbox: Mailbox[int] = Mailbox(2)
    assert mailbox.offer(1)
    assert mailbox.offer(2)
    assert not mailbox.offer(3)
    assert len(mailbox) == 2
    with trio.move_on_after(1) as waited:
        await mailbox.put(3)
    assert waited.cancelled_caught
    assert [await mailbox.take(), mailbox.take_nowait(), mailbox.take_nowait()] == [1, 2, None]


async def test_take_ends_at_its_time_or_by_a_nudge(autojump_clock: Any) -> None:
    mailbox: Mailbox[int] = Mailbox(1)
    started = trio.current_time()
    assert await mailbox.take(until=started + 5) is None
    assert trio.current_time() == pytest.approx(started + 5)
    mailbox.nudge()
    mailbox.nudge()  # full: it is about to look anyway
    assert await mailbox.take(until=started + 500) is None
    assert trio.current_time() == pytest.approx(started + 5)


async def test_ask_waits_for_the_answer_and_raises_the_bug(autojump_clock: Any) -> None:
    mailbox: Mailbox[Envelope[Done]] = Mailbox(1)

    async def owner() -> None:
        envelope = await mailbox.take()
        assert envelope is not None
        await trio.sleep(3)
        envelope.reply.settle(Done())
        envelope = await mailbox.take()
        assert envelope is not None
        envelope.reply.fail(KeyError("a bug"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(owner)
        assert await ask(mailbox, Ping()) == Done()
        with pytest.raises(KeyError):
            await ask(mailbox, Ping())


async def test_an_asker_that_gives_up_gets_the_reason_and_the_message_is_abandoned(autojump_clock: Any) -> None:
    reply: Reply[Done] = Reply()
    async with trio.open_nursery() as nursery:

        async def asks() -> None:
            with pytest.raises(KeyError, match="gone"):
                await reply.wait()

        nursery.start_soon(asks)
        await trio.sleep(1)
        reply.give_up(KeyError("gone"))
    assert reply.abandoned
    reply.settle(Done())  # too late, and harmless
    answered: Reply[Done] = Reply()
    answered.settle(Done())
    answered.give_up(KeyError("gone"))
    assert await answered.wait() == Done()
    assert not answered.abandoned


async def test_an_answer_that_came_first_is_kept(autojump_clock: Any) -> None:
    reply: Reply[Done] = Reply()
    reply.settle(Done())
    assert await reply.wait() == Done()
    assert not reply.abandoned
