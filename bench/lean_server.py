"""A null endpoint of the product's own lean reader, with its limits and its time-outs. No token is checked, and
nothing is logged."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, cast

import msgspec
import trio
from werkzeug.routing import Map

from blobforge.config import Settings
from blobforge.serve.listener import http_settings, listen, reachable
from web.answer import PlainAnswer
from web.app import LINES
from web.bodies import Body
from web.connection.hot import HotRoutes
from web.connection.places import KnownAddresses, Places
from web.connection.serving import Server
from web.dispatch import Endpoint
from web.limits import Limit, Unread
from web.metrics.requests import Requests
from web.request import Request
from web.routing import Access, Route


class Wanted(msgspec.Struct):
    worker_id: str
    job_type: str


class Null:
    """An Endpoint that does nothing."""

    def __init__(self, requests: Requests) -> None:
        self.route = Route("POST", "/null", Access.PUBLIC, self.answer, "Nothing", hot=True)
        self.metrics = requests
        self._decode = msgspec.json.Decoder(Wanted).decode
        self._encode = msgspec.json.Encoder().encode

    async def answer(self, _asked: Request, body: Body, _params: dict[str, Any]) -> PlainAnswer:
        wanted = self._decode(await body.whole())
        return PlainAnswer(200, self._encode({"job": None, "for": wanted.worker_id}))


async def main() -> None:
    settings = Settings(port=0)
    requests = Requests()
    hot = HotRoutes(
        [cast(Endpoint, Null(requests))],
        Map(),
        headers=lambda _: LINES,
        largest=settings.max_body,
        patience=settings.request_timeout,
    )
    places = Places(Limit(settings.max_connections, settings.max_connections_per_address), KnownAddresses())

    async def nothing_else(scope: Any, receive: Any, send: Any) -> None:
        """The application behind the lean reader: it starts and stops."""
        assert scope["type"] == "lifespan"
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})

    with listen(settings) as listener:
        server = Server(nothing_else, hot, http_settings(settings), listener, places, requests, Unread())
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(server.serve, shutdown=trio.sleep_forever))
            print(reachable(listener), flush=True)
            await trio.to_thread.run_sync(
                sys.stdin.read, abandon_on_cancel=True
            )  # until the one that started us is gone
            nursery.cancel_scope.cancel()


trio.run(main)
