"""Who of several fronts accepts: the one with fewer connections, where there is a choice."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import trio

from web.fronts.accepting import SharedListener
from web.limits import Limit


async def test_who_has_more_connections_leaves_the_next_to_others() -> None:
    accepted = []
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.setblocking(False)
        busy, idle = Limit(100), Limit(100)
        for number in range(20):
            stack.enter_context(busy.room())
            idle.heard(str(number), 1)

        async def accept(name: str, listener: socket.socket, limit: Limit) -> None:
            shared = SharedListener(listener, limit, others=1)
            while True:
                stack.enter_context((await shared.accept()).socket)
                accepted.append(name)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept, "busy", stack.enter_context(listening.dup()), busy)
            nursery.start_soon(accept, "idle", stack.enter_context(listening.dup()), idle)
            for number in range(10):
                await trio.lowlevel.checkpoint()
                stack.enter_context(socket.create_connection(listening.getsockname()))
                with trio.fail_after(10):
                    while len(accepted) <= number:
                        await trio.sleep(0.005)
            nursery.cancel_scope.cancel()
    assert accepted == ["idle"] * 10


async def test_who_is_alone_accepts_at_once_and_one_that_was_taken_away_is_no_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        shared = SharedListener(listening, Limit(100), others=1)
        with socket.create_connection(listening.getsockname()), trio.fail_after(10):
            stream = await shared.accept()
            await stream.aclose()
        accepted = []

        async def accept() -> None:
            accepted.append(await shared.accept())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            await trio.testing.wait_all_tasks_blocked()
            with socket.create_connection(listening.getsockname()):
                listening.accept()[0].close()  # another process was quicker
                await trio.sleep(0.01)
                assert not accepted
            with socket.create_connection(listening.getsockname()), trio.fail_after(10):
                while not accepted:
                    await trio.sleep(0.005)
            await accepted[0].aclose()
