"""The charts of a page: their range, by links and a form that need no script, and their figures as tables."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
import trio

from tests.fixtures.local import LocalServer
from tests.web.calls import finish
from web.api.encode import rfc3339

HOUR = 3_600_000
PLACES = ("/", "/types/pdf")


async def shown(local: LocalServer, path: str, **query: str) -> str:
    status, answer = await local.call("GET", f"{path}?{urlencode(query)}" if query else path)
    assert status == 200, answer
    return unescape(str(answer))


def links(page: str) -> dict[str, str]:
    return dict(re.findall(r'data-range-link="(\w+)" href="([^"#]+)#charts"', page))


def charts(page: str) -> set[str]:
    return set(re.findall(r'data-chart="[^"?]+\?([^"]+)"', page))


@pytest.mark.parametrize("path", PLACES)
async def test_each_range_has_an_address(local: LocalServer, autojump_clock: Any, path: str) -> None:
    await local.register()
    await local.submit(b"1")
    page = await shown(local, path)
    assert re.findall(r'href="([^"]+)" aria-current="true"', page) == [
        f"{path}?window={'1h' if path == '/' else '24h'}#charts"
    ]
    assert set(links(page)) == {"earlier", "closer", "wider"}, "nothing is to come, and nothing to go back to"
    earlier = await shown(local, links(page)["earlier"])
    (address,) = {each.removesuffix("&type=pdf") for each in charts(earlier)}
    assert address.startswith("since=")
    assert set(links(earlier)) == {"earlier", "later", "closer", "wider", "reset"}
    again = await shown(local, links(earlier)["later"])
    assert "later" not in links(again)
    back = await shown(local, links(again)["reset"])
    assert charts(back) == charts(page)
    for chart in re.findall(r'data-chart="([^"]+)"', earlier):
        assert (await local.call("GET", chart))[0] == 200


async def test_what_is_no_range_is_said_and_the_usual_one_shown(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"1")
    now = local.parts.now()
    for query, said in (
        ({"since": "yesterday"}, "Times of a range are as"),
        ({"since": rfc3339(now + HOUR)}, "it is still to come"),
        ({"since": rfc3339(now - 2000 * HOUR), "until": rfc3339(now - 1900 * HOUR)}, "kept for 32 days"),
        ({"until": rfc3339(now)}, "say it too"),
    ):
        page = await shown(local, "/", **query)
        assert said in page
        assert charts(page) == {"window=1h"}


@pytest.mark.parametrize("path", PLACES)
async def test_a_range_that_begins_before_all_that_is_kept_is_cut_off(
    local: LocalServer, autojump_clock: Any, path: str
) -> None:
    await local.submit(b"1")
    oldest = rfc3339(local.parts.now() - 32 * 24 * HOUR)[:16]
    for since in ("0001-01-01T00:00+14:00", "0001-01-01T00:00", "2020-01-01T00:00"):
        page = await shown(local, path, since=since, until="9999-12-31T23:59-14:00")
        assert f'value="{oldest}"' in page
        for chart in re.findall(r'data-chart="([^"]+)"', page):
            assert (await local.call("GET", chart))[0] == 200


async def test_times_and_causes_are_said_and_all_figures_are_in_tables(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.register()
    for number in range(3):
        await local.submit(b"%d" % number)
    page = await shown(local, "/")
    assert page.count("such figures are kept from the first attempt on that ends now") == 3
    await trio.sleep(130)
    await finish(local)
    job_id = (await local.claim())["job"]["id"]
    body = {"worker_id": "w1", "error": "no", "kind": "<b>Odd</b>", "retryable": False}
    assert (await local.call("POST", f"/api/jobs/{job_id}/fail", body))[0] == 200
    for path, of in (("/", ""), ("/types/pdf", "&type=pdf")):
        page = await shown(local, path, window="1h")
        assert "of 2 attempts." in page
        assert "of 1 completed attempt." in page
        assert f'href="/jobs?failure=1{of}"' in page
        assert {each.rsplit("?")[0] for each in re.findall(r'data-chart="([^"]+)"', page)} == {
            "/api/stats/history", "/api/stats/times", "/api/stats/causes"
        }  # fmt: skip
        tables = await shown(local, path, window="1h", figures="tables")
        assert "data-chart=" not in tables
        assert len(re.findall(r'id="figures-\w+"', tables)) == 5
        assert "figures=tables" in links(tables)["earlier"]
        assert tables.count(">half up to<") == 2
