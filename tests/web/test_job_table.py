"""The table of jobs: its order in the API, and its columns, density and order on the page."""

from __future__ import annotations

import re
from typing import Any

import trio

from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, put_output


async def shown(local: LocalServer, query: str, cookie: str = "") -> str:
    headers = {"Authorization": f"Bearer {local.parts.admin_token}", "Cookie": cookie}
    answer = await local.http.open(f"/jobs{query}", headers=headers)
    assert answer.status_code == 200
    return str(await answer.get_data(as_text=True))


def heads(page: str) -> list[str]:
    head = page[page.index("<thead>") : page.index("</thead>")]
    return [re.sub(r"<[^>]*>", "", each) for each in re.findall(r'<th scope="col"[^>]*>(?!<input)(.*?)</th>', head)]


def order(page: str) -> list[int]:
    return [int(each) for each in re.findall(r'<tr data-row id="job-(\d+)"', page)]


async def three(local: LocalServer) -> None:
    """Of 5, 9 and 1 bytes; the second one took longest; the third one waits."""
    await local.register()
    for content in (b"12345", b"123456789"):
        await local.submit(content)
        grant = await local.claim()
        await trio.sleep(len(content))
        await put_output(local, grant["output_key"])
        body = {"worker_id": "w1", "output_key": grant["output_key"], "lease": grant["lease"]}
        assert (await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body))[0] == 200
    await local.submit(b"1")


async def test_a_list_is_sorted_page_by_page(local: LocalServer, autojump_clock: Any) -> None:
    await three(local)
    for sort, expected in {
        "-size": [2, 1, 3], "duration": [1, 2, 3], "-duration": [2, 1, 3], "ended": [1, 2, 3],
        "-ended": [2, 1, 3], "created": [1, 2, 3], "-created": [3, 2, 1], "-tries": [3, 2, 1],
    }.items():  # fmt: skip
        found, query = [], f"limit=2&sort={sort}"
        for _ in range(3):
            status, page = await local.call("GET", f"/api/jobs?{query}")
            assert (status, page["total"], page["total_exact"]) == (200, 3, True)
            found += [job["id"] for job in page["jobs"]]
            if "next_cursor" not in page:
                break
            query = f"limit=2&sort={sort}&cursor={page['next_cursor']}"
        assert found == expected, sort
    _, page = await local.call("GET", "/api/jobs?limit=1&sort=-size")
    beyond = "WzMsMSwiLXRyaWVzIiw5OTk5OTk5OTk5XQ"  # a key that the column does not hold
    for query in ("", "&sort=-ended", "&sort=tries", "&sort=-size&offset=1", f"&sort=-tries&cursor={beyond}"):
        cursor = "" if "cursor" in query or "offset" in query else f"&cursor={page['next_cursor']}"
        assert_problem(await local.call("GET", f"/api/jobs?limit=1{query}{cursor}"), 422, "invalid")


async def test_columns_density_and_order_are_chosen(local: LocalServer, autojump_clock: Any) -> None:
    await three(local)
    page = await shown(local, "")
    usual = heads(page)
    assert usual == ["Job", "Status", "Type", "Prio", "Tries", "Updated", "What happens"]
    assert 'class="cards"' in page
    page = await shown(local, "?columns=duration,size,nonsense&density=compact&sort=-duration&type=pdf")
    assert heads(page) == ["Job", "Size", "Took ↓"]
    assert 'aria-sort="descending"' in page
    assert order(page) == [2, 1, 3]
    assert 'class="cards compact"' in page
    assert "Jobs that have not completed are behind all others." in page
    # What was chosen stays chosen by the heads, the pages, and the filters.
    kept = "type=pdf&amp;columns=size%2Cduration&amp;density=compact&amp;sort="
    assert f'href="/jobs?{kept}duration"' in page
    assert f'href="/jobs?{kept}-size"' in page
    assert '<input type="hidden" name="columns" value="size,duration">' in page
    page = await shown(local, "?limit=2&sort=-size&density=compact")
    assert re.search(r'href="/jobs\?limit=2&amp;sort=-size&amp;density=compact&amp;cursor=\w+" rel="next"', page)
    # An order alone is no filter.
    assert "3</strong> jobs. " in page


async def test_the_browser_remembers_what_was_chosen(local: LocalServer, autojump_clock: Any) -> None:
    await three(local)
    token = {
        "Authorization": f"Bearer {local.parts.admin_token}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    told = b"columns=size&columns=batch&density=compact&return_to=/jobs%3Ftype%3Dpdf%26columns%3Dtags"
    answer = await local.http.post("/do/jobs/view", headers=token, data=told)
    assert answer.headers["Location"] == "/jobs?type=pdf&columns=size%2Cbatch&density=compact"
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("jobs-table=compact.size.batch;")
    assert "SameSite=Strict" in cookie
    page = await shown(local, "", cookie.split(";")[0])
    assert (heads(page), 'class="cards compact"' in page) == (["Job", "Size", "Batch"], True)
    assert heads(await shown(local, "?columns=ended", cookie.split(";")[0])) == ["Job", "Ended"]
    usual = await local.http.post("/do/jobs/view", headers=token, data=told + b"&usual=1")
    assert usual.headers["Location"] == "/jobs?type=pdf"
    assert "Max-Age=0" in usual.headers["Set-Cookie"]
    assert len(heads(await shown(local, "", "jobs-table=nonsense.%00.size<"))) == 7


async def test_filters_are_suggested(local: LocalServer, autojump_clock: Any) -> None:
    await local.register("wörker-1")
    await local.call("POST", "/api/batches", {"name": "letters <of> May"})
    for number in range(15):
        await local.submit(b"%d" % number, tags=[f"scan-{number:02}", "Ω"], group=f"team-{number % 2}", batch=1)
    grant = await local.claim("wörker-1", converter="marker 1.3")
    body = {"worker_id": "wörker-1", "lease": grant["lease"], "result": {}}
    assert (await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body))[0] == 200

    async def suggested(query: str) -> list[str]:
        status, page = await local.call("GET", f"/jobs/suggestions?{query}")
        assert status == 200
        return re.findall(r'<option value="([^"]*)"', bytes(page).decode())

    assert await suggested("field=tag&q=scan-1") == [f"scan-{number}" for number in range(10, 15)]
    assert len(await suggested("field=tag&q=")) == 12
    assert await suggested("field=tag&q=%CE%A9") == ["Ω"]
    assert await suggested("field=worker&q=W%C3%96") == ["wörker-1"]
    assert await suggested("field=group&q=team") == ["team-0", "team-1"]
    assert await suggested("field=made_by&q=mar") == ["marker 1.3"]
    assert await suggested("field=batch&q=LETTERS") == ["1"]
    assert await suggested("field=batch&q=none") == []
    for query in ("field=type&q=x", "field=tag&q=%00", ""):
        assert (await local.call("GET", f"/jobs/suggestions?{query}"))[0] == 422
    page = await shown(local, "")
    assert '<datalist id="batch-words"><option value="1" label="letters &lt;of&gt; May"></option></datalist>' in page


async def test_all_that_match_are_offered_with_their_number(local: LocalServer, autojump_clock: Any) -> None:
    await three(local)
    assert 'id="everything"' not in await shown(local, "?sort=-size&limit=2"), "no filter"
    page = await shown(local, "?type=pdf&limit=2")
    assert 'id="everything"> all 3 that match, not only the selected' in page
    assert '<button type="button" class="plain" data-take-every hidden>Select all 3 that match</button>' in page
    assert "data-take-every" not in await shown(local, "?type=pdf"), "one page has all of them"
