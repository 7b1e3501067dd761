"""The search of the jobs page and of the API, in a running server."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors import indexer
from blobforge.store import lists
from tests.fixtures.local import LocalServer


async def found(local: LocalServer, text: str) -> tuple[list[int], bool]:
    """The jobs of the first page, and whether it is the last."""
    _, page = await local.call("GET", f"/api/jobs?q={text}")
    return [job["id"] for job in page["jobs"]], "next_cursor" not in page


async def page_of(local: LocalServer, query: str) -> str:
    answer = await local.http.open(f"/jobs?{query}", headers={"Authorization": f"Bearer {local.parts.admin_token}"})
    return str(await answer.get_data(as_text=True))


async def unindexed(local: LocalServer) -> int:
    return await local.parts.reads.run(lambda reader: reader.texts.unindexed(most=100))


async def test_what_is_submitted_is_indexed_soon_and_found_before(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "LOOKED_FIRST", 1)
    monkeypatch.setattr(lists, "SCAN_LIMIT", 1)
    monkeypatch.setattr(indexer, "JOBS_AT_ONCE", 3)
    for number in range(8):
        await local.submit(b"%d" % number, source_path=f"in/Volume-{number}.pdf", tags=["shelf-3"] * (number == 3))
    assert await unindexed(local) == 8
    assert await found(local, "SHELF-3") == ([4], True)
    await trio.sleep(indexer.GATHERED + 1)
    assert await unindexed(local) == 0
    assert await found(local, "volume-6") == ([7], True)
    await local.call("POST", "/api/jobs/tags", {"ids": [2], "add": ["shelf-9"]})
    assert await found(local, "shelf-9") == ([2], True)
    await trio.sleep(indexer.LOOK_EACH + 2 * indexer.GATHERED)
    assert await found(local, "shelf-9") == ([2], True)
    assert await local.parts.reads.run(lambda reader: reader.texts.find("shelf-9")) == {2}  # type: ignore[attr-defined]
    # A number is a job's, beside what has it in a path.
    page = await page_of(local, "q=3")
    assert '<h2 id="numbered-title"><a href="/jobs/3">Job 3</a></h2>' in page
    assert "numbered-title" not in await page_of(local, "q=99")


async def test_none_is_said_at_the_end_and_not_before(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        await local.submit(b"%d" % number, source_path=f"{number}")
    monkeypatch.setattr(lists, "SCAN_LIMIT", 2)
    page = await page_of(local, "q=no")  # two characters: by no index
    assert "No job matches" not in page
    assert "None so far" in page
    ((_, _, following),) = [page.rpartition('<a class="button" href="/jobs?')]
    assert "No job matches" in await page_of(local, following.partition('"')[0].replace("&amp;", "&"))
    assert "No job matches" in await page_of(local, "q=nothing")
