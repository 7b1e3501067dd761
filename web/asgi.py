"""A request that Quart answers: its body is our `Body`, read only as fast as the handler takes it.

Quart (0.22) reads a whole body into memory as fast as it comes, whether or not the handler wants it. Here nothing is
read before it is asked for; Hypercorn's queue of a few messages is all that lies between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from quart_trio.wrappers import TrioRequest

from web.bodies import Body
from web.request import Request


class QuartRequest(TrioRequest):
    """Quart's, with the body that our handlers read."""

    rest: Body


def request_of(asked: QuartRequest) -> Request:
    """The same as our handlers see it."""
    return Request(
        asked.method,
        asked.path,
        asked.query_string,
        asked.headers,
        remote_addr=asked.remote_addr,
        scheme=asked.scheme,
    )


class AsgiPeer:
    """The Peer behind an ASGI application. While the body is not at its end, only it may receive."""

    def __init__(self, receive: ASGIReceiveCallable, all_of_it: trio.CancelScope) -> None:
        self._receive = receive
        self._all_of_it = all_of_it
        self._more = True
        self.read = trio.Event()  # the body has come to its end, or is not wanted

    async def part(self) -> bytes:
        while self._more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                await self.leave()
            self._more = bool(message.get("more_body", False))
            part: bytes = message.get("body", b"")  # type: ignore[assignment]
            if part:
                return part
        self.read.set()
        return b""

    async def leave(self) -> NoReturn:
        """The client has gone: all that is done for it is cancelled."""
        self._all_of_it.cancel()
        await trio.sleep_forever()
        raise AssertionError

    def at_hand(self) -> None:
        """None: what has arrived is not known before it is received."""

    def watch(self, on_gone: Callable[[], object]) -> None:
        """Nothing to do: see `leave`."""

    def forget(self) -> None:
        """Nothing to do: `watch` began nothing."""

    def has_gone(self) -> bool:
        return self._all_of_it.cancel_called


class HTTPConnection(TrioASGIHTTPConnection):
    """Quart-Trio's, with our body, and cancelled when its client goes."""

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        request = self._create_request_from_scope(send)
        assert isinstance(request, QuartRequest), "the application's request_class"
        config = self.app.config
        async with trio.open_nursery() as nursery:
            peer = AsgiPeer(receive, nursery.cancel_scope)
            length = request.content_length  # ASGI says by the first message that there is none
            largest, patience = config["MAX_CONTENT_LENGTH"], config["BODY_TIMEOUT"]
            request.rest = Body(peer, length, largest=largest, patience=patience)
            if request.method in ("GET", "HEAD"):
                peer.read.set()  # at once: a stream's client that goes must be seen
            nursery.start_soon(self._notice_going, peer, receive)
            nursery.start_soon(self.handle_request, nursery, request, send)

    async def _notice_going(self, peer: AsgiPeer, receive: ASGIReceiveCallable) -> None:
        await peer.read.wait()
        while (await receive())["type"] != "http.disconnect":
            pass
        await peer.leave()


class Application(QuartTrio):
    """Quart-Trio's, with our body of a request."""

    asgi_http_class = HTTPConnection
    request_class = QuartRequest

    async def asgi_app(self, scope: Any, receive: Any, send: Any) -> None:
        """Addresses that do not begin with one slash lead nowhere. Quart (0.22) breaks where there is none, and takes
        two for one."""
        if scope["type"] != "lifespan" and (not scope["path"].startswith("/") or scope["path"].startswith("//")):
            scope = scope | {"path": f"*{scope['path']}"}
        await super().asgi_app(scope, receive, send)
