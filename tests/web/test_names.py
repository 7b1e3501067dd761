"""The names of a source: a further submission adds its path and its tags. Bytes of each type, tag and state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.job import MOST_PATHS, MOST_TAGS
from tests.fixtures.engines import ENGINES
from tests.fixtures.local import LocalServer
from tests.store.making import ADMIN, Book, submission
from tests.web.calls import assert_problem, put_output


async def again(local: LocalServer, **fields: Any) -> Any:
    digest = await local.source(b"a document")
    status, answer = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": digest} | fields)
    assert status == 200, answer
    return answer


async def found(local: LocalServer, q: str) -> list[int]:
    return [job["id"] for job in (await local.call("GET", f"/api/jobs?q={q}"))[1]["jobs"]]


async def test_a_duplicate_adds_its_path_and_its_tags(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit(source_path="/in/one.pdf", tags=["a"])
    await local.submit(b"another", source_path="/in/other.pdf")
    answer = await again(local, source_path="/IN/Kopie.pdf", tags=["b", "a"])
    assert answer == {"job_id": job_id, "existing": True, "status": "pending"}, "the shape is the old one"
    await again(local, source_path="/IN/Kopie.pdf", tags=["b"])
    await again(local, source_path="/in/one.pdf")
    await again(local)
    job = await local.job(job_id)
    assert job["source_path"] == "/in/one.pdf", "the first one stays"
    assert (job["paths"], job["paths_total"]) == (["/in/one.pdf", "/IN/Kopie.pdf"], 2)
    assert job["tags"] == ["a", "b"]
    assert await found(local, "kopie") == [job_id]
    assert await found(local, "one") == [job_id]
    assert await found(local, "kopie&tag=b&status=pending") == [job_id]
    assert await found(local, "kopie&tag=c") == []
    assert await found(local, "nowhere") == []
    assert (await local.call("GET", "/api/jobs?tag=b"))[1]["total"] == 1
    listed = (await local.call("GET", "/api/jobs?q=one"))[1]["jobs"][0]
    assert listed["paths_total"] == 2
    assert "paths" not in listed
    plain = await local.job(2)
    assert "paths" not in plain
    assert "paths_total" not in plain


async def test_a_path_that_was_missing_becomes_the_first(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit()
    await again(local, source_path="/in/one.pdf")
    job = await local.job(job_id)
    assert job["source_path"] == "/in/one.pdf"
    assert "paths" not in job


async def test_all_paths_are_listed_page_by_page(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit(source_path="/0")
    for number in range(1, 8):
        await again(local, source_path=f"/{number}")
    pages, cursor = [], ""
    while True:
        status, page = await local.call("GET", f"/api/jobs/{job_id}/paths?limit=3{cursor}")
        assert status == 200
        assert page["total"] == 8
        pages.append(page["paths"])
        if "next_cursor" not in page:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert pages == [["/0", "/1", "/2"], ["/3", "/4", "/5"], ["/6", "/7"]]
    assert_problem(await local.call("GET", "/api/jobs/99/paths"), 404, "no-such-job")


async def test_what_there_is_no_room_for_is_said(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (MOST_PATHS, MOST_TAGS) == (1000, 100)
    monkeypatch.setattr("actors.effects.submission.MOST_PATHS", 2)
    monkeypatch.setattr("blobforge.job.MOST_TAGS", 2)
    job_id = await local.submit(source_path="/0", tags=["a"])
    await again(local, source_path="/1", tags=["b"])
    answer = await again(local, source_path="/2", tags=["c"])
    assert answer["left_out"] == ["/2", "c"]
    job = await local.job(job_id)
    assert (job["paths"], job["tags"]) == (["/0", "/1"], ["a", "b"])
    full = await local.call("PATCH", f"/api/jobs/{job_id}/tags", {"add": ["d"]})
    assert_problem(full, 422, "invalid", field="add")
    assert (await local.call("PATCH", f"/api/jobs/{job_id}/tags", {"add": ["d"], "remove": ["a"]}))[0] == 200
    assert (await local.job(job_id))["tags"] == ["b", "d"]


async def test_tags_are_added_and_removed(local: LocalServer, autojump_clock: Any) -> None:
    first, second = await local.submit(b"1", tags=["a"]), await local.submit(b"2")
    status, answer = await local.call("PATCH", f"/api/jobs/{first}/tags", {"add": ["b", "b"], "undo": True})
    assert status == 200
    assert answer["status"] == "updated"
    assert (await local.job(first))["tags"] == ["a", "b"]
    assert (await local.call("POST", "/api/jobs/undo", {"undo": answer["undo"]}))[1] == {"matched": 1, "changed": 1}
    assert (await local.job(first))["tags"] == ["a"]
    status, many = await local.call("POST", "/api/jobs/tags", {"type": "pdf", "add": ["x"], "remove": ["a"]})
    assert many == {"matched": 2, "changed": 2, "refused": 0, "dry_run": False}
    assert [(await local.job(job_id))["tags"] for job_id in (first, second)] == [["x"], ["x"]]
    assert (await local.call("GET", "/api/jobs?tag=a"))[1]["total"] == 0
    assert (await local.call("POST", "/api/jobs/tags", {"type": "pdf"}))[1]["changed"] == 0
    assert_problem(await local.call("PATCH", "/api/jobs/99/tags", {"add": ["b"]}), 404, "no-such-job")


async def test_bytes_are_kept_by_type_tag_and_state(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"12345", tags=["a", "b"])
    await local.submit(b"1234567", type="png", tags=["a"])
    await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": "ab" * 32, "source_size": 1000})
    kept = (await local.call("GET", "/api/stats"))[1]["bytes"]
    assert kept == {
        "sources": 12, "outputs": 0,
        "by_type": {"pdf": {"sources": 5, "outputs": 0}, "png": {"sources": 7, "outputs": 0}},
        "by_status": {"pending": {"sources": 12, "outputs": 0}},
    }, "what is only announced is not kept"  # fmt: skip
    await local.register()
    grant = await local.claim()
    await put_output(local, grant["output_key"])
    body = {"worker_id": "w1", "lease": grant["lease"], "output_key": grant["output_key"]}
    assert (await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body))[0] == 200
    kept = (await local.call("GET", "/api/stats"))[1]["bytes"]
    outputs = kept["outputs"]
    assert outputs > 0
    assert kept["by_status"]["completed"] == {"sources": 5, "outputs": outputs}
    status, page = await local.call("GET", "/api/stats/tags?limit=1")
    assert page["tags"] == [{"tag": "a", "jobs": 2, "source_bytes": 12, "output_bytes": outputs}]
    rest = (await local.call("GET", f"/api/stats/tags?limit=1&cursor={page['next_cursor']}"))[1]
    assert rest == {"tags": [{"tag": "b", "jobs": 1, "source_bytes": 5, "output_bytes": outputs}]}
    await local.call("DELETE", "/api/jobs/1")
    assert (await local.call("GET", "/api/stats"))[1]["bytes"]["sources"] == 7
    assert (await local.call("GET", "/api/stats/tags"))[1]["tags"][0]["jobs"] == 1
    assert status == 200


async def test_a_source_that_never_came_is_not_kept(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"12345", tags=["a"])
    for digit in "bc":
        await local.call(
            "POST", "/api/jobs", {"type": "pdf", "source_hash": digit * 64, "source_size": 1000, "tags": ["a"]}
        )

    async def kept() -> tuple[Any, ...]:
        stats = (await local.call("GET", "/api/stats"))[1]["bytes"]
        (tag,) = (await local.call("GET", "/api/stats/tags"))[1]["tags"]
        return stats["sources"], stats["by_type"]["pdf"]["sources"], set(stats["by_status"]), tag["source_bytes"]

    none = (5, 5, {"pending"}, 5)
    assert await kept() == none
    undo = (await local.call("POST", "/api/jobs/2/cancel", {"undo": True}))[1]["undo"]
    assert await kept() == none, "cancelled"
    assert (await local.call("POST", "/api/jobs/undo", {"undo": undo}))[1]["changed"] == 1
    assert await kept() == none
    await local.call("POST", "/api/jobs/2/cancel")
    await trio.sleep(86_400 + 60)
    assert [(await local.job(job_id))["status"] for job_id in (2, 3)] == ["cancelled", "dead"]
    assert await kept() == none, "and expired"
    assert (await local.job(3))["source_size"] == 1000, "what was announced is known"
    undo = (await local.call("POST", "/api/jobs/3/retry", {"undo": True}))[1]["undo"]
    await local.call("POST", "/api/jobs/undo", {"undo": undo})
    assert (await local.job(3))["status"] == "dead"
    assert await kept() == none, "as before its retry"


@pytest.mark.parametrize("engine", ENGINES)
def test_names_on_each_engine(tmp_path: Path, engine: str) -> None:
    book = Book(ENGINES[engine](tmp_path / "x.db"))
    long = "/ü" * 2000
    book.do(submission("a", source_path="/1", tags=("t",)))
    book.do(submission("a", source_path=long), submission("a", source_path=long, tags=("u",)))
    book.do(submission("a", source_path="/1"), submission("b", source_path=long))
    book.do(submission("a", source_path="/3"), submission("a", source_path=long))
    assert book.probe.rows("job_paths", "n", "path", job_id=1) == [(1, long), (2, "/3")]
    assert book.probe.value("jobs", "more_paths", id=1) == 2
    assert set(book.probe.column("job_tags", "tag", job_id=1)) == {"t", "u"}
    assert book.probe.rows("tag_counts", "tag", "n", "source_bytes") == [("t", 1, 1), ("u", 1, 1)]
    book.counts_are_right()
    assert book.probe.count("jobs") == 2
    assert ADMIN.is_admin
    book.close()
