"""Frames over a stream. State owned here: what waits to be sent.

Sending never waits: whoever must not outrun the other side looks at `waiting`, or waits for `room`. What gathers
while one send is under way goes out in the next one.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec
import trio

from web.fronts.frames import Frame

F = TypeVar("F")

LENGTH_BYTES = 4
READ_BYTES = 1 << 18
# Bytes unsent at which those who ask wait: the other side reads as fast as it works, and this is a fraction of a
# second of that.
FULL = 4 << 20

_encode = msgspec.msgpack.Encoder().encode


class BrokenFrameError(Exception):
    """What came is no frame of this protocol."""


def encoded(frame: Frame) -> bytes:
    """The frame as it is sent."""
    body = _encode(frame)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def largest_frame(max_body: int) -> int:
    """Bytes that a frame has at most. A message comes of one request and is about as large; the largest answer are
    the jobs of one claim with their metadata."""
    return 2 * max_body + (128 << 20)


class Link(Generic[F]):
    """`kinds` is the union of the frames that come in; `largest` is in bytes."""

    def __init__(self, stream: trio.abc.Stream, kinds: object, *, largest: int) -> None:
        self._stream = stream
        self._decoder: msgspec.msgpack.Decoder[F] = msgspec.msgpack.Decoder(kinds)
        self._largest = largest
        self._unsent: list[bytes] = []
        self._came = bytearray()
        self._wake = trio.Event()
        self._room = trio.Event()
        self.waiting = 0  # bytes

    @property
    def is_full(self) -> bool:
        return self.waiting > FULL

    def send(self, frame: Frame) -> None:
        self.send_encoded(encoded(frame))

    def send_encoded(self, frame: bytes) -> None:
        """For a frame that goes to many."""
        self._unsent.append(frame)
        self.waiting += len(frame)
        self._wake.set()

    async def room(self) -> None:
        """Wait while more is unsent than should be."""
        while self.is_full:
            if self._room.is_set():
                self._room = trio.Event()
            await self._room.wait()

    async def run(self) -> None:
        """Send what is there to send, for ever. Raises trio.BrokenResourceError when nobody reads any more."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            unsent, self._unsent = self._unsent, []
            await self._stream.send_all(b"".join(unsent))
            self.waiting -= sum(map(len, unsent))
            if not self.is_full:
                self._room.set()

    async def receive(self) -> list[F]:
        """The next frames, as many as have come; none at the end of the stream. Raises BrokenFrameError."""
        while True:
            try:
                data = await self._stream.receive_some(READ_BYTES)
            except trio.BrokenResourceError:
                return []
            if not data:
                return []
            self._came += data
            if frames := self._taken():
                return frames

    def _taken(self) -> list[F]:
        frames: list[F] = []
        came, start = self._came, 0
        while len(came) - start >= LENGTH_BYTES:
            body = start + LENGTH_BYTES
            size = int.from_bytes(came[start:body], "big")
            if size > self._largest:
                raise BrokenFrameError(f"a frame of {size} bytes; {self._largest} are allowed")
            if len(came) < body + size:
                break
            try:
                frames.append(self._decoder.decode(bytes(came[body : body + size])))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                raise BrokenFrameError(f"not a frame: {error}") from error
            start = body + size
        del came[:start]
        return frames
