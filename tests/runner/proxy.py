"""A TCP proxy on loopback whose cable can be pulled."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Proxy:
    """Passes bytes on to `target`. While it is cut, old connections are gone and new ones are hung up on.

    `cut_after`: how many bytes it still passes on to the target before it is cut by itself.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._is_cut = False
        self.refused = 0
        self.cut_after = math.inf

    @property
    def is_cut(self) -> bool:
        return self._is_cut

    def cut(self) -> None:
        with self._lock:
            self._is_cut = True
            self._close_all()

    def mend(self) -> None:
        self._is_cut = False

    def run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._is_cut:
                    self.refused += 1
                    client.close()
                    continue
                server = socket.create_connection(self._target)
                self._open |= {client, server}
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(one, other, one is client), daemon=True).start()

    def close(self) -> None:
        # shutdown wakes the accept; close alone does not.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            self._close_all()

    def _pump(self, one: socket.socket, other: socket.socket, counts: bool) -> None:
        with suppress(OSError):
            while data := one.recv(1 << 16):
                if counts and self._is_too_much(len(data)):
                    self.cut()
                    return
                other.sendall(data)
        for end in (one, other):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _is_too_much(self, count: int) -> bool:
        with self._lock:
            self.cut_after -= count
            is_over = self.cut_after < 0
            if is_over:
                self.cut_after = math.inf
            return is_over

    def _close_all(self) -> None:
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()


@contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy that runs until the block is left."""
    running = Proxy(target)
    threading.Thread(target=running.run, daemon=True).start()
    try:
        yield running
    finally:
        running.close()
