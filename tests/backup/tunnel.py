"""A way to a server on loopback that can be cut: what a client sees when the network or the server fails."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class Tunnel:
    """Passes connections on to `target`. `mode` may be changed at any time, for open connections, too:

    open     passes everything
    silent   accepts, and says nothing
    closed   refuses: nobody listens
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname
        assert parts.port
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._mode = "open"
        self._ended = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._mode = mode
        if mode != "silent":
            for pair in self._pairs:
                for each in pair:
                    _shut(each)
            self._pairs.clear()

    def close(self) -> None:
        self._ended = True
        self.mode = "closed"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            pass  # wakes the one that accepts
        self._thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended:
            client, _ = self._listener.accept()
            if self._mode == "closed":
                # Nearly a refusal: it is reset before a byte was read.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.close()
                continue
            server = socket.create_connection(self._target, 10)
            self._pairs.append((client, server))
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        with selectors.DefaultSelector() as ready, contextlib.suppress(OSError, ValueError):
            for each in other:
                ready.register(each, selectors.EVENT_READ)
            swallowed = False
            while True:
                for key, _ in ready.select(timeout=1):
                    source = key.fileobj
                    assert isinstance(source, socket.socket)
                    data = source.recv(65_536)
                    # What was asked in the silence is never answered: its client has to ask anew.
                    swallowed = swallowed or self._mode == "silent"
                    if not data or self._mode == "closed" or (swallowed and self._mode == "open"):
                        _shut(client)
                        _shut(server)
                        return
                    if self._mode == "open":
                        other[source].sendall(data)


def _shut(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextmanager
def tunnel(target: str) -> Iterator[Tunnel]:
    opened = Tunnel(target)
    try:
        yield opened
    finally:
        opened.close()
