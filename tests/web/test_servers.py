"""`GET /api/servers` and its page, on a database that one server has for itself."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from tests.fixtures.local import LocalServer


async def test_a_server_by_itself_is_the_only_one(local: LocalServer, autojump_clock: Any) -> None:
    status, answer = await local.call("GET", "/api/servers")
    assert status == 200
    [only] = answer["servers"]
    assert (only["status"], only["this"], only["version"]) == ("online", True, version("blobforge-server"))
    assert only["streams"] == only["long_polls"] == 0
    assert "last_turn" not in only
    _, page = await local.call("GET", "/admin/servers")
    assert "BLOBFORGE_DATABASE_URL" in page.decode()


async def test_its_metrics_have_no_label_more(local: LocalServer, autojump_clock: Any) -> None:
    _, text = await local.call("GET", "/metrics")
    assert b"server=" not in text
