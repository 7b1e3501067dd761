"""Request bodies larger than memory: read from the network only as fast as the handler takes them.

Quart (0.22) reads a whole body into memory as fast as it comes, whether or not the handler iterates over it, and
fixes its limit before any handler runs. For uploads of many GiB onto a disk slower than the network that ends in
the out-of-memory killer. `StreamingConnection` gives uploads to the object routes a body of bounded size instead,
without Quart's limit: their handler has its own. All other requests stay as Quart makes them. For every response, it
also makes sure that Hypercorn gets to end it.
"""

from __future__ import annotations

from contextlib import suppress

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, ASGISendEvent
from quart import Quart
from quart.typing import ResponseTypes
from quart.wrappers import Request
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers.request import TrioBody
from werkzeug.sansio.request import Request as SansIORequest

from blobforge.objects.links import PATH
from web.answer import GoneError

HEARD_OUT = 1 << 16  # bytes of a request that is answered early; a client sends as much without looking up
HEARD_OUT_SECONDS = 1.0
HIGH_WATER = 1 << 20  # bytes held for one upload: one batch of the store. Above it, TCP makes the client wait.


class StreamedBody(TrioBody):
    """A body that holds about HIGH_WATER bytes. Its sender waits while it is full."""

    def __init__(self) -> None:
        super().__init__(None, None)
        self._taken = trio.Event()
        self._unwanted = False

    async def feed(self, data: bytes) -> None:
        """Add `data`, then wait until there is room again."""
        if self._unwanted:
            return
        self.append(data)
        while len(self._data) >= HIGH_WATER:
            self._taken = trio.Event()
            await self._taken.wait()

    async def __anext__(self) -> bytes:
        data = await super().__anext__()
        self._taken.set()
        return data

    def discard(self) -> None:
        """Throw away what is here and what is still to come: the request is answered."""
        self._unwanted = True
        self.clear()
        self._taken.set()

    async def ended(self) -> None:
        """Wait until the client has sent everything."""
        await self._complete.wait()


class StreamingConnection(TrioASGIHTTPConnection):
    """Quart-Trio's connection, with a StreamedBody for uploads below `/objects/`, and responses that end whole."""

    _upload: StreamedBody | None = None
    _asked: Request | None = None

    def _create_request_from_scope(self, send: ASGISendCallable) -> Request:
        request = self._asked = super()._create_request_from_scope(send)
        if request.method == "PUT" and request.path.startswith(PATH):
            request.body = self._upload = StreamedBody()
        return request

    async def handle_messages(  # type: ignore[override]  # quart-trio passes the nursery, too
        self, nursery: trio.Nursery, request: Request, receive: ASGIReceiveCallable
    ) -> None:
        body = request.body
        if not isinstance(body, StreamedBody):
            await super().handle_messages(nursery, request, receive)
            return
        while True:
            message = await receive()
            if message["type"] == "http.request":
                await body.feed(message.get("body", b""))
                if not message.get("more_body", False):
                    body.set_complete()
            elif message["type"] == "http.disconnect":
                nursery.cancel_scope.cancel()  # the handler goes with its client, as everywhere in Quart-Trio
                return

    async def _send_response(self, send: ASGISendCallable, response: ResponseTypes) -> None:
        # Hypercorn ends a request by putting a message behind those of its body: if they still waited here for
        # a handler that is done, that message would wait for ever, and the connection with it.
        if self._upload is not None:
            self._upload.discard()
        elif self._asked is not None and worth_hearing(self._asked):
            with trio.move_on_after(HEARD_OUT_SECONDS):
                await self._asked.body._complete.wait()
        with suppress(GoneError):
            await super()._send_response(whole(send), response)


def worth_hearing(asked: SansIORequest) -> bool:
    """Whether the client is let to end its request before it is answered.

    A refusal needs no body, and is often ready before the body has come. Hypercorn would close the connection
    behind such an answer, and the client's next request, already on its way, would get none.
    """
    return "Expect" not in asked.headers and 0 < (asked.content_length or 0) <= HEARD_OUT


def whole(send: ASGISendCallable) -> ASGISendCallable:
    """`send`, so that the answer ends whole. Raises GoneError when the client has gone."""

    async def send_whole(message: ASGISendEvent) -> None:
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        try:
            # With the last message Hypercorn ends the request, of which who reads on for the client's going hears as
            # a disconnect and cancels us, while Hypercorn is still about to set the connection's idle timeout:
            # without the shield that is lost, the connection is kept for ever, and a shutdown waits for it.
            with trio.CancelScope(shield=last):
                await send(message)
        except trio.BusyResourceError:
            raise GoneError from None  # Hypercorn is just closing the connection

    return send_whole


def install(app: object) -> None:
    """Make `app`, a QuartTrio, use StreamingConnection. Raises RuntimeError when it has a connection of its own."""
    assert isinstance(app, Quart), "what a blueprint is registered with"
    if app.asgi_http_class is TrioASGIHTTPConnection:
        app.asgi_http_class = StreamingConnection
    elif app.asgi_http_class is not StreamingConnection:
        raise RuntimeError(
            f"{app.asgi_http_class} reads whole uploads into memory; derive it from StreamingConnection"
        )
