"""Which requests the lean reader answers by itself, and the bytes of its answers. State owned here: the second that
the `Date` line was made in.

Nothing is decided here: the rows, the endpoints, the answers and the headers are those of all other routes. Left out
is what Hypercorn and Quart do around a request and these routes do not need. `tests/web/test_ways.py` holds the two
ways to the same answers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from email.utils import formatdate
from time import time
from typing import Any

from werkzeug.routing import BaseConverter, Map

from web.answer import PlainAnswer
from web.dispatch import Endpoint
from web.request import Request

_VARIABLE = re.compile(r"<(\w+):(\w+)>")


class HotRoutes:
    """`headers` gives the lines, with their ends, that an answer has beside its own. A body has at most `largest`
    bytes, and is there within `patience` seconds."""

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        urls: Map,
        *,
        headers: Callable[[Request], bytes],
        largest: int,
        patience: float,
    ) -> None:
        self.headers = headers
        self.largest = largest
        self.patience = patience
        self._fixed: dict[tuple[str, str], Endpoint] = {}
        self._variable: dict[str, list[tuple[re.Pattern[str], str, BaseConverter, Endpoint]]] = {}
        self._date = (0, b"")
        for endpoint in endpoints:
            route = endpoint.route
            found = _VARIABLE.search(route.path)
            if found is None:
                self._fixed[route.method, route.path] = endpoint
            else:
                converter = urls.converters[found[1]](urls)
                before, after = re.escape(route.path[: found.start()]), re.escape(route.path[found.end() :])
                pattern = re.compile(f"{before}({converter.regex}){after}")
                self._variable.setdefault(route.method, []).append((pattern, found[2], converter, endpoint))

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, Any]] | None:
        """The endpoint of a hot route, and what stands in the path for its parameters."""
        endpoint = self._fixed.get((method, path))
        if endpoint is not None:
            return endpoint, {}
        for pattern, name, converter, endpoint in self._variable.get(method, ()):
            if (found := pattern.fullmatch(path)) is not None:
                return endpoint, {name: converter.to_python(found[1])}
        return None

    def encoded(self, answer: PlainAnswer, asked: Request, *, close: bool) -> bytes:
        """The answer as it goes over the wire."""
        own = "".join([f"{name.lower()}: {value}\r\n" for name, value in answer.headers.items()])
        head = (
            f"HTTP/1.1 {answer.status_code} \r\n"
            f"content-type: {answer.content_type}\r\ncontent-length: {len(answer.body)}\r\n{own}"
        )
        lines = self.headers(asked) + self._now() + (b"connection: close\r\n\r\n" if close else b"\r\n")
        return head.encode("latin1") + lines + answer.body

    def _now(self) -> bytes:
        second = int(time())
        if second != self._date[0]:
            self._date = second, f"date: {formatdate(second, usegmt=True)}\r\n".encode()
        return self._date[1]
