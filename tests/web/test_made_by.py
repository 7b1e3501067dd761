"""What made a result: said by workers, kept with each attempt, and filtered by."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest

from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem


async def made(local: LocalServer, content: bytes, converter: str | None, *, at: str = "complete") -> int:
    """A completed job; its worker says what it works with at that moment."""
    said = {"converter": converter} if converter is not None else {}
    job_id = await local.submit(content)
    body: dict[str, Any] = {"id": "w1", "type": "pdf"} | (said if at == "register" else {})
    assert (await local.call("POST", "/api/workers/register", body))[0] == 200
    body = {"worker_id": "w1", "job_type": "pdf"} | (said if at == "claim" else {})
    _, answer = await local.call("POST", "/api/jobs/claim", body)
    assert answer["job"]["id"] == job_id
    body = {"worker_id": "w1", "result": {"of": converter}} | (said if at == "complete" else {})
    assert (await local.call("POST", f"/api/jobs/{job_id}/complete", body))[0] == 200
    return job_id


async def listed(local: LocalServer, made_by: str, **more: str) -> tuple[list[int], int, bool]:
    status, page = await local.call("GET", f"/api/jobs?{urlencode({'made_by': made_by, **more})}")
    assert status == 200, page
    return sorted(job["id"] for job in page["jobs"]), page["total"], page["total_exact"]


@pytest.mark.parametrize("at", ["register", "claim", "complete"])
async def test_each_attempt_has_its_converter_and_the_job_that_of_its_result(
    local: LocalServer, autojump_clock: Any, at: str
) -> None:
    job_id = await made(local, b"one", "marker 1.3.2RC1", at=at)
    job = await local.job(job_id)
    assert job["made_by"] == "marker 1.3.2rc1"
    assert [each.get("converter") for each in job["attempt_history"]] == ["marker 1.3.2rc1"]


async def test_a_rerun_that_fails_leaves_the_former_result_and_what_made_it(
    local: LocalServer, autojump_clock: Any
) -> None:
    job_id = await made(local, b"one", "marker 1.2")
    result = {"worker_id": "w1", "result": {"pages": 1}}
    await local.call("POST", f"/api/jobs/{job_id}/retry", {})
    await local.call("POST", "/api/jobs/claim", {"worker_id": "w1", "job_type": "pdf", "converter": "marker 1.3"})
    await local.call("POST", f"/api/jobs/{job_id}/complete", result)
    await local.call("POST", f"/api/jobs/{job_id}/retry", {})
    await local.call("POST", "/api/jobs/claim", {"worker_id": "w1", "job_type": "pdf", "converter": "marker 2.0"})
    failed = {"worker_id": "w1", "error": "no", "retryable": False}
    assert (await local.call("POST", f"/api/jobs/{job_id}/fail", failed))[0] == 200
    job = await local.job(job_id)
    assert (job["status"], job["made_by"], job["result"]) == ("dead", "marker 1.3", {"pages": 1})
    said = [each["converter"] for each in job["attempt_history"]]
    assert said == ["marker 1.2", "marker 1.3", "marker 2.0"]
    assert await listed(local, "marker<1.4") == ([job_id], 1, True)
    assert await listed(local, "marker>=2") == ([], 0, True)


async def test_a_list_takes_versions_with_an_exact_total(local: LocalServer, autojump_clock: Any) -> None:
    said = ["marker 1.2", "marker 1.3.0", "marker 1.3.7", "Marker 2.0rc1", "docling 1.0", None]
    ids = [await made(local, str(number).encode(), each) for number, each in enumerate(said)]
    waiting = await local.submit(b"waits")
    for wanted, places in {
        "marker<1.3": [0],
        "marker!=1.3.*": [0, 3],
        "marker==1.3.*": [1, 2],
        "marker>=1.3,<2.0a1": [1, 2],
        "marker": [0, 1, 2, 3],
        "docling": [4],
        "other": [],
        "none": [5],
    }.items():
        expected = [ids[place] for place in places]
        assert await listed(local, wanted) == (expected, len(expected), True), wanted
        assert await listed(local, wanted, status="completed", type="pdf") == (expected, len(expected), True)
        assert await listed(local, wanted, status="pending") == ([], 0, True)
    assert waiting not in (await listed(local, "none"))[0]
    _, page = await local.call("GET", "/api/jobs?made_by=marker&limit=3")
    assert (page["total"], len(page["jobs"])) == (4, 3)
    _, rest = await local.call("GET", f"/api/jobs?made_by=marker&cursor={page['next_cursor']}")
    assert sorted(job["id"] for job in page["jobs"] + rest["jobs"]) == ids[:4]


async def test_many_are_made_again_by_what_made_them(local: LocalServer, autojump_clock: Any) -> None:
    old = [await made(local, b"old %d" % number, "marker 1.2") for number in range(3)]
    new = await made(local, b"new", "marker 1.3")
    dry = {"made_by": "marker<1.3", "type": "pdf", "dry_run": True}
    status, answer = await local.call("POST", "/api/jobs/retry", dry)
    assert (status, answer["matched"], answer["changed"]) == (200, 3, 3)
    assert (await local.call("POST", "/api/jobs/retry", {"made_by": "marker<1.3"}))[1]["changed"] == 3
    assert [(await local.job(job_id))["status"] for job_id in (*old, new)] == ["pending"] * 3 + ["completed"]
    assert await listed(local, "marker<1.3") == (old, 3, True), "their results are served until then"


@pytest.mark.parametrize("said", ["marker", "marker one", "<1.3", "", "marker\x001.3", 7])
async def test_what_names_no_converter_is_refused(local: LocalServer, autojump_clock: Any, said: Any) -> None:
    body = {"id": "w1", "type": "pdf", "converter": said}
    assert_problem(await local.call("POST", "/api/workers/register", body), 422, "invalid")
    many = {"made_by": f"{said}<", "dry_run": True}
    assert_problem(await local.call("POST", "/api/jobs/retry", many), 422, "invalid")


@pytest.mark.parametrize("wanted", ["marker<<", "<1.3", "marker 1.3", "marker<1.3,"])
async def test_versions_that_are_none_are_refused_in_words(
    local: LocalServer, autojump_clock: Any, wanted: str
) -> None:
    answers = [
        await local.call("GET", f"/api/jobs?{urlencode({'made_by': wanted})}"),
        await local.call("POST", "/api/jobs/retry", {"made_by": wanted}),
    ]
    for answer in answers:
        problem = assert_problem(answer, 422, "invalid", field="made_by")
        assert problem["detail"].startswith("made_by: Expected a name and the versions (PEP 440), as `marker<1.3`")
    status, refused = await local.call("POST", "/api/workers/register", {"id": "w", "type": "pdf", "converter": "x"})
    assert status == 422
    assert refused["detail"] == "converter: Expected a name and a version (PEP 440), as `marker 1.3.2`."
