"""One connection, from its first byte to its last. State owned here: what was read and not used yet, the body under
way, and until when the client has to say or to take something.

No buffer is kept for a client that says nothing, and no task beside a request that is held: whether its client goes
is seen by `departures.py`. Deadlines are times that `serving.py` looks at once a second, and not timers.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio
from werkzeug.exceptions import BadRequest

from blobforge.refusals import Refusal
from web.answer import GoneError, PlainAnswer
from web.bodies import BAD_BODY, Body
from web.connection.chunks import ChunkError, Chunks
from web.connection.departures import has_gone
from web.connection.exchange import Exchange
from web.connection.head import END, TOO_SLOW, Head, HeadError, check_part
from web.connection.shared import SharedParts
from web.dispatch import Endpoint
from web.limits import asking
from web.metrics.requests import LEAN
from web.request import Request

READ = 1 << 16  # bytes at most in one read of a head or a small body
READ_LARGE = 1 << 18  # of a body that is larger
CONTINUE = b"HTTP/1.1 100 \r\n\r\n"
# Seconds for a client to take some of what is sent to it.
UNREAD_SECONDS = 30.0
# Behind an answer that came before the body: so much of the body is read and thrown away for the connection to go on.
# A client that is still sending would get a reset in place of the answer, were it not read from (RFC 9112, 9.6).
WORTH_DRAINING = 1 << 20  # bytes
LINGER_BYTES = 1 << 26  # before a connection is closed
LINGER_SECONDS = 10.0
UNKNOWN_LENGTH = 1 << 62  # bytes: as good as without end


class Connection:
    """One client's connection, and the `Peer` and `Wire` of each of its requests. `run` it once, then `close` it."""

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_chunks",
        "_left",
        "_shared",
        "_socket",
        "client",
        "idle",
        "reading_until",
        "sending_until",
        "stranger",
    )

    def __init__(self, client_socket: socket.socket, client: tuple[str, int], shared: SharedParts) -> None:
        self._socket = client_socket
        self._shared = shared
        self._buffer = b""
        self._left: int | None = 0  # bytes of the body under way that have not been read; None: it comes in chunks
        self._chunks: Chunks | None = None
        self.client = client
        self.stranger = True  # has not sent a whole head yet
        self.idle = True  # waits for a request, of which nothing has come
        self.reading_until = math.inf
        self.sending_until = math.inf

    @property
    def server(self) -> tuple[str, int]:
        """Our end's address."""
        host, port = self._socket.getsockname()[:2]
        return host, port

    async def run(self) -> None:
        """Answer requests until one of both ends has had enough; `close` it then."""
        try:
            while (head := await self._head()) is not None:
                found = self._shared.hot.find(head.method, head.path)
                goes_on = await (self._answered(head, *found) if found is not None else self._by_hypercorn(head))
                if not (goes_on and (self._left == 0 or await self._drained())):
                    await self._linger()
                    return
                if self._buffer:
                    await trio.lowlevel.checkpoint()  # other clients have turns between one client's requests
        except HeadError as error:
            await self._refuse(error.refusal)
        except (GoneError, trio.ClosedResourceError):
            pass

    def close(self) -> None:
        """At once, whatever is under way."""
        if self._socket.fileno() >= 0:
            self._shared.departures.forget(self._socket)
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    # --- one request

    async def _head(self) -> Head | None:
        """The head of the next request; None when the client has closed its side, or the server stops."""
        shared = self._shared
        if shared.stopping:
            return None
        now = trio.current_time()
        self.reading_until = now + shared.patience_between
        self.idle = not self._buffer
        if not self.idle:
            self.reading_until = now + shared.patience_head
            if END not in self._buffer:
                check_part(self._buffer)
        while (end := self._buffer.find(END)) < 0:
            if self.idle and not self.stranger:
                # The client has just been answered: to look before it is told of something would be in vain.
                await trio.lowlevel.wait_readable(self._socket)
            data = await self._receive(READ)
            if not data:
                return None
            if self.idle:
                self.idle = False
                self.reading_until = trio.current_time() + shared.patience_head
            self._buffer = self._buffer + data if self._buffer else data
            if END not in self._buffer:
                check_part(self._buffer)
        self.reading_until = math.inf
        end += len(END)
        raw = self._buffer[:end]
        self._buffer = self._buffer[end:]
        head = shared.heads.read(raw)
        self.stranger = False
        self._left = head.length
        self._chunks = Chunks() if head.length is None else None
        return head

    async def _answered(self, head: Head, endpoint: Endpoint, params: dict[str, Any]) -> bool:
        """Answer one request for a hot route. Returns whether another one may follow."""
        endpoint.metrics.read(endpoint.route.path, LEAN)
        asked = Request(head.method, head.path, head.query, head.headers, remote_addr=self.client[0])
        hot = self._shared.hot
        if head.expects:
            await self.send(CONTINUE)
        body = Body(self, head.length, largest=hot.largest, patience=hot.patience)
        answer = await endpoint.answer(asked, body, params)
        assert isinstance(answer, PlainAnswer), "a hot route answers with plain data"
        close = not head.keep_alive or self._shared.stopping or (self._left or 0) > WORTH_DRAINING
        await self.send(hot.encoded(answer, asked, close=close))
        return not close

    async def _by_hypercorn(self, head: Head) -> bool:
        """Have any other request answered. Returns whether another one may follow."""
        shared = self._shared
        exchange = Exchange(self, shared.app, shared.config, shared.context, shared.state)
        await exchange.run(head.raw)
        if exchange.bad_body and not exchange.begun:
            raise HeadError(BAD_BODY)
        return exchange.ended_well and head.keep_alive and not self._shared.stopping

    # --- the body of the request under way

    async def part(self) -> bytes:
        """The next bytes of the body, without the lines of chunks."""
        while self._chunks is not None:
            raw, parts = await self._taken(self._chunks)
            if parts:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            if not raw:
                return b""
        return await self.raw_part()

    def at_hand(self) -> bytes | None:
        if self._left is None or self._left > len(self._buffer):
            return None
        body, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left = 0
        return body

    async def raw_part(self) -> bytes:
        """The next bytes of the body as they came, with the lines of chunks."""
        if self._chunks is not None:
            return (await self._taken(self._chunks))[0]
        left = self._left
        if not left:
            return b""
        data = self._buffer or await self._received(READ if left < READ else READ_LARGE)
        if len(data) > left:
            data, self._buffer = data[:left], data[left:]
        else:
            self._buffer = b""
        self._left = left - len(data)
        return data

    async def _taken(self, chunks: Chunks) -> tuple[bytes, list[bytes]]:
        """The next bytes of a body in chunks, as they came, and what they hold; nothing at its end."""
        while not chunks.ended:
            data = self._buffer or await self._received(READ)
            try:
                size, parts = chunks.take(data)
            except ChunkError:
                self._left = UNKNOWN_LENGTH  # where the next request begins
                raise BadRequest(BAD_BODY.detail) from None
            if size:
                self._buffer = data[size:]
                return data[:size], parts
            self._buffer = data + await self._received(READ)
        self._left, self._chunks = 0, None
        return b"", []

    def watch(self, on_gone: Callable[[], object]) -> None:
        self._shared.departures.watch(self._socket, on_gone)

    def forget(self) -> None:
        self._shared.departures.forget(self._socket)

    def has_gone(self) -> bool:
        return has_gone(self._socket)

    # --- the ends

    async def _drained(self) -> bool:
        """Throw away the rest of an answered request's body. Returns whether the next request was reached."""
        size = 0
        with trio.move_on_after(LINGER_SECONDS):
            try:
                while part := await self.raw_part():
                    size += len(part)
                    if size > WORTH_DRAINING:
                        return False
                    await trio.lowlevel.checkpoint()  # a client may well be faster than this
            except BadRequest:
                return False
            return True
        return False

    async def _linger(self) -> None:
        """Say that nothing more comes, and read on for a while: a client in the middle of its request gets to see the
        answer."""
        self._buffer = b""
        size = 0
        with trio.move_on_after(LINGER_SECONDS):
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                return
            while size < LINGER_BYTES and (data := await self._receive(READ_LARGE)):
                size += len(data)
                await trio.lowlevel.checkpoint()

    async def _refuse(self, refusal: Refusal) -> None:
        """Answer bytes that are no request; nothing behind them is read as one."""
        try:
            await self.send(self._shared.refusal(refusal))
            await self._linger()
        except GoneError:
            pass

    def expire(self) -> None:
        """Close the connection of a client that has taken too long. If it had begun a head, it is told: 408."""
        if self.reading_until < math.inf and not self.idle:
            with suppress(OSError):
                self._socket.send(self._shared.refusal(TOO_SLOW))
        self.close()

    # --- the socket

    async def _received(self, most: int) -> bytes:
        """Some bytes of a body. Raises GoneError where there are none."""
        data = await self._receive(most)
        if not data:
            raise GoneError
        return data

    async def _receive(self, most: int) -> bytes:
        """Some bytes; none when the client has said all."""
        while True:
            try:
                return self._socket.recv(most)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
            except OSError:
                raise GoneError from None

    async def send(self, data: bytes) -> None:
        """Raises GoneError, also when the client takes nothing for too long."""
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            raise GoneError from None
        if sent == len(data):
            return
        with self._shared.unread.held(len(data), *asking.get()) as room:
            if not room:
                self.close()
                raise GoneError
            await self._send_rest(memoryview(data)[sent:])

    async def _send_rest(self, rest: memoryview) -> None:
        """Send the bytes that did not fit into the socket, as the client reads."""
        try:
            while rest:
                self.sending_until = trio.current_time() + UNREAD_SECONDS
                await trio.lowlevel.wait_writable(self._socket)
                rest = rest[self._socket.send(rest) :]
        except (OSError, trio.ClosedResourceError):
            raise GoneError from None
        finally:
            self.sending_until = math.inf
