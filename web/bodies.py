"""The rest of a request, behind its head: the one reader of bodies, whichever way the request came in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

import trio
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout

from blobforge.refusals import Refusal, RefusalCode


class Peer(Protocol):
    """The client of one request: its body, which is read only as fast as it is asked for, and whether it is there."""

    async def part(self) -> bytes:
        """The next bytes of the body; none at its end. Raises GoneError, and BadRequest for what is no body."""

    def at_hand(self) -> bytes | None:
        """The whole body, where all of it has come already; it is read then."""

    def watch(self, on_gone: Callable[[], object], /) -> None:
        """Call `on_gone` once when the client goes, until `forget`; the body has been read."""

    def forget(self) -> None: ...

    def has_gone(self) -> bool:
        """Whether the client has gone by now."""


class Body:
    """`length` is what the head says; `largest` and `patience` (seconds) are for bodies that are wanted whole."""

    __slots__ = ("_largest", "_patience", "_setting", "ended", "length", "peer")

    def __init__(self, peer: Peer, length: int | None, *, largest: int, patience: float) -> None:
        self.peer = peer
        self._largest = largest
        self._setting = "BLOBFORGE_MAX_BODY"
        self._patience = patience
        self.length = length
        self.ended = length == 0

    def allow(self, largest: int, setting: str) -> None:
        """Take a larger body than others are, in as much more time."""
        self._patience *= min(self.length or largest, largest) / self._largest
        self._largest, self._setting = largest, setting

    async def whole(self) -> bytes:
        """Raises RequestEntityTooLarge, RequestTimeout, BadRequest and GoneError."""
        if self.ended:
            return b""
        if (self.length or 0) > self._largest:
            raise self._too_large()
        # Nearly every body comes with its head: a deadline for it would take a tenth of the request's time.
        if (at_hand := self.peer.at_hand()) is not None:
            self.ended = True
            return at_hand
        with trio.move_on_after(self._patience):
            parts, size = [], 0
            while part := await self._part():
                size += len(part)
                if size > self._largest:
                    raise self._too_large()
                parts.append(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        raise RequestTimeout

    def _too_large(self) -> RequestEntityTooLarge:
        return RequestEntityTooLarge(f"The body is larger than this server takes ({self._setting}).")

    async def parts(self, patience: float) -> AsyncGenerator[bytes, None]:
        """The body as it comes. Raises RequestTimeout when nothing comes for so many seconds, and as `whole` does."""
        while True:
            with trio.move_on_after(patience) as waiting:
                part = await self._part()
            if waiting.cancelled_caught:
                raise RequestTimeout
            if not part:
                return
            yield part

    async def _part(self) -> bytes:
        if self.ended:
            return b""
        part = await self.peer.part()
        self.ended = not part
        return part


BAD_BODY = Refusal(
    RefusalCode.MALFORMED, "The body's chunks are none; this server takes them without extensions and trailers."
)
