"""Fixtures for tests that need a server to misbehave."""

from __future__ import annotations

import pytest
import trio

from tests.runner.scripted import Scripted


@pytest.fixture
async def scripted(nursery: trio.Nursery) -> Scripted:
    server = Scripted()
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    nursery.start_soon(trio.serve_listeners, server.serve, listeners)
    return server
