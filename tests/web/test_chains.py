"""Chains in the API: submitted, started by a completion, proven by the server, and fetched by the next worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio

from actors import operator
from actors.effects import chains
from blobforge import chaincheck
from tests.fixtures.local import LocalServer, open_local
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


async def test_what_came_of_a_job_is_counted_and_cancelled_with_it(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    await local.submit(b"a document", then=[{"type": "ocr"}])
    await brought(local, grant := await claimed(local), "1", "2", "3")
    assert (await completed(local, grant, "all"))[0] == 200
    page = await page_of(local, "/jobs/1")
    assert "Cancel 3 of the jobs that came of it and have not ended?" in page
    assert_problem(await local.call("POST", "/api/jobs/1/cancel"), 409, "job-ended")
    ask = {"children": True, "dry_run": True}
    found = await local.call("POST", "/api/jobs/1/cancel", ask)
    assert found == (200, {"status": "completed", "children": 3, "dry_run": True})
    assert_problem(await local.call("POST", "/api/jobs/9/cancel", ask), 404, "no-such-job")
    assert await local.call("POST", "/api/jobs/2/cancel", {}) == (200, {"status": "cancelled"})
    done = await local.call("POST", "/api/jobs/1/cancel", {"children": True})
    assert done == (200, {"status": "completed", "children": 2})
    assert [(await local.job(number))["status"] for number in (1, 2, 3, 4)] == ["completed", *["cancelled"] * 3]
    assert "of the jobs that came of it" not in await page_of(local, "/jobs/1")


async def test_many_are_cancelled_with_what_came_of_them(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    for name in (b"one", b"two"):
        await local.submit(name, then=[{"type": "ocr"}])
    for names in ("12", "34"):
        await brought(local, grant := await claimed(local), *names)
        assert (await completed(local, grant, "all"))[0] == 200
    await local.submit(b"three", then=[{"type": "ocr"}])
    chosen = {"type": "pdf", "dry_run": True}
    dry = {"matched": 3, "changed": 1, "refused": 2, "dry_run": True, "parents": 2, "children": 4}
    by = {"Authorization": f"Bearer {local.parts.admin_token}", "Idempotency-Key": "asked twice"}
    for _ in range(2):
        assert await local.call("POST", "/api/jobs/cancel", chosen, headers=by) == (200, dry)
    alone = {"ids": [7], "dry_run": True}
    found = await local.call("POST", "/api/jobs/cancel", alone)
    assert found == (200, {"matched": 1, "changed": 1, "refused": 0, "dry_run": True})
    form = {
        "Authorization": f"Bearer {local.parts.admin_token}", "Content-Type": "application/x-www-form-urlencoded",
    }  # fmt: skip
    _, asked = await local.call("POST", "/do/jobs/cancel", b"everything=1&filter_type=pdf&dry_run=true", headers=form)
    assert b'name="children" value="true"> and 4 jobs that came of 2 of them and have not ended' in asked
    _, asked = await local.call("POST", "/do/jobs/cancel", b"ids=1&dry_run=true", headers=form)
    assert b'name="children" value="true" checked> and 2 jobs that came of 1 of them' in asked
    _, asked = await local.call("POST", "/do/jobs/cancel", b"ids=7&dry_run=true", headers=form)
    assert b'name="children"' not in asked
    status, begun = await local.call("POST", "/api/jobs/cancel", {"type": "pdf", "children": True})
    assert status == 202, begun
    await trio.sleep(30)
    _, done = await local.call("GET", f"/api/operations/{begun['operation']}")
    assert (done["verb"], done["state"], done["changed"]) == ("cancel-families", "completed", 5)
    assert [(await local.job(number))["status"] for number in range(3, 8)] == ["cancelled"] * 5


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


async def test_what_is_set_for_a_type_follows_submissions_that_say_nothing_of_it(
    local: LocalServer, autojump_clock: Any
) -> None:
    for type_, then in (("pdf", [{"type": "ocr", "outputs": "*.md"}]), ("ocr", [{"type": "summary"}])):
        status, found = await local.call("PATCH", f"/api/types/{type_}", {"then": then})
        assert (status, found["then"]) == (200, then)
    whole = [{"type": "ocr", "outputs": "*.md", "then": [{"type": "summary"}]}]
    await local.submit(b"1")
    await local.submit(b"2", then=[])
    await local.submit(b"3", then=[{"type": "ocr"}, {"type": "ocr", "options": {"dpi": 1}, "then": []}])
    await local.call("PATCH", "/api/types/ocr", {"then": None})
    await local.submit(b"4")
    assert [(await local.job(number)).get("then") for number in (1, 2, 3, 4)] == [
        whole,
        None,
        [{"type": "ocr", "then": [{"type": "summary"}]}, {"type": "ocr", "options": {"dpi": 1}, "then": []}],
        [{"type": "ocr", "outputs": "*.md"}],
    ]
    for then, ignored in (({}, []), ({"then": whole}, []), ({"then": []}, ["then"])):
        body = {"type": "pdf", "source_hash": (await local.job(1))["source_hash"], **then}
        assert (await local.call("POST", "/api/jobs", body))[1].get("ignored", []) == ignored


async def test_what_is_set_for_types_does_not_go_in_a_circle(local: LocalServer, autojump_clock: Any) -> None:
    async def refused(type_: str, then: Any) -> str:
        answer = await local.call("PATCH", f"/api/types/{type_}", {"then": then})
        return str(assert_problem(answer, 422, "invalid", field="then")["detail"])

    for n in range(7):
        assert (await local.call("PATCH", f"/api/types/t{n}", {"then": [{"type": f"t{n + 1}"}]}))[0] == 200
    assert "of a job of type 't0': what is set for types goes in a circle: t0 -> t1" in await refused(
        "t5", [{"type": "t6", "then": []}, {"type": "book", "join": {"type": "t0"}}]
    )
    assert (await refused("t3", [{"type": "t3", "then": []}])).startswith("then: it goes in a circle: t3 -> t3")
    deep = [{"type": "t8", "then": [{"type": "t9"}]}]
    assert "of a job of type 't0': it is more than 8 steps deep" in await refused("t7", deep)
    assert "has more than 32 steps" in await refused("t0", [{"type": "t1", "outputs": f"{n}"} for n in range(5)])
    assert "then: of a step, options: " in await refused("t0", [{"type": "a", "options": {"a": "x" * 20_000}}])
    # What a submission says besides may lead into one, too.
    body = {"type": "t2", "source_hash": HEX, "then": [{"type": "t1"}]}
    problem = assert_problem(await local.call("POST", "/api/jobs", body), 422, "invalid", field="then")
    assert "in a circle: t2 -> t1 -> t2, with the same options" in problem["detail"]
    assert (await local.call("POST", "/api/jobs", body | {"then": [{"type": "t1", "then": []}]}))[0] == 201


async def test_what_a_completion_would_start_is_told_before(local: LocalServer, autojump_clock: Any) -> None:
    async def checked(**body: Any) -> Any:
        status, answer = await local.call("POST", "/api/chains/check", body)
        assert status == 200, answer
        return answer

    await local.register("w1")
    await local.register("w2", "ocr")
    await local.call("PATCH", "/api/types/summary", {"then": [{"type": "index"}], "paused": True})
    then = [
        {"type": "ocr", "outputs": "pages/*", "options": {"dpi": 1}, "join": {"type": "book"}},
        {"type": "summary", "outputs": "*.md"},
    ]
    await local.submit(b"a document", source_path="in/a.pdf", then=then)
    found = await checked(job=1)
    told = [(each["depth"], each["type"], each.get("joins", False), each["workers"]) for each in found["stages"]]
    stages = [(0, "ocr", False, 1), (1, "book", True, 0), (0, "summary", False, 0), (1, "index", False, 0)]
    assert told == stages
    assert "outputs" not in found
    assert found["stages"][2]["paused"] is True
    assert found["stages"][0]["options"] == {"dpi": 1}
    names = ["index.md", *(f"pages/{n}.png" for n in range(7))]
    tried = await checked(type="pdf", then=then, source_path="in/a.pdf", outputs=names)
    ocr, _, summary, _ = tried["stages"]
    assert (ocr["matched"], ocr["names"], ocr["paths"][0]) == (7, names[1:6], "in/a/pages/0.png")
    assert (summary["matched"], summary["names"], tried["outputs"]) == (1, ["index.md"], 8)
    shown = await page_of(local, "/jobs/1")
    assert "What its completion would start" in shown
    assert shown.count("none is online") == 3
    assert "joins what came before" in shown
    assert '<span aria-hidden="true">↳ </span><a href="/types/index">' in await page_of(local, "/jobs/1")
    assert "What follows its jobs" in await page_of(local, "/types/summary")
    assert "What follows its jobs</h2>" not in await page_of(local, "/types/pdf")
    # What has been brought is what is tried, while the attempt runs and afterwards.
    grant = await claimed(local)
    await brought(local, grant, "pages/1.png", "pages/2.png")
    running = await checked(job=1)
    assert (running["status"], running["outputs"], running["stages"][0]["matched"]) == ("running", 2, 2)
    assert '<td class="num" data-label="Outputs so far">2 of 2</td>' in await page_of(local, "/jobs/1")
    assert (await completed(local, grant, "all"))[0] == 200
    done = await checked(job=1)
    assert (done["status"], done["stages"][0]["names"]) == ("completed", ["pages/1.png", "pages/2.png"])
    assert "What its completion would start" not in await page_of(local, "/jobs/1")
    # One output, as its worker calls it.
    await local.submit(b"another one", then=[{"type": "summary", "outputs": "*.md"}])
    grant = await claimed(local)
    assert await put(local, grant["upload_url"], b"its text") == 200
    body = {"worker_id": "w1", "lease": grant["lease"], "output_key": grant["output_key"]}
    body["result"] = {"filename": "a.md"}
    assert (await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body))[0] == 200
    assert (await checked(job=grant["job"]["id"]))["stages"][0]["names"] == ["a.md"]


async def test_what_is_in_the_way_of_a_chain_is_told_before(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def checked(**body: Any) -> Any:
        return (await local.call("POST", "/api/chains/check", body))[1]

    assert "in a circle: pdf -> pdf" in (await checked(type="pdf", then=[{"type": "pdf"}]))["refused"]
    await local.call("PATCH", "/api/types/ocr", {"then": [{"type": "pdf", "then": []}]})
    assert "in a circle: pdf -> ocr -> pdf" in (await checked(type="pdf", then=[{"type": "ocr"}]))["refused"]
    assert "options" in (await checked(type="pdf", options={"a": "x" * 20_000}))["refused"]
    monkeypatch.setattr(chaincheck, "MOST_IN_FAMILY", 10)
    monkeypatch.setattr(chaincheck, "MOST_INPUTS", 5)
    wide = [{"type": "a"}, {"type": "b", "outputs": "[0-4]", "join": {"type": "book"}}]
    found = await checked(type="pdf", then=wide, outputs=[f"{n}" for n in range(6)])
    assert found["left_out"] == "2 outputs have started nothing: its family has 10 jobs"
    assert [each.get("refused") for each in found["stages"]] == [None, None, None]
    wide[1]["outputs"] = "*"
    found = await checked(type="pdf", then=wide, outputs=[f"{n}" for n in range(6)])
    assert found["stages"][2]["refused"] == "at most 5 outputs are joined"
    assert (await checked(type="pdf"))["stages"] == []
    for body in ({}, {"job": 1, "type": "pdf"}, {"job": 1, "then": []}):
        assert_problem(await local.call("POST", "/api/chains/check", body), 422, "invalid", field="job")
    assert_problem(await local.call("POST", "/api/chains/check", {"job": 9}), 404, "no-such-job")


async def test_a_type_too_many_is_told_before(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", max_types=2) as local:
        await local.submit(b"1")
        body = {"type": "pdf", "then": [{"type": "ocr", "then": [{"type": "summary"}]}]}
        _, found = await local.call("POST", "/api/chains/check", body)
        assert [each.get("refused") for each in found["stages"]] == [None, "there are 2 job types already"]
