"""The live events of the server (`GET /events`, Server-Sent Events), over connections that may break.

A follower has one rule to keep: on `resync`, fetch everything anew. It comes first of all, and again whenever
events may have been missed: the server says so, or a stream that has no id yet had to be opened again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Self, cast

import httpx
import msgspec
import trio

from blobforge.client.errors import ServerUnreachable, UnexpectedAnswer
from blobforge.client.transport import OnRetry, Transport, unreachable_as_client_error

SILENCE = 50.0  # seconds; the server says something every 15
CONNECTED = "connected"  # what the first ping says, and the name of the event behind it
LARGEST_EVENT = 4 << 20  # bytes; progress is at most 16 KiB, an error text 8 KiB
_PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds, after streams that ended without an event


class ServerEvent(msgspec.Struct, frozen=True):
    """One event. `data` is what the envelope holds, decoded; for `resync` there may be none."""

    name: str
    data: Any = None
    id: str | None = None


class EventStream:
    """Owns one connection to `/events` at a time, and the id of the last event that was read.

    The first connection is tried for `patience` seconds; once it stood, it is opened again for ever.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        types: Sequence[str] = (),
        job: int | None = None,
        patience: float,
        on_break: OnRetry | None = None,
    ) -> None:
        self._transport = transport
        self._url = f"{transport.base_url}/events"
        self._params = ({"types": ",".join(types)} if types else {}) | ({"job": job} if job is not None else {})
        self._patience = patience
        self._on_break = on_break
        self._response: httpx.Response | None = None
        self._chunks: AsyncGenerator[bytes, None] | None = None
        self._frames: deque[ServerEvent] = deque()
        self._rest = b""
        self._last_id: str | None = None
        self._fruitless = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def next(self) -> ServerEvent:
        """The next event. Raises ApiError (the server refuses) and, the first time, ServerUnreachable."""
        while True:
            if self._frames:
                event = self._frames.popleft()
                if event.name == "ping":
                    if event.data == CONNECTED and self._last_id is None:  # the subscription stands
                        return ServerEvent("resync")
                    continue
                self._last_id = event.id or self._last_id
                if event.name == CONNECTED:  # nothing but an id to come back with
                    continue
                self._fruitless = 0
                return event
            if self._chunks is None:
                await self._open()
                continue
            try:
                await self._read()
            except ServerUnreachable as error:
                await self._broken(error)

    async def _open(self) -> None:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        self._response = await self._transport.open(
            "/events", params=self._params, headers=headers, silence=SILENCE, patience=self._patience
        )
        self._patience = math.inf
        self._chunks = cast(AsyncGenerator[bytes, None], self._response.aiter_bytes())

    async def _read(self) -> None:
        """Take in one more chunk. Raises ServerUnreachable when the stream has ended."""
        assert self._chunks is not None
        with unreachable_as_client_error(self._url):
            chunk = await anext(self._chunks, None)
        if chunk is None:
            raise ServerUnreachable(self._url, "the stream ended")
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        if len(self._rest) > LARGEST_EVENT:
            raise UnexpectedAnswer(
                f"{self._transport.base_url}/events", f"sent more than {LARGEST_EVENT} bytes in one event"
            )
        try:
            self._frames.extend(frame for block in blocks if (frame := _parse(block)) is not None)
        except msgspec.DecodeError as error:
            raise UnexpectedAnswer(
                f"{self._transport.base_url}/events", f"sent what is no event ({error})"
            ) from error

    async def _broken(self, error: ServerUnreachable) -> None:
        await self._close()
        pause = _PAUSES[min(self._fruitless, len(_PAUSES) - 1)]
        self._fruitless += 1
        if self._on_break is not None:
            self._on_break(error, pause)
        await trio.sleep(pause)

    async def _close(self) -> None:
        response, chunks = self._response, self._chunks
        self._response, self._chunks, self._rest = None, None, b""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            if chunks is not None:
                await chunks.aclose()
            if response is not None:
                await response.aclose()


def _parse(block: bytes) -> ServerEvent | None:
    """One event from its lines, None for a comment (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    Lines end with \\n here, as our server writes them: JSON may hold what Unicode takes for the end of a line.
    """
    fields: dict[bytes, bytes] = {}
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name in (b"id", b"event", b"data"):
            fields[name] = value.removeprefix(b" ")
    if b"event" not in fields:
        return None
    event, data = fields[b"event"].decode("utf-8", "replace"), fields.get(b"data", b"")
    if event == "ping":
        return ServerEvent(event, data.decode("utf-8", "replace"))
    decoded = msgspec.json.decode(data) if data else None
    if isinstance(decoded, dict) and decoded.get("type") == event and isinstance(decoded.get("data"), dict):
        decoded = decoded["data"]  # else a server from before the envelope
    identity = fields.get(b"id")
    return ServerEvent(event, decoded, identity.decode("utf-8", "replace") if identity else None)
