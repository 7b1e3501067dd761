"""A result that is made again to be compared: the former one is kept beside it for a while, and what has changed is
said."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
import trio

from tests.fixtures.engines import looked_into
from tests.fixtures.local import LocalServer, open_local
from tests.web.calls import assert_problem
from tests.web.test_accepted import Both, both, seaweed_or_none  # noqa: F401 - fixtures


async def convert(
    both: Both,  # noqa: F811
    outputs: Mapping[str, bytes],
    *,
    job_id: int,
    by: str,
    hashed: bool = True,
    more: str = "",
) -> None:
    """The next attempt of the job, with these outputs; one called "output" is the only one, in the old way."""
    local = both.local
    await local.call("POST", "/api/workers/register", {"id": "w1", "type": "pdf"})
    grant = await local.claim(converter=by, accepts=["options"])
    assert grant["job"]["id"] == job_id
    body: dict[str, Any] = {
        "worker_id": "w1",
        "lease": grant["lease"],
        "result": {"by": by + more, "filename": f"{by}.txt"},
    }
    if list(outputs) == ["output"]:
        assert await both.put(grant["upload_url"], outputs["output"]) == 200
        body |= {"output_key": grant["output_key"]}
        if hashed:
            body |= {"checksum": hashlib.sha256(outputs["output"]).hexdigest()}
    elif outputs:
        asked = {"job_id": job_id, "lease": grant["lease"], "worker_id": "w1", "names": list(outputs)}
        _, answer = await local.call("POST", "/api/files/upload-url", asked)
        for each in answer["urls"]:
            assert await both.put(each["url"], outputs[each["name"]], each["headers"]) == 200
        body |= {
            "outputs": [
                {"name": name} | ({"checksum": hashlib.sha256(content).hexdigest()} if hashed else {})
                for name, content in outputs.items()
            ]
        }
    status, answer = await local.call("POST", f"/api/jobs/{job_id}/complete", body)
    assert status == 200, answer


async def again(both: Both, job_id: int, **more: Any) -> None:  # noqa: F811
    status, answer = await both.local.call("POST", f"/api/jobs/{job_id}/retry", {"compare": True} | more)
    assert status == 200, answer


async def comparison(local: LocalServer, job_id: int, query: str = "") -> Any:
    status, answer = await local.call("GET", f"/api/jobs/{job_id}/comparison{query}")
    assert status == 200, answer
    return answer


async def test_two_results_side_by_side_beside_either_store(both: Both) -> None:  # noqa: F811
    job_id = await both.pending()
    first = {"a.md": b"one", "b.md": b"two", "d/c.png": b"three", "unsaid": b"1"}
    second = {"a.md": b"one", "b.md": b"2", "d/c.png": b"3", "new": b"four"}
    await convert(both, first, job_id=job_id, by="marker 1.2")
    await again(both, job_id)
    assert_problem(await both.local.call("GET", f"/api/jobs/{job_id}/comparison"), 404, "no-such-object")
    await convert(both, second, job_id=job_id, by="marker 1.3")
    job = await both.local.job(job_id)
    assert (job["made_by"], job["result_attempt"]) == ("marker 1.3", 2)
    found = await comparison(both.local, job_id)
    assert found["until"] == job["compared_until"]
    assert {name: found[name] for name in ("change", "attempt", "former_attempt", "made_by", "former_made_by")} == {
        "change": "changed",
        "attempt": 2,
        "former_attempt": 1,
        "made_by": "marker 1.3",
        "former_made_by": "marker 1.2",
    }
    assert found["outputs"] == {"same": 1, "changed": 2, "gone": 1, "new": 1, "unproven": 0}
    assert found["result"] == "changed"
    assert [(each["name"], each["change"]) for each in found["differing"]] == [
        ("b.md", "changed"),
        ("d/c.png", "changed"),
        ("new", "new"),
        ("unsaid", "gone"),
    ]
    changed = found["differing"][0]
    assert (changed["size"], changed["former"]["size"]) == (1, 3)
    assert changed["former"]["sha256"] == hashlib.sha256(b"two").hexdigest()
    # Page by page.
    page = await comparison(both.local, job_id, "?limit=3")
    assert [each["name"] for each in page["differing"]] == ["b.md", "d/c.png", "new"]
    rest = await comparison(both.local, job_id, f"?limit=3&cursor={page['next_cursor']}")
    assert [each["name"] for each in rest["differing"]] == ["unsaid"]
    assert "next_cursor" not in rest
    # Both are fetched: the job's own as ever, the former one where it is asked for.
    for query, content in {"name=b.md": b"2", "name=b.md&former=true": b"two", "former=true": b"one"}.items():
        _, answer = await both.local.call("GET", f"/api/files/{job_id}/output/url?{query}")
        assert await both.get(answer["url"]) == content
    assert_problem(
        await both.local.call("GET", f"/api/files/{job_id}/output/url?name=new&former=true"), 404, "no-such-object"
    )
    _, listed = await both.local.call("GET", f"/api/jobs/{job_id}/outputs?former=true")
    assert [each["name"] for each in listed["outputs"]] == sorted(first)
    items = [{"job_id": job_id, "kind": "output", "name": "unsaid", "former": former} for former in (True, False)]
    _, many = await both.local.call("POST", "/api/files/urls", {"items": items})
    assert await both.get(many["items"][0]["url"]) == b"1"
    assert many["items"][1]["type"].endswith("no-such-object")
    _, result = await both.local.call("GET", f"/api/jobs/{job_id}/result?former=true")
    assert result["by"] == "marker 1.2"


async def test_single_outputs_are_compared_whatever_they_are_called(both: Both) -> None:  # noqa: F811
    job_id = await both.pending()
    await convert(both, {"output": b"one"}, job_id=job_id, by="marker 1.2")
    await again(both, job_id)
    await convert(both, {"output": b"one"}, job_id=job_id, by="marker 1.3")
    assert (await comparison(both.local, job_id))["outputs"]["same"] == 1
    await again(both, job_id)
    await convert(both, {"output": b"another"}, job_id=job_id, by="marker 1.4")
    found = await comparison(both.local, job_id)
    assert (found["change"], found["former_attempt"], len(found["differing"])) == ("changed", 2, 1)
    _, answer = await both.local.call("GET", f"/api/files/{job_id}/output/url?former=true")
    assert await both.get(answer["url"]) == b"one"
    # One of several called otherwise is another output.
    await again(both, job_id)
    await convert(both, {"x": b"1", "y": b"2"}, job_id=job_id, by="marker 1.5")
    assert (await comparison(both.local, job_id))["outputs"] == {
        "same": 0, "changed": 0, "gone": 1, "new": 2, "unproven": 0,
    }  # fmt: skip


@pytest.fixture
def virtual(local: LocalServer) -> Both:
    return Both(local, None)  # type: ignore[arg-type]  # the embedded store's URLs are the server's own


async def test_without_a_hash_only_the_size_can_tell(virtual: Both, autojump_clock: Any) -> None:
    job_id = await virtual.local.submit()
    await convert(virtual, {"a": b"1", "b": b"1"}, job_id=job_id, by="m 1", hashed=False)
    await again(virtual, job_id)
    await convert(virtual, {"a": b"2", "b": b"22"}, job_id=job_id, by="m 2", hashed=False)
    found = await comparison(virtual.local, job_id)
    assert [(each["name"], each["change"]) for each in found["differing"]] == [("a", "unproven"), ("b", "changed")]


async def test_results_without_outputs_are_compared_by_what_the_worker_sent(
    virtual: Both, autojump_clock: Any
) -> None:
    job_id = await virtual.local.submit()
    await convert(virtual, {}, job_id=job_id, by="m 1")
    await again(virtual, job_id)
    await convert(virtual, {}, job_id=job_id, by="m 1")
    assert (await comparison(virtual.local, job_id))["change"] == "same"
    await again(virtual, job_id)
    await convert(virtual, {}, job_id=job_id, by="m 2")
    assert (await comparison(virtual.local, job_id))["change"] == "changed"


async def test_a_former_result_is_kept_for_its_time_and_no_longer(tmp_path: Any, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", retention_compared=7200) as local:
        virtual = Both(local, None)  # type: ignore[arg-type]
        job_id = await local.submit()
        await convert(virtual, {"a": b"1"}, job_id=job_id, by="m 1")
        await again(virtual, job_id)
        await convert(virtual, {"a": b"2"}, job_id=job_id, by="m 2")
        before = await local.job(job_id)
        await trio.sleep(7200 - 600)
        assert (await comparison(local, job_id))["change"] == "changed"
        await trio.sleep(2 * 3600)
        for path in (f"/api/jobs/{job_id}/comparison", f"/api/files/{job_id}/output/url?former=true"):
            assert_problem(await local.call("GET", path), 404, "no-such-object")
        after = await local.job(job_id)
        assert "compared_until" not in after
        assert after == {name: value for name, value in before.items() if name != "compared_until"}, "nothing else"
        _, answer = await local.call("GET", f"/api/files/{job_id}/output/url")
        assert await virtual.get(answer["url"]) == b"2"
        kept = (local.folder / "objects" / local.key(job_id, 1)).parent
        assert kept.exists(), "objects stay unless they are to go"


async def test_a_large_result_of_the_worker_is_kept_beside_the_next_and_goes_with_it(
    tmp_path: Any, autojump_clock: Any
) -> None:
    async with open_local(tmp_path / "data", retention_compared=600) as local:
        virtual = Both(local, None)  # type: ignore[arg-type]
        job_id = await local.submit()
        await convert(virtual, {}, job_id=job_id, by="m 1", more="x" * 100_000)
        await again(virtual, job_id)
        await convert(virtual, {}, job_id=job_id, by="m 2", more="y" * 100_000)
        assert (await comparison(local, job_id))["change"] == "changed"
        for query, letter in {"": "y", "?former=true": "x"}.items():
            status, result = await local.call("GET", f"/api/jobs/{job_id}/result{query}")
            assert (status, result["by"][-1]) == (200, letter)
        await trio.sleep(3600)
        assert (await local.call("GET", f"/api/jobs/{job_id}/result"))[1]["by"][-1] == "y"
        with looked_into(local.parts.services.settings.database) as found:
            assert found.probe.column("results", "attempt") == [2]


@pytest.mark.parametrize("names", [["output"], ["a", "b/c"]])
async def test_its_objects_go_where_objects_do(tmp_path: Any, autojump_clock: Any, names: list[str]) -> None:
    async with open_local(tmp_path / "data", retention_objects=True, retention_compared=600) as local:
        virtual = Both(local, None)  # type: ignore[arg-type]
        job_id = await local.submit()
        await convert(virtual, dict.fromkeys(names, b"1"), job_id=job_id, by="m 1")
        await trio.sleep(10)
        await again(virtual, job_id)
        await convert(virtual, dict.fromkeys(names, b"2"), job_id=job_id, by="m 2")
        await trio.sleep(10)
        place = local.folder / "objects"

        def kept(attempt: int) -> list[str]:
            return [str(path) for path in place.rglob("*") if path.is_file() and f"/{job_id}/{attempt}/" in str(path)]

        assert kept(1)
        served = len(kept(2))
        await trio.sleep(2 * 3600)
        assert kept(1) == []
        assert 0 < len(kept(2)) <= served, "the upload goes, and its copy is served"
        _, answer = await local.call("GET", f"/api/files/{job_id}/output/url")
        assert await virtual.get(answer["url"]) == b"2"


async def test_only_a_retry_that_says_so_keeps_the_former_result(virtual: Both, autojump_clock: Any) -> None:
    local = virtual.local
    job_id = await local.submit()
    await convert(virtual, {"a": b"1"}, job_id=job_id, by="m 1")
    await again(virtual, job_id, compare=False)
    await convert(virtual, {"a": b"2"}, job_id=job_id, by="m 2")
    assert_problem(await local.call("GET", f"/api/jobs/{job_id}/comparison"), 404, "no-such-object")
    # It holds through attempts that come to nothing, and through another retry.
    await again(virtual, job_id)
    await local.claim()
    body = {"worker_id": "w1", "error": "no", "retryable": False}
    assert (await local.call("POST", f"/api/jobs/{job_id}/fail", body))[0] == 200
    await again(virtual, job_id, compare=False, reset_attempts=True)
    await convert(virtual, {"a": b"3"}, job_id=job_id, by="m 3")
    found = await comparison(local, job_id)
    assert (found["former_attempt"], found["attempt"]) == (2, 4)


async def test_many_in_counts(virtual: Both, autojump_clock: Any) -> None:
    """Retried by what made them; then a list of what became of each, by the filters of all lists."""
    local = virtual.local
    contents = [(b"1", b"1"), (b"1", b"2"), (b"1", b"3")]
    ids = []
    for number, (first, _) in enumerate(contents):
        ids.append(await local.submit(b"source %d" % number, tags=["even"] if number % 2 == 0 else []))
        await convert(virtual, {"a": first}, job_id=ids[-1], by="m 1")
    other = await local.submit(b"other")
    await convert(virtual, {"a": b"1"}, job_id=other, by="n 1")
    status, done = await local.call("POST", "/api/jobs/retry", {"made_by": "m<2", "compare": True})
    assert (status, done["changed"]) == (200, 3)
    for job_id, (_, second) in zip(ids, contents, strict=True):
        await convert(virtual, {"a": second}, job_id=job_id, by="m 2")

    async def changes(query: str) -> dict[int, str]:
        found: dict[int, str] = {}
        cursor: str | None = ""
        while cursor is not None:
            status, page = await local.call("GET", f"/api/results/comparisons?{query}&cursor={cursor}")
            assert status == 200, page
            found |= {each["job_id"]: each["change"] for each in page["comparisons"]}
            cursor = page.get("next_cursor")
        return found

    expected = dict(zip(ids, ["same", "changed", "changed"], strict=True))
    assert await changes("limit=2") == expected
    assert await changes("tag=even") == {ids[0]: "same", ids[2]: "changed"}
    assert await changes("made_by=n") == {}
    assert await changes("status=pending") == {}
    _, page = await local.call("GET", "/api/jobs?compared=true&limit=2")
    assert len(page["jobs"]) == 2
    _, page = await local.call("GET", "/api/jobs?compared=false")
    assert [job["id"] for job in page["jobs"]] == [other]


async def test_an_operation_keeps_former_results_and_its_undo_puts_them_back(
    virtual: Both, autojump_clock: Any
) -> None:
    local = virtual.local
    job_id = await local.submit()
    await convert(virtual, {"a": b"1"}, job_id=job_id, by="m 1")
    await again(virtual, job_id)
    await convert(virtual, {"a": b"2"}, job_id=job_id, by="m 2")
    before = await comparison(local, job_id)
    body = {"made_by": "m<3", "compare": True, "background": True}
    status, begun = await local.call("POST", "/api/jobs/retry", body)
    assert status == 202
    await trio.sleep(60)
    assert (await local.job(job_id))["status"] == "pending"
    assert_problem(await local.call("GET", f"/api/jobs/{job_id}/comparison"), 404, "no-such-object")
    assert (await local.call("POST", f"/api/operations/{begun['operation']}/undo"))[0] == 202
    await trio.sleep(60)
    assert await comparison(local, job_id) == before


async def page_of(local: LocalServer, path: str) -> str:
    status, page = await local.call("GET", path)
    assert status == 200, page
    return bytes(page).decode()


async def test_the_pages_show_it(virtual: Both, autojump_clock: Any) -> None:
    local = virtual.local
    digest = await local.source(b"with options")
    body = {"type": "pdf", "source_hash": digest, "options": {"dpi": 300}}
    job_id = int((await local.call("POST", "/api/jobs", body))[1]["job_id"])
    await convert(virtual, {"a.md": b"one\ntwo\n", "b": b"\0"}, job_id=job_id, by="m 1")
    assert "Compared with" not in await page_of(local, f"/jobs/{job_id}")
    await again(virtual, job_id)
    await convert(virtual, {"a.md": b"one\n<2>\n", "b": b"\0\0", "c": b""}, job_id=job_id, by="m 2")
    page = await page_of(local, f"/jobs/{job_id}")
    for text in ("Compared with attempt 1", "2 changed", "1 new", "&#34;dpi&#34;", "with <bdi>m 1</bdi>",
                 "with <bdi>m 2</bdi>", "/jobs?made_by=m%3D%3D2", "Convert and compare"):  # fmt: skip
        assert text in page, text
    assert f'src="/jobs/{job_id}/diff' not in page
    assert f'src="/jobs/{job_id}/diff?name=a.md' in await page_of(local, f"/jobs/{job_id}?diff=a.md")
    diff = await page_of(local, f"/jobs/{job_id}/diff?name=a.md")
    for text in ('<span class="del">-two</span>', '<span class="add">+&lt;2&gt;</span>', "<span> one</span>"):
        assert text in diff, text
    assert "This is no text" in await page_of(local, f"/jobs/{job_id}/diff?name=b")
    assert "in one of the two results only" in await page_of(local, f"/jobs/{job_id}/diff?name=c")
    assert (await local.call("GET", f"/jobs/{job_id}/output?former=true&name=b"))[0] == 303
    jobs = await page_of(local, "/jobs?made_by=m%3E1&compared=true")
    assert 'name="made_by" value="m&gt;1"' in jobs
    assert f'id="job-{job_id}"' in jobs
    assert f'id="job-{job_id}"' not in await page_of(local, "/jobs?compared=false")
    assert '<option value="true" selected>kept to compare</option>' in jobs


async def test_many_are_converted_and_compared_from_the_page(virtual: Both, autojump_clock: Any) -> None:
    local = virtual.local
    for number in range(2):
        await local.submit(b"%d" % number)
        await convert(virtual, {"a.md": b"%d" % number}, job_id=number + 1, by="m 1")
    form = {
        "Authorization": f"Bearer {local.parts.admin_token}", "Content-Type": "application/x-www-form-urlencoded",
    }  # fmt: skip
    chosen = "everything=1&filter_made_by=m%3C2"
    asked = await local.call("POST", "/do/jobs/retry", f"{chosen}&dry_run=true".encode(), headers=form)
    assert '<input type="checkbox" name="compare" value="true">' in bytes(asked[1]).decode()
    for verb in ("cancel", "priority"):
        question = f"{chosen}&dry_run=true&to_priority=1".encode()
        assert b'name="compare"' not in (await local.call("POST", f"/do/jobs/{verb}", question, headers=form))[1]
    assert (await local.call("POST", "/do/jobs/retry", f"{chosen}&compare=true".encode(), headers=form))[0] == 303
    for number in range(2):
        await convert(virtual, {"a.md": b"new %d" % number}, job_id=number + 1, by="m 2")
    assert (await local.call("GET", "/api/jobs?compared=true"))[1]["total"] == 2


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        (b"x" * 300_000, b"y", "More than 256 KiB"),
        (b"".join(b"%d\n" % n for n in range(1500)), b"".join(b"%d\n" % -n for n in range(1500)), "Too much"),
        (b"\xff", b"y", "This is no text"),
        (b"one", b"one\ntwo", "+two"),
    ],
)
async def test_a_single_output_line_by_line(
    virtual: Both, autojump_clock: Any, was: bytes, now: bytes, said: str
) -> None:
    job_id = await virtual.local.submit()
    await convert(virtual, {"output": was}, job_id=job_id, by="m 1")
    assert (await virtual.local.call("GET", f"/jobs/{job_id}/diff"))[0] == 404
    await again(virtual, job_id)
    await convert(virtual, {"output": now}, job_id=job_id, by="m 2")
    page = await page_of(virtual.local, f"/jobs/{job_id}")
    assert f'src="/jobs/{job_id}/diff?name=' in page, "the only one is shown at once"
    assert said in await page_of(virtual.local, f"/jobs/{job_id}/diff?name=anything")
