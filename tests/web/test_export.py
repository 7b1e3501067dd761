"""Jobs as a table in a file: each that matches once, in whole columns, and an early end is said."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from blobforge.client import scripting
from blobforge.store import lists
from blobforge.store.errors import DatabaseError
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, finish, raw
from web.api import export as route


async def fetched(local: LocalServer, query: str = "") -> str:
    status, body = await local.call("GET", f"/api/jobs/export?{query}")
    assert status == 200, body
    return bytes(body).decode()


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_a_table_has_all_that_match_in_the_columns_that_were_asked_for(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "PAGE", 2)
    monkeypatch.setattr(lists, "WALKED_AT_ONCE", 2)
    await local.register()
    for number in range(5):
        await local.submit(b"%d" % number, source_path=f"in/Ö “{number}”.pdf", tags=["a b", "c"], priority=1 + number)
    await finish(local)
    grant = await local.claim()
    failure = {"worker_id": "w1", "lease": grant["lease"], "error": "line 1,\r\nline 2", "retryable": False}
    await local.call("POST", f"/api/jobs/{grant['job']['id']}/fail", failure)
    whole = await fetched(local)
    assert whole.startswith(f"{','.join(route.COLUMNS)}\r\n")
    rows = table(whole)
    assert [row["id"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [row["status"] for row in rows] == ["completed", "dead", "pending", "pending", "pending"]
    assert (rows[0]["source_path"], rows[0]["tags"], rows[0]["group"]) == ("in/Ö “0”.pdf", '["a b","c"]', "")
    assert (rows[0]["attempts"], rows[0]["max_attempts"], rows[0]["seconds"]) == ("1", "3", "0.0")
    assert rows[1]["last_error"] == "line 1,\r\nline 2"
    assert (
        await fetched(local, "status=dead&columns=last_error,type")
        == 'id,last_error,type\r\n2,"line 1,\r\nline 2",pdf\r\n'
    )
    lines = (await fetched(local, "status=pending&format=ndjson&columns=tags,group")).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": id_, "tags": ["a b", "c"], "group": None} for id_ in (3, 4, 5)
    ]
    assert await fetched(local, "tag=none&format=ndjson") == ""
    for query, field in (("columns=id,nothing", "columns"), ("format=xlsx", "format"), ("status=x", "status")):
        assert_problem(await local.call("GET", f"/api/jobs/export?{query}"), 422, "invalid", field=field)
    assert (await raw(local, "HEAD", "/api/jobs/export?format=csv")).headers["Content-Disposition"] == (
        'attachment; filename="jobs.csv"'
    )


@pytest.mark.parametrize("begin", route.FORMULA)
async def test_no_text_is_a_formula(local: LocalServer, autojump_clock: Any, begin: str) -> None:
    """A name is whoever's. JSON has it as it is."""
    hostile = f'{begin}cmd|"/C calc"!A0'
    cells = {route._cell(hostile), route._cell([hostile])}
    assert all(cell[0] in "'[" for cell in cells)
    if begin < " ":
        return  # no name begins so; an error may
    await local.submit(b"1", source_path=hostile, tags=[hostile], group=hostile)
    (row,) = table(await fetched(local))
    assert row["source_path"] == row["group"] == f"'{hostile}"
    assert json.loads(row["tags"]) == [hostile]
    assert json.loads(await fetched(local, "format=ndjson"))["source_path"] == hostile


async def test_an_early_end_is_said(local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route, "PAGE", 1)
    for number in range(3):
        await local.submit(b"%d" % number)
    moment = local.parts.services.reads.moment
    pages = 0

    async def failing(read: Any) -> Any:
        nonlocal pages
        pages += 1
        if pages == 3:
            raise DatabaseError("gone")
        return await moment(read)

    monkeypatch.setattr(local.parts.services.reads, "moment", failing)
    assert (await fetched(local, "columns=id")).splitlines() == ["id", "1", "2", f"CUT OFF: {route.FAILED}"]
    pages = 0
    lines = (await fetched(local, "columns=id&format=ndjson")).splitlines()
    assert json.loads(lines[-1]) == {"cut_off": route.FAILED}

    async def no_answer(*_: Any) -> Any:
        raise DatabaseError("gone")

    monkeypatch.setattr("web.long_answers.CHECKED_SECONDS", 0)
    monkeypatch.setattr("web.long_answers.authenticate", no_answer)
    assert (await fetched(local, "columns=id")).splitlines() == ["id", f"CUT OFF: {route.FAILED}"]


def test_what_a_converter_prints_ends_no_table() -> None:
    """The client looks at the last line, and a text of several lines has that of a stranger there."""
    for why in (route.GONE, route.FAILED):
        assert all(scripting._ended_early(kind(["id"]).cut_off(why)) for kind in (route.CsvFile, route.LinesFile))
    for cells in ([1, f"line\n{route.CUT_OFF}: {route.GONE}"], [1, f"a\r\n{route.CUT_OFF}: b", "c"]):
        assert not scripting._ended_early(scripting._last_line(route._line(cells)))


async def test_a_token_that_is_revoked_reads_no_further(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(route, "PAGE", 1)
    for number in range(3):
        await local.submit(b"%d" % number)
    _, made = await local.call("POST", "/api/admin/tokens", {"name": "reader", "scopes": ["read"]})
    moment = local.parts.services.reads.moment

    async def revoking(read: Any) -> Any:
        await local.call("DELETE", f"/api/admin/tokens/{made['id']}")
        return await moment(read)

    monkeypatch.setattr("web.long_answers.CHECKED_SECONDS", 0)
    monkeypatch.setattr(local.parts.services.reads, "moment", revoking)
    answer = await raw(local, "GET", "/api/jobs/export?columns=id", Authorization=f"Bearer {made['token']}")
    assert (await answer.get_data()).decode().splitlines() == ["id", "1", f"CUT OFF: {route.GONE}"]


async def test_the_page_leads_to_a_table_of_what_it_shows(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"1", source_path="a.pdf", tags=["x"])
    answer = await raw(local, "GET", "/jobs?tag=x&sort=-size&columns=size,batch,news")
    (address,) = re.findall(
        r'<a href="(/api/jobs/export\?[^"]*)" download="jobs.csv">', (await answer.get_data()).decode()
    )
    status, body = await local.call("GET", address.replace("&amp;", "&"))
    assert (status, bytes(body).decode()) == (
        200,
        "id,source_path,source_size,batches,last_error\r\n1,a.pdf,1,,\r\n",
    )
