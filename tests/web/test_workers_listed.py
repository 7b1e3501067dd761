"""The list of workers is filtered and paged; those that have gone for long are forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import trio

from blobforge.config import Settings
from tests.fixtures.house import House, open_house
from tests.web.calls import raw, worker


async def listed(house: House, query: str) -> tuple[list[str], str | None]:
    answer = await raw(house, "GET", f"/api/workers{query}")
    assert answer.status_code == 200
    found = msgspec.json.decode(await answer.get_data(as_text=False))
    return [each["id"] for each in found], answer.headers.get("Link")


async def test_workers_are_filtered_and_paged(house: House, autojump_clock: Any) -> None:
    for number in range(5):
        await house.register(f"w{number}", "pdf" if number % 2 else "ocr")
    await house.call("POST", "/api/workers/w0/unregister")
    assert (await listed(house, "?status=online"))[0] == ["w1", "w2", "w3", "w4"]
    assert (await listed(house, "?type=ocr"))[0] == ["w0", "w2", "w4"]
    page, link = await listed(house, "?limit=2&status=online")
    seen = list(page)
    while link is not None:
        assert link.startswith("</api/workers?") and link.endswith('>; rel="next"')  # noqa: PT018
        page, link = await listed(house, link[len("</api/workers") : -len('>; rel="next"')])
        assert len(page) <= 2
        seen += page
    assert seen == ["w1", "w2", "w3", "w4"]


async def test_workers_that_have_gone_are_forgotten(tmp_path: Path, autojump_clock: Any) -> None:
    assert Settings().retention_workers == 30 * 86_400
    async with open_house(tmp_path / "data", retention_workers=7200) as house:
        await house.register("gone")
        await worker(house, "with its own credential")
        await house.register("here")
        for minutes in range(1, 200):
            await trio.sleep(60)
            await house.call("POST", "/api/workers/here/heartbeat", {})
            if minutes == 110:
                assert "gone" in (await listed(house, ""))[0]
        assert (await listed(house, ""))[0] == ["here", "with its own credential"]
