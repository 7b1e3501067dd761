"""The parts that all connections share. State owned here: whether the server stops."""

from __future__ import annotations

import secrets
from typing import Any

from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext

from blobforge.refusals import Refusal
from web.connection.departures import Departures
from web.connection.exchange import AsgiApp
from web.connection.head import Heads, ParsedHeaders
from web.connection.hot import HotRoutes
from web.limits import Unread
from web.metrics.requests import UNMATCHED, Requests
from web.problems import refused
from web.request import Request

# Seconds.
BETWEEN = 75.0  # between two requests
FIRST_BYTE = 75.0  # before anything is said at all
HEAD = 15.0  # for a head, from its first byte to its last


class SharedParts:
    """`app` is what Hypercorn serves; `requests` counts what no route is for."""

    def __init__(
        self, app: AsgiApp, hot: HotRoutes, config: Config, requests: Requests, state: Any, unread: Unread
    ) -> None:
        self.app = app
        self.hot = hot
        self.config = config
        self.state = state
        self.unread = unread
        self.context = WorkerContext(None)
        self.departures = Departures()
        self.heads = Heads()
        self.stopping = False
        self.patience_between = BETWEEN
        self.patience_head = HEAD
        self._requests = requests

    def refusal(self, refusal: Refusal) -> bytes:
        """The answer to bytes that are no request, as it goes over the wire. Counted for no route."""
        answer = refused(refusal, instance="/", request_id=secrets.token_hex(8))
        self._requests.refused(refusal.code)
        self._requests.answered(UNMATCHED, answer.status_code)
        nothing = Request("GET", "/", b"", ParsedHeaders(), remote_addr=None)
        return self.hot.encoded(answer, nothing, close=True)
