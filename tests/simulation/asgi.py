"""Requests into the application without a socket: one ASGI scope for each, and what comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import msgspec
import trio

from web.app import make_app
from web.services import Services

TOKEN = "bf_" + "5" * 43


@dataclass
class Answer:
    status: int
    body: Any

    @property
    def ok(self) -> bool:
        return self.status < 300

    @property
    def refusal(self) -> str:
        """The stable end of the problem's type, or nothing."""
        return str(self.body.get("type", "")).rpartition(":")[2] if isinstance(self.body, dict) else ""


class _Live:
    """Stands for the services of whichever server is up: an application takes longer to build than a play lasts."""

    services: Services | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.services, name)


@cache
def _live(_number: int) -> _Live:
    return _Live()


@cache
def _built(number: int) -> Any:
    return make_app(cast(Services, _live(number)))


class Application:
    """That of one server, built once in this process; `number`: of which one, where there are several at a time."""

    def __init__(self, number: int = 0) -> None:
        self._number = number

    def serves(self, services: Services) -> None:
        _live(self._number).services = services

    async def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None, gone_at: float,
        left: trio.Event | None = None,
    ) -> Answer | None:  # fmt: skip
        """One request by a client that goes away at `gone_at`, or before, when it has `left`. None when there is no
        answer."""
        status, received = 0, b""

        def hear(message: dict[str, Any]) -> None:
            nonlocal status, received
            status = message.get("status", status)
            received += message.get("body", b"")

        await self.stream(method, path, body, headers=headers, gone_at=gone_at, left=left, hear=hear)
        if not status:
            return None
        return Answer(status, msgspec.json.decode(received) if received else None)

    async def stream(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None, gone_at: float,
        left: trio.Event | None = None, hear: Callable[[dict[str, Any]], None],
    ) -> None:  # fmt: skip
        """The same, told piece by piece."""
        sent = {"authorization": f"Bearer {TOKEN}", "host": "blobforge.test"} | (headers or {})
        data = b""
        if body is not None:
            data = msgspec.json.encode(body)
            sent |= {"content-type": "application/json", "content-length": str(len(data))}
        never = trio.Event()
        messages = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            with trio.move_on_at(gone_at):
                await (never if left is None else left).wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            hear(message)

        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": method, "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"",
            "root_path": "", "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "client": ("10.0.0.1", 4711), "server": ("blobforge.test", 80), "state": {}, "extensions": {},
        }  # fmt: skip
        await _built(self._number)(scope, receive, send)
