"""What the pages say of types: the table of the overview, and the list of all."""

from __future__ import annotations

import re
from typing import Any

from tests.fixtures.local import LocalServer
from web.dashboard.overview import TYPES_SHOWN


async def page_of(local: LocalServer, path: str, status: int = 200, token: str | None = None) -> str:
    answered, body = await local.call("GET", path, token=token)
    assert answered == status, body
    return bytes(body).decode()


def row_of(page: str, type_: str) -> str:
    """The text of the row of a type, without its tags."""
    (row,) = (
        each for each in re.findall(r"<tr data-row id=\"type-.*?</tr>", page, re.S) if f'title="{type_}"' in each
    )
    return " ".join(re.sub(r"<[^>]*>", " ", row).split())


async def test_a_type_in_one_row(local: LocalServer, autojump_clock: Any) -> None:
    await local.register("w1")
    for number in range(3):
        await local.submit(b"%d" % number)
    await local.submit(b"x", type="film")
    await local.call("PATCH", "/api/types/film", {"max_running": 4})
    await local.call("POST", "/api/types/film/pause", {"reason": "new release"})
    job_id = (await local.claim())["job"]["id"]
    for path in ("/", "/types"):
        page = await page_of(local, path)
        assert row_of(page, "pdf").startswith("pdf 2 1 0 ")
        assert "fewer than 5 jobs have been completed 1 – Pause" in row_of(page, "pdf")
        assert row_of(page, "film").startswith("film paused 1 0 of 4 0 ")
        assert "paused: no job of it is given out none – Resume" in row_of(page, "film")
    assert "Resume" not in row_of(await page_of(local, "/types?state=paused", token=await reader(local)), "film")
    await local.call("POST", f"/api/jobs/{job_id}/fail", {"worker_id": "w1", "error": "x", "retryable": False})
    assert "100 % 1 dead" in row_of(await page_of(local, "/types"), "pdf")


async def reader(local: LocalServer) -> str:
    status, made = await local.call("POST", "/api/admin/tokens", {"name": "reader", "scopes": ["read"]})
    assert status == 201, made
    return str(made["token"])


async def test_a_stuck_type_does_not_hide_when_the_others_are_done(local: LocalServer, autojump_clock: Any) -> None:
    await local.register("w1")
    for number in range(9):
        await local.submit(b"%d" % number)
    for _ in range(6):
        job_id = (await local.claim())["job"]["id"]
        await local.call("POST", f"/api/jobs/{job_id}/complete", {"worker_id": "w1", "result": {}})
    await local.claim()
    await local.submit(b"x", type="film")
    _, outlook = await local.call("GET", "/api/stats/outlook")
    assert (outlook["low_seconds"], outlook["by_type"]["film"]["high_seconds"]) == (None, None)
    assert outlook["rest"]["high_seconds"] == outlook["by_type"]["pdf"]["high_seconds"]
    page = " ".join(re.sub(r"<[^>]*>", " ", await page_of(local, "/")).split())
    assert "from now" in page
    assert ", all but film" in page
    assert "film: no worker is online" in page


async def test_of_many_types_the_busiest_are_shown_and_the_others_are_a_link(
    local: LocalServer, autojump_clock: Any
) -> None:
    for number in range(TYPES_SHOWN + 2):
        await local.submit(b"%d" % number, type=f"t{number:02}")
    for number in range(2):
        await local.submit(b"more %d" % number, type=f"t{TYPES_SHOWN + number}")
    page = await page_of(local, "/")
    shown = re.findall(r'<td class="wide lead"><a href="/jobs\?type=(\w+)">', page)
    assert shown == sorted(shown), "by name, so that they stay where they are"
    assert len(shown) == TYPES_SHOWN
    assert shown[-2:] == [f"t{TYPES_SHOWN}", f"t{TYPES_SHOWN + 1}"]
    assert '<a href="/types">2 more types</a>' in page
    assert f"<strong>{TYPES_SHOWN + 2}</strong> types" in await page_of(local, "/types")
    assert "<strong>1</strong> type." in await page_of(local, "/types?q=T03&state=unserved")
    assert "No type matches" in await page_of(local, "/types?state=paused")
    await page_of(local, "/types?state=odd", 422)
