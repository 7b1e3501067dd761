"""The few routes that a fleet asks all the time, past Quart: from ASGI straight to the dispatcher's endpoint.

Nothing is decided here: the rows, the endpoints, the answers and the headers are those of all other routes. Left out
is what Quart (0.22) does around a request and these do not need: two contexts, a match against every URL, signals,
sessions, a response of its own. What is not exactly one of these paths goes to Quart; `tests/web/test_hot.py` holds
the two ways to the same answers.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge, RequestTimeout
from werkzeug.routing import BaseConverter, Map
from werkzeug.sansio.request import Request

from web.answer import WHEN_GONE, Answer, GoneError
from web.bodies import HEARD_OUT_SECONDS, worth_hearing
from web.dispatch import Endpoint

App = Callable[[Any, Any, Any], Awaitable[None]]

_VARIABLE = re.compile(r"<(\w+):(\w+)>")


class HotRoutes:
    """An ASGI application that takes the POSTs for `endpoints`, and leaves every other request to `app`.

    `headers` are those that the answer to a request has if it does not say otherwise. A body has at most `largest`
    bytes, and is there within `patience` seconds.
    """

    def __init__(
        self,
        app: App,
        endpoints: Iterable[Endpoint],
        urls: Map,
        *,
        headers: Callable[[Request], list[tuple[bytes, bytes]]],
        largest: int,
        patience: float,
    ) -> None:
        self._app = app
        self._headers = headers
        self._largest = largest
        self._patience = patience
        self._fixed: dict[str, Endpoint] = {}
        self._variable: list[tuple[re.Pattern[str], str, BaseConverter, Endpoint]] = []
        for endpoint in endpoints:
            path = endpoint.route.path
            found = _VARIABLE.search(path)
            if found is None:
                self._fixed[path] = endpoint
            else:
                converter = urls.converters[found[1]](urls)
                before, after = re.escape(path[: found.start()]), re.escape(path[found.end() :])
                pattern = re.compile(f"{before}({converter.regex}){after}")
                self._variable.append((pattern, found[2], converter, endpoint))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"]
            endpoint = self._fixed.get(path)
            if endpoint is not None:
                await self._serve(endpoint, {}, scope, receive, send)
                return
            for pattern, name, converter, endpoint in self._variable:
                if (found := pattern.fullmatch(path)) is not None:
                    await self._serve(endpoint, {name: converter.to_python(found[1])}, scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _serve(self, endpoint: Endpoint, params: dict[str, Any], scope: Any, receive: Any, send: Any) -> None:
        asked = _request(scope)
        when_gone = scope.get("extensions", {}).get(WHEN_GONE)
        body = Body(receive, asked, largest=self._largest, patience=self._patience, when_gone=when_gone)
        try:
            answer = await endpoint.answer(asked, body, params)
            assert isinstance(answer, Answer), "a hot route answers with plain data"
            await body.hear_out()
        except GoneError:
            return
        own = {"content-type": answer.content_type, "content-length": str(len(answer.body))} | answer.headers
        lines = [(name.lower().encode(), value.encode("latin1")) for name, value in own.items()]
        start = {"type": "http.response.start", "status": answer.status_code, "headers": self._headers(asked) + lines}
        try:
            with trio.CancelScope(shield=True):  # for the reason that stands in `bodies.whole`
                await send(start)
                await send({"type": "http.response.body", "body": answer.body, "more_body": False})
        except trio.BusyResourceError:
            pass  # Hypercorn is just closing the connection


class Body:
    """The body of one request, taken in when it is asked for; and behind its end, whether the client is there.

    `when_gone`: see WHEN_GONE.
    """

    def __init__(self, receive: Any, asked: Request, *, largest: int, patience: float, when_gone: Any = None) -> None:
        self._receive = receive
        self._asked = asked
        self._largest = largest
        self._patience = patience
        self._when_gone = when_gone
        self._ended = False
        self._gone = False

    async def whole(self) -> bytes:
        """Raises RequestEntityTooLarge, RequestTimeout and GoneError."""
        if (self._asked.content_length or 0) > self._largest:
            raise RequestEntityTooLarge
        with trio.move_on_after(self._patience):
            body = bytearray()
            while not self._ended:
                body += await self._part()
                if len(body) > self._largest:
                    raise RequestEntityTooLarge
            return bytes(body)
        raise RequestTimeout

    async def hear_out(self) -> None:
        """Let the client end a small request that is refused before its body has come: see `bodies.worth_hearing`."""
        if not self._ended and worth_hearing(self._asked):
            with trio.move_on_after(HEARD_OUT_SECONDS):
                while not self._ended:
                    await self._part()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """End the block when the client goes, and raise GoneError."""
        if self._when_gone is not None:
            with trio.CancelScope() as waiting:
                self._when_gone(partial(self._leave, waiting))
                yield
        else:  # a server that is not ours, and does not tell
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, nursery.cancel_scope)
                yield
                nursery.cancel_scope.cancel()
        if self._gone:
            raise GoneError

    async def _listen(self, waiting: trio.CancelScope) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave(waiting)

    def _leave(self, waiting: trio.CancelScope) -> None:
        self._gone = True
        waiting.cancel()

    async def _part(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        self._ended = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part


def _request(scope: Any) -> Request:
    headers = Headers([(name.decode("latin1"), value.decode("latin1")) for name, value in scope["headers"]])
    client = scope.get("client")
    return Request(
        scope["method"],
        scope["scheme"],
        scope.get("server"),
        scope.get("root_path", ""),
        scope["path"],
        scope["query_string"],
        headers,
        client[0] if client else None,
    )
