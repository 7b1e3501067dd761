"""Many connections that do not behave, by bare sockets, from an address of their own."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil

from tests.fixtures.server import ServerProcess

SPARE_FILES = 500  # beside one for each connection; a server keeps 128 of its own free
FROM = "127.0.0.2"  # all of 127/8 is this machine; limits count by address


def may_open(connections: int) -> int:
    """Raise this process's limit of open files, which servers inherit. Returns how many connections that allows, at
    most so many: where the hard limit is lower, there are as many as it leaves beside the files that are open already
    (after a thousand tests there are some)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = SPARE_FILES + psutil.Process().num_fds()
    needed = connections + spare
    if hard != resource.RLIM_INFINITY:
        needed = min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return needed - spare


def port_of(server: ServerProcess) -> int:
    return int(server.url.rsplit(":", 1)[1])


def connect(server: ServerProcess, *, receive: int | None = None) -> socket.socket:
    """One connection; `receive` is the size of its receive buffer, in bytes."""
    made = socket.socket()
    made.settimeout(60)
    if receive is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    made.bind((FROM, 0))
    made.connect(("127.0.0.1", port_of(server)))
    return made


@contextmanager
def crowd(server: ServerProcess, size: int, *, receive: int | None = None) -> Iterator[list[socket.socket]]:
    """So many connections, open and silent until somebody speaks by them."""
    with ExitStack() as opened:
        everybody = [opened.enter_context(connect(server, receive=receive)) for _ in range(size)]
        for each in everybody:
            each.setblocking(False)
        yield everybody


def dismissed(everybody: list[socket.socket]) -> int:
    """How many of them the server has ended, with an answer or without. Never waits."""
    ended = 0
    for each in everybody:
        try:
            while each.recv(4096):
                pass  # an answer, and then the end
            ended += 1
        except BlockingIOError:
            continue
        except OSError:
            ended += 1
    return ended


def say(everybody: list[socket.socket], words: bytes) -> int:
    """Send the same by each; returns how many are still connected. Never waits."""
    connected = 0
    for each in everybody:
        with suppress(OSError):
            each.send(words)
            connected += 1
    return connected
