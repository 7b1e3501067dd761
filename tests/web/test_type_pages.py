"""What the pages say of types: the table of the overview, the list of all, the page of one and its form."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import urlencode

import pytest
import trio

from blobforge import forecast
from tests.fixtures.local import LocalServer
from web.api import insights
from web.api.wire_types import TypeBody
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
    shown = re.findall(r'<td class="wide lead"><a href="/types/(\w+)">', page)
    assert shown == sorted(shown), "by name, so that they stay where they are"
    assert len(shown) == TYPES_SHOWN
    assert shown[-2:] == [f"t{TYPES_SHOWN}", f"t{TYPES_SHOWN + 1}"]
    assert '<a href="/types">2 more types</a>' in page
    assert f"<strong>{TYPES_SHOWN + 2}</strong> types" in await page_of(local, "/types")
    assert "<strong>1</strong> type." in await page_of(local, "/types?q=T03&state=unserved")
    assert "No type matches" in await page_of(local, "/types?state=paused")
    await page_of(local, "/types?state=odd", 422)


# ------------------------------------------------------------------ the page of one


async def sent(local: LocalServer, **fields: str) -> tuple[int, str]:
    """The form as a browser sends it: each field with what stood in it."""
    form = {
        "Authorization": f"Bearer {local.parts.admin_token}", "Content-Type": "application/x-www-form-urlencoded",
    }  # fmt: skip
    status, body = await local.call("POST", "/do/types/pdf", urlencode(fields).encode(), headers=form)
    return status, bytes(body).decode()


async def settings(local: LocalServer) -> Any:
    _, found = await local.call("GET", "/api/types/pdf")
    return {name: value for name, value in found.items() if name not in ("type", "paused", "jobs", "in_force")}


async def test_all_that_can_be_set_is_set_by_the_form(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    page = await page_of(local, "/types/pdf")
    named = set(re.findall(r'<(?:input|select|textarea) id="set-(\w+)"', page))
    assert named == {*TypeBody.__struct_fields__} - {"paused", "reason"}
    assert 'placeholder="3"' in page, "what holds where nothing is set"
    said = {
        "max_running": "4", "rate": "100/1m", "max_attempts": "5", "retry_backoff": "2m", "worker_timeout": "20h",
        "urgent_after": "90", "breaker": "0", "own_fault": "on", "quarantine": "off", "weights": "acme=4\r\n=2\r\n",
        "then": '[{"type": "summary", "outputs": "*.md"}]',
    }  # fmt: skip
    assert (await sent(local, **said))[0] == 303
    assert await settings(local) == {
        "max_running": 4, "rate": {"count": 100, "seconds": 60}, "max_attempts": 5, "retry_backoff": 120,
        "worker_timeout": 72_000, "urgent_after": 90, "breaker": 0, "own_fault": True, "quarantine": False,
        "weights": {"acme": 4, "": 2}, "then": [{"type": "summary", "outputs": "*.md"}],
    }  # fmt: skip
    page = await page_of(local, "/types/pdf")
    was = {name: html.unescape(text) for name, text in re.findall(r'name="was_(\w+)" value="([^"]*)"', page)}
    assert was == said | {"urgent_after": "90s", "weights": "=2\nacme=4"}
    assert "max running 4, rate count=100 seconds=60" in page, "who has set it, and what"
    assert 'then [{"type":"summary","outputs":"*.md"}]' in html.unescape(page)
    # What stood there stays, what is empty is set no longer, and a group whose line is gone has 1.
    again = (
        {f"was_{name}": value for name, value in was.items()} | was | {"rate": "", "own_fault": "", "weights": "=2"}
    )
    assert (await sent(local, **again))[0] == 303
    assert {*said} - {*await settings(local)} == {"rate", "own_fault"}
    assert (await settings(local))["weights"] == {"": 2}


async def test_a_form_sets_what_it_has_fields_of(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    assert (await sent(local, paused="on", reason="from elsewhere", was_reason="x", type="other"))[0] == 303
    assert (await settings(local), (await local.job(1))["type"]) == ({}, "pdf")


async def test_what_somebody_else_has_set_meanwhile_stays(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await local.call("PATCH", "/api/types/pdf", {"max_running": 7})
    assert (await sent(local, was_max_running="", max_running="", max_attempts="5"))[0] == 303
    assert await settings(local) == {"max_running": 7, "max_attempts": 5}


async def test_what_cannot_be_set_is_said_beside_its_field(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    for name, said, why in (
        ("max_running", "many", "no number"), ("max_attempts", "0", "Expected `int` &gt;= 1"),
        ("rate", "100", "no rate"), ("rate", "0/1m", "Expected `int` &gt;= 1"), ("retry_backoff", "soon", "no time"),
        ("breaker", "101", "Expected `int` &lt;= 100"), ("own_fault", "perhaps", "on or off"),
        ("weights", "acme", "no weight"), ("weights", "acme=0", "Expected `int` &gt;= 1"),
        ("then", "ocr", "no JSON"), ("then", "{}", "a JSON array"), ("then", '[{"outputs":"*"}]', "type"),
        ("then", '[{"type":"pdf"}]', "in a circle: pdf -&gt; pdf"),
    ):  # fmt: skip
        status, page = await sent(local, **{name: said, "worker_timeout": "1h"})
        assert status == 422, name
        (wrong,) = re.findall(r'<span class="wrong" id="wrong-(\w+)">([^<]*)</span>', page)
        assert wrong[0] == name
        assert why in wrong[1], wrong
        assert f'value="{said}"' in page or f">{said}</textarea>" in html.unescape(page) or name == "own_fault", (
            "it stays to be mended"
        )
    assert await settings(local) == {}, "and nothing else was set"


async def test_who_may_only_read_sees_no_buttons(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await local.call("PATCH", "/api/types/pdf", {"max_running": 4})
    assert "<h3>Changes</h3>" in await page_of(local, "/types/pdf")
    main = (await page_of(local, "/types/pdf", token=await reader(local))).split("<main")[1].split("</main>")[0]
    assert main.count("<form") == main.count('<form method="get"') == 1, "but that of the range of charts"
    assert "Changes" not in main, "that is the audit log's"
    assert "<dt>Run at once, at most</dt><dd><bdi>4</bdi></dd>" in main
    assert '<dt>Tries</dt><dd><span class="muted">3, not set</span></dd>' in main


async def test_what_is_known_of_a_type(local: LocalServer, autojump_clock: Any) -> None:
    await local.register("w1")
    for number in range(6):
        await local.submit(b"%d" % number, source_size=1)
    for _ in range(2):
        job_id = (await local.claim(converter="marker 1.4"))["job"]["id"]
        await trio.sleep(20)
        await local.call("POST", f"/api/jobs/{job_id}/complete", {"worker_id": "w1", "result": {}})
    for _ in range(2):
        job_id = (await local.claim(converter="marker 1.5"))["job"]["id"]
        said = {"worker_id": "w1", "error": "a loop", "kind": "PageError", "retryable": False}
        await local.call("POST", f"/api/jobs/{job_id}/fail", said)
    page = " ".join(re.sub(r"<[^>]*>", " ", await page_of(local, "/types/pdf")).split())
    for text in (
        "below 64.0 KiB 2 20 s 20 s", "By 2 completed jobs, the latest", "50.0 % of the 4 attempts", "PageError",
        "marker 1.4 2 0 – marker 1.5 0 1 50.0 %", "w1 online marker 1.5 2 50 %",
        "2 failures in a row with PageError in a loop , of 2 documents on w1", "after 50 failures in a row",
    ):  # fmt: skip
        assert text in page, text
    await local.call("POST", "/api/types/pdf/pause", {"reason": "it loops"})
    page = " ".join(re.sub(r"<[^>]*>", " ", await page_of(local, "/types/pdf")).split())
    assert "by token:1 : it loops ." in page
    assert "Resume" in page
    await page_of(local, "/types/none", 404)
    await local.register("w2", "epub")
    assert "w2" in await page_of(local, "/types/epub"), "a worker has named it"


async def test_the_page_of_a_type_reckons_for_that_type_alone(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, type_ in enumerate(("pdf", "film", "epub")):
        await local.submit(b"%d" % number, type=type_)
    reckoned = []

    def outlook(loads: Any, *others: Any) -> Any:
        reckoned.append(sorted(loads))
        return forecast.outlook(loads, *others)

    monkeypatch.setattr(insights, "outlook", outlook)
    await page_of(local, "/types/film")
    await page_of(local, "/types?q=e")
    assert reckoned == [["film"], ["epub"]]
