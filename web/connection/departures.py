"""Tells when a client goes while its request is being answered. State owned here: the sockets that are watched.

Nothing is read for that: what a client has sent behind its request stays in the kernel, and the kernel tells of the
end of the connection beside it. A task that reads on would cost each long poll 3 KiB, and one that looks at the next
byte would see no end behind it.

The sockets are in an epoll of our own, which trio waits for as for any file: one task for all of them. Where there is
no epoll (not on Linux), a client's going is noticed when it is answered.
"""

from __future__ import annotations

import math
import select
import socket
from array import array
from collections.abc import Callable
from fcntl import ioctl
from termios import FIONREAD

import trio

# Bytes that a client may send behind a request that is held. More could fill the kernel's buffer, behind which the
# end of the connection could not arrive: such a client counts as gone.
MOST_BEHIND = 16 * 1024
FRESH_SECONDS = 0.005


class Departures:
    """Watches sockets for their clients' going. One for all connections; `run` beside them."""

    def __init__(self) -> None:
        self._poll = select.epoll() if hasattr(select, "epoll") else None
        self._on_gone: dict[int, Callable[[], object]] = {}
        self._fresh: set[int] = set()  # those of them that are not in the epoll yet
        self._take_in_at = trio.CancelScope()  # its deadline is when the fresh ones are taken in

    def watch(self, client: socket.socket, on_gone: Callable[[], object]) -> None:
        """Call `on_gone` once when the client goes, until `forget`."""
        if self._poll is None or self._poll.closed:
            return
        number = client.fileno()
        if number < 0:
            on_gone()
            return
        self._on_gone[number] = on_gone
        if not self._fresh:
            self._take_in_at.deadline = trio.current_time() + FRESH_SECONDS
        self._fresh.add(number)

    def forget(self, client: socket.socket) -> None:
        """Before the socket is closed: its number may be another's then."""
        number = client.fileno()
        if self._poll is None or self._on_gone.pop(number, None) is None:
            return
        if number in self._fresh:
            self._fresh.discard(number)
            if not self._fresh:
                self._take_in_at.deadline = math.inf
        elif not self._poll.closed:  # at the end of the server everything is cancelled at once
            self._poll.unregister(number)

    async def run(self) -> None:
        """Watch the clients until cancelled."""
        if self._poll is None:
            return
        with self._poll:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._take_in)
                await self._hear()

    async def _take_in(self) -> None:
        """Most requests are answered within FRESH_SECONDS: they need no two calls of the kernel to be watched, and
        this task does not wake for them."""
        assert self._poll is not None
        while True:
            with self._take_in_at:
                await trio.sleep_forever()
            self._take_in_at = trio.CancelScope()
            fresh, self._fresh = self._fresh, set()
            for number in fresh:
                # One whose client has gone meanwhile is told at once, too.
                self._poll.register(number, select.EPOLLRDHUP | select.EPOLLIN | select.EPOLLET)

    async def _hear(self) -> None:
        assert self._poll is not None
        while True:
            await trio.lowlevel.wait_readable(self._poll.fileno())
            for number, events in self._poll.poll(0):
                gone = events & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR)
                if (gone or _waiting(number) > MOST_BEHIND) and (
                    on_gone := self._on_gone.pop(number, None)
                ) is not None:
                    self._poll.unregister(number)
                    on_gone()


def has_gone(client: socket.socket) -> bool:
    """Whether the client has ended its side by now, as the kernel knows it."""
    if client.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(client, getattr(select, "POLLRDHUP", 0))  # an error, and the end of both sides, are told anyway
    return bool(poll.poll(0))


def _waiting(number: int) -> int:
    """How many bytes wait to be read."""
    size = array("i", [0])
    ioctl(number, FIONREAD, size)
    return size[0]
