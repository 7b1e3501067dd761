"""A scripted HTTP server: real sockets, with answers that a healthy server never gives.

For what the real one cannot be asked to do: lose an answer, be busy, change its mind. Everything else is tested
against `blobforge serve`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import h11
import trio


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    foreign: bool = False  # something that stands between the client and the server has answered

    def encoded(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


LOSE = Answer(status=0)
"""Take the request, then hang up without a word."""

Script = Callable[[Request], Awaitable[Answer] | Answer]


class Scripted:
    """Answers by (method, path) from `scripts`; keeps every request in `requests`. Unknown paths get 404."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.scripts: dict[tuple[str, str], Script] = {}

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Give `answers` in turn, the last one for ever."""
        left = list(answers)
        self.scripts[method, path] = lambda _request: left.pop(0) if len(left) > 1 else left[0]

    def to(self, method: str, path: str) -> list[Request]:
        """The requests that came for one route."""
        return [request for request in self.requests if (request.method, request.path) == (method, path)]

    def script(self, request: Request) -> Script | None:
        """How this request is answered."""
        return self.scripts.get((request.method, request.path.partition("?")[0]))

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            connection = h11.Connection(h11.SERVER)
            try:
                request = await self._read(connection, stream)
            except (h11.RemoteProtocolError, trio.BrokenResourceError):
                return
            self.requests.append(request)
            script = self.script(request)
            answer = Answer({"detail": "not scripted"}, 404) if script is None else script(request)
            if not isinstance(answer, Answer):
                answer = await answer
            if answer is LOSE:
                return
            body = answer.encoded()
            headers = {} if answer.foreign else {"BlobForge": "1", "ETag": '"1"'}  # the server's mark, and a store's
            headers |= {"Content-Type": "application/json", **answer.headers}
            headers |= {"Content-Length": str(len(body)), "Connection": "close"}
            head = h11.Response(status_code=answer.status, headers=list(headers.items()))
            data = b"".join(connection.send(part) or b"" for part in (head, h11.Data(body), h11.EndOfMessage()))
            await stream.send_all(data)

    async def _read(self, connection: h11.Connection, stream: trio.SocketStream) -> Request:
        head: h11.Request | None = None
        body = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some())
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert head is not None
                headers = {name.decode(): value.decode() for name, value in head.headers}
                return Request(head.method.decode(), head.target.decode(), headers, body)
            else:
                raise h11.RemoteProtocolError("hung up")


async def eventually(true: Callable[[], object]) -> None:
    """Return once `true()` is; the test's own timeout is the limit."""
    while not true():
        await trio.sleep(0.01)
