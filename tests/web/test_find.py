"""What the page Find finds."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from tests.fixtures.local import LocalServer
from web.dashboard import find


async def batches_found(local: LocalServer, text: str) -> list[str]:
    _, body = await local.call("GET", f"/find?q={text}")
    found = re.findall(r'<li><a href="(/batches/\d+)">', html.unescape(bytes(body).decode()))
    return [str(each) for each in found]


async def test_a_batch_is_found_by_its_name_however_old_it_is(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "BATCHES_LOOKED_AT", 2)
    for name in ("spring", "autumn", "winter", "summer"):
        await local.call("POST", "/api/batches", {"name": name})
    assert await batches_found(local, "spring") == ["/batches/1"]
    assert await batches_found(local, "WINT") == ["/batches/3"]
    assert await batches_found(local, "autumn") == ["/batches/2"]
    assert await batches_found(local, "2") == ["/batches/2"]
