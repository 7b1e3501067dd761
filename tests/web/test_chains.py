"""Chains in the API: submitted, started by a completion, proven by the server, and fetched by the next worker."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
import trio

from actors import operator
from actors.effects import chains
from tests.fixtures.local import LocalServer
from tests.web.calls import HEX, assert_problem, raw
from tests.web.test_comparison import page_of
from tests.web.test_files import path_of, put
from tests.web.test_outputs import brought, completed

SPLIT = [{"type": "ocr", "outputs": "pages/*", "options": {"dpi": 300}, "then": [{"type": "summary"}]}]


async def claimed(local: LocalServer, type_: str = "pdf") -> dict[str, Any]:
    body = {"worker_id": "w1", "job_type": type_, "accepts": ["options"]}
    status, grant = await local.call("POST", "/api/jobs/claim", body)
    assert status == 200, grant
    return dict(grant)


async def fetched(local: LocalServer, grant: dict[str, Any]) -> bytes:
    return await (await raw(local, "GET", path_of(grant["source_url"]), Authorization="")).get_data(as_text=False)


async def test_from_a_document_to_what_is_read_of_its_pages(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await local.submit(b"a document", source_path="in/a.pdf", then=SPLIT)
    assert (await local.job(1))["then"] == SPLIT
    grant = await claimed(local)
    await brought(local, grant, "pages/1.png", "pages/2.png", "index.md")
    assert (await completed(local, grant, "all"))[0] == 200
    parent = await local.job(1)
    children = [(each["job_id"], each["output"]) for each in parent["children"]]
    assert children == [(2, "pages/1.png"), (3, "pages/2.png")]
    assert parent["children_total"] == 2
    shown = await page_of(local, "/jobs/1")
    assert "What came of it" in shown
    assert '<a href="/jobs/3">Job 3</a>, <bdi>ocr</bdi>, <span class="muted">of <bdi>pages/2.png</bdi>' in shown
    assert 'Came of</h3><p><a href="/jobs/1">Job 1</a>' in await page_of(local, "/jobs/2")
    await trio.sleep(5)
    child = await local.job(2)
    assert (child["status"], child["parent"], child["type"]) == ("pending", 1, "ocr")
    assert (child["options"], child["source_path"]) == ({"dpi": 300}, "in/a/pages/1.png")
    assert len(child["source_hash"]) == 64
    grant = await claimed(local, "ocr")
    assert await fetched(local, grant) == b"pages/1.png"
    status, again = await local.call(
        "POST", "/api/files/source-url", {"job_id": 2, "lease": grant["lease"], "worker_id": "w1"}
    )
    assert (status, path_of(again["url"]).split("?")[0]) == (200, path_of(grant["source_url"]).split("?")[0])
    assert await put(local, grant["upload_url"], b"its text") == 200
    body = {"worker_id": "w1", "lease": grant["lease"], "output_key": grant["output_key"]}
    assert (await local.call("POST", "/api/jobs/2/complete", body))[0] == 200
    await trio.sleep(5)
    grant = await claimed(local, "summary")
    assert (await fetched(local, grant), grant["job"]["parent"]) == (b"its text", 2)
    status, url = await local.call("GET", f"/api/files/{grant['job']['id']}/source/url")
    assert status == 200, url


async def test_what_is_still_to_be_made_is_said_and_comes(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MOST_AT_ONCE", "A_PIECE"):
        monkeypatch.setattr(chains, name, 1)
    await local.register()
    await local.submit(b"a document", then=[{"type": "ocr"}])
    await brought(local, grant := await claimed(local), "1", "2", "3")
    monkeypatch.setattr(operator, "STARTING", 0)
    assert (await completed(local, grant, "all"))[0] == 200
    parent = await local.job(1)
    assert (parent["children_total"], parent["children_to_come"]) == (1, 2)
    assert '<a href="/operations/1">2 more</a> are still to be made.' in await page_of(local, "/jobs/1")
    monkeypatch.undo()
    await trio.sleep(30)
    parent = await local.job(1)
    assert (parent["children_total"], "children_to_come" in parent) == (3, False)
    _, done = await local.call("GET", "/api/operations/1")
    assert (done["verb"], done["state"], done["by"], done["changed"]) == (
        "start-children", "completed", "the server", 2,
    )  # fmt: skip


async def test_what_a_stage_has_brought_comes_with_the_claim_that_joins_it(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.register()
    then = [{"type": "ocr", "join": {"type": "book", "options": {"title": "A"}}}]
    await local.submit(b"a document", then=then)
    assert (await local.job(1))["then"] == then
    await brought(local, grant := await claimed(local), "1", "2")
    assert (await completed(local, grant, "all"))[0] == 200
    await trio.sleep(5)
    for _ in range(2):
        await brought(local, grant := await claimed(local, "ocr"), "a.md", "b.md")
        assert (await completed(local, grant, "all"))[0] == 200
    await trio.sleep(5)
    grant = await claimed(local, "book")
    manifest = json.loads(await fetched(local, grant))
    names = ["1/a.md", "1/b.md", "2/a.md", "2/b.md"]
    assert [each["name"] for each in manifest["inputs"]] == [each["name"] for each in grant["inputs"]] == names
    for each in grant["inputs"]:
        answer = await raw(local, "GET", path_of(each["url"]), Authorization="")
        assert await answer.get_data(as_text=False) == each["name"].partition("/")[2].encode()
    parent = await local.job(1)
    assert [each["job_id"] for each in parent["children"] if each.get("joins")] == [grant["job"]["id"]]
    found: list[int] = []
    cursor = ""
    while True:
        status, answer = await local.call("GET", f"/api/jobs/1/children?limit=2{cursor}")
        assert (status, answer["total"]) == (200, 3)
        found += [each["job_id"] for each in answer["children"]]
        if "next_cursor" not in answer:
            break
        cursor = f"&cursor={quote(answer['next_cursor'])}"
    assert sorted(found) == [2, 3, 4]
    status, answer = await local.call("GET", "/api/jobs/2/children")
    assert (status, answer) == (200, {"children": [], "total": 0})
    assert_problem(await local.call("GET", "/api/jobs/9/children"), 404, "no-such-job")


@pytest.mark.parametrize(
    ("then", "said"),
    [
        ([{"type": "pdf"}], "goes in a circle: pdf -> pdf"),
        ([{"type": "a", "then": [{"type": "b", "then": [{"type": "a"}]}]}], "circle: pdf -> a -> b -> a"),
        ([{"type": "a", "join": {}}], "type"),
        ([{"type": "a", "join": {"type": "pdf"}}], "circle: pdf -> a -> pdf"),
        ([{"type": "a", "else": 1}], "unknown field"),
        ([{"type": "a", "outputs": ""}], "outputs"),
        ([{"type": "a/b"}], "type"),
        ([{"type": f"t{n}", "outputs": f"{n}"} for n in range(33)], "then"),
    ],
)
async def test_a_chain_that_cannot_be_is_refused(
    local: LocalServer, autojump_clock: Any, then: Any, said: str
) -> None:
    answer = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX, "then": then})
    assert said in assert_problem(answer, 422, "invalid")["detail"]


async def test_a_chain_has_a_depth(local: LocalServer, autojump_clock: Any) -> None:
    then: list[dict[str, Any]] = []
    for depth in reversed(range(9)):
        then = [{"type": f"t{depth}", "then": then}]
    answer = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX, "then": then})
    assert "8 steps deep" in assert_problem(answer, 422, "invalid", field="then")["detail"]
    answer = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX, "then": then[0]["then"]})
    assert answer[0] == 201
