"""Labels in the API: what jobs require is kept, shown and changed, and said where no worker has it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
import trio
from msgspec.structs import replace

from blobforge.client import BatchAnswer, BatchItem, ServerTooOld, Submission
from blobforge.client.api import Endpoints
from blobforge.requirements import LONGEST, MOST_REQUIREMENTS
from tests.fixtures.local import LocalServer
from tests.web.calls import HEX, assert_problem


async def registered(local: LocalServer, worker: str, labels: Any) -> None:
    status, _ = await local.call("POST", "/api/workers/register", {"id": worker, "type": "pdf", "labels": labels})
    assert status == 200


async def given(local: LocalServer, worker: str) -> int | None:
    job = (await local.claim(worker))["job"]
    return None if job is None else int(job["id"])


async def test_what_a_job_requires_is_kept_and_shown(local: LocalServer, autojump_clock: Any) -> None:
    plain = await local.submit(b"plain", requires=[])
    some = await local.submit(b"some", requires=["memory_gib >= 32", "gpu", None, "gpu"])
    assert "requires" not in await local.job(plain)
    assert (await local.job(some))["requires"] == ["gpu", "memory_gib>=32"]
    _, listed = await local.call("GET", "/api/jobs")
    assert [each.get("requires") for each in listed["jobs"]] == [["gpu", "memory_gib>=32"], None]
    digest = await local.source(b"in a batch")
    body = {"jobs": [{"type": "pdf", "source_hash": digest, "requires": ["zone=eu"]}]}
    _, answer = await local.call("POST", "/api/jobs/batch", body)
    assert (await local.job(answer["items"][0]["job_id"]))["requires"] == ["zone=eu"]


@pytest.mark.parametrize(
    "requires",
    ["gpu", {"gpu": True}, [""], ["a>=b"], ["a b"], ["a" * (LONGEST + 1)], [1],
     [f"l{number}" for number in range(MOST_REQUIREMENTS + 1)],
     [f"l{number}={'x' * 190}" for number in range(MOST_REQUIREMENTS)],
     [f"{name}={'📄' * 190}" for name in "lmn"]],
)  # fmt: skip
async def test_what_cannot_be_required_is_refused(local: LocalServer, autojump_clock: Any, requires: Any) -> None:
    body = {"type": "pdf", "source_hash": HEX, "requires": requires}
    problem = assert_problem(await local.call("POST", "/api/jobs", body), 422, "invalid")
    assert "requires" in problem["detail"]
    job_id = await local.submit()
    change = {"requires": requires}
    assert (await local.call("PATCH", f"/api/jobs/{job_id}/requires", change))[0] == 422
    assert (await local.call("POST", "/api/jobs/requires", {"ids": [job_id], **change}))[0] == 422
    assert "requires" not in await local.job(job_id)


async def test_a_duplicate_changes_nothing_of_it_and_is_told(local: LocalServer, autojump_clock: Any) -> None:
    digest = await local.source(b"a document")

    async def submitted(requires: Any) -> Any:
        return (await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": digest, "requires": requires}))[
            1
        ]

    first = await submitted(["gpu"])
    assert first["requires"] == ["gpu"]
    again = await submitted(["gpu"])
    assert (again["job_id"], again["existing"], again["requires"]) == (first["job_id"], True, ["gpu"])
    for other in (["zone=eu"], None):
        assert (await submitted(other))["requires"] == ["gpu"]
    assert (await local.job(first["job_id"]))["requires"] == ["gpu"]


async def test_it_is_changed_for_one_and_for_many_and_put_back(local: LocalServer, autojump_clock: Any) -> None:
    await registered(local, "w1", ["gpu"])
    ids = [await local.submit(b"%d" % number, requires=["zone=eu"]) for number in range(3)]
    assert await given(local, "w1") is None
    status, one = await local.call("PATCH", f"/api/jobs/{ids[0]}/requires", {"requires": ["gpu"], "undo": True})
    assert status == 200
    assert (await local.call("POST", "/api/jobs/undo", {"undo": one["undo"]}))[1] == {"matched": 1, "changed": 1}
    assert (await local.job(ids[0]))["requires"] == ["zone=eu"]
    dry = {"type": "pdf", "requires": ["gpu"], "dry_run": True}
    assert (await local.call("POST", "/api/jobs/requires", dry))[1]["changed"] == 3
    many = {"ids": ids[1:], "requires": ["gpu"], "undo": True}
    _, done = await local.call("POST", "/api/jobs/requires", many)
    assert (done["matched"], done["changed"]) == (2, 2)
    assert await given(local, "w1") == ids[1]
    assert (await local.call("PATCH", f"/api/jobs/{ids[2]}/requires", {"requires": []}))[0] == 200
    assert (await local.call("POST", "/api/jobs/undo", {"undo": done["undo"]}))[1] == {"matched": 2, "changed": 1}
    assert (await local.job(ids[1]))["requires"] == ["zone=eu"], "a job that runs, from its next attempt on"
    assert "requires" not in await local.job(ids[2]), "it was changed since"
    assert_problem(await local.call("PATCH", "/api/jobs/999/requires", {"requires": []}), 404, "no-such-job")


async def test_what_no_worker_has_is_said_where_it_waits_and_under_attention(
    local: LocalServer, autojump_clock: Any
) -> None:
    async def unmatched() -> Any:
        return (await local.call("GET", "/api/stats/attention"))[1]["unmatched"]

    both = [await local.submit(b"%d" % number, requires=["gpu", "zone=eu"]) for number in range(2)]
    await local.submit(b"with options", requires=["gpu", "zone=eu"], options={"dpi": 1})
    assert (await local.job(both[0]))["waiting"]["code"] == "no-worker"
    everything = {"type": "pdf", "requires": ["gpu", "zone=eu"], "pending": 3}
    assert await unmatched() == [{**everything, "lacking": ["gpu", "zone=eu"]}]
    await registered(local, "w1", {"gpu": True, "zone": "us"})
    waiting = (await local.job(both[0]))["waiting"]
    assert waiting["code"] == "labels"
    assert "It requires gpu, zone=eu; one worker is there for type pdf, and none has zone=eu." in waiting["text"]
    assert await unmatched() == [{**everything, "lacking": ["zone=eu"]}]
    await registered(local, "w2", ["zone=eu"])
    assert "none of them has all of these labels" in (await local.job(both[0]))["waiting"]["text"]
    assert await unmatched() == [{**everything, "lacking": []}]
    await local.call("POST", "/api/workers/w2/drain")
    assert await unmatched() == [{**everything, "lacking": ["zone=eu"]}]
    await registered(local, "w2", ["gpu", "zone=eu"])
    assert (await local.job(both[0]))["waiting"]["code"] == "next"
    assert await unmatched() == []
    assert [await given(local, worker) for worker in ("w1", "w2")] == [None, both[0]]


async def test_a_retry_is_kept_from_a_worker_only_for_one_that_has_the_labels(
    local: LocalServer, autojump_clock: Any
) -> None:
    await registered(local, "w1", ["gpu"])
    await registered(local, "w2", [])
    job_id = await local.submit(requires=["gpu"])
    assert await given(local, "w1") == job_id
    await local.call("POST", f"/api/jobs/{job_id}/fail", {"worker_id": "w1", "error": "no", "retryable": False})
    await local.call("POST", f"/api/jobs/{job_id}/retry", {})
    assert await given(local, "w2") is None
    assert await given(local, "w1") == job_id, "there is no other one for it"
    await registered(local, "w2", ["gpu"])
    await local.call("POST", f"/api/jobs/{job_id}/fail", {"worker_id": "w1", "error": "no", "retryable": False})
    await local.call("POST", f"/api/jobs/{job_id}/retry", {})
    assert await given(local, "w1") is None
    assert await given(local, "w2") == job_id


async def test_a_job_that_gets_another_type_requires_the_same(local: LocalServer, autojump_clock: Any) -> None:
    await registered(local, "w1", ["gpu"])
    await registered(local, "w2", [])
    job_id = await local.submit(requires=["gpu"])
    assert (await local.call("POST", f"/api/jobs/{job_id}/retype", {"to": "ocr"}))[0] == 200
    claims = [await local.claim(worker, job_types=["ocr"]) for worker in ("w2", "w1")]
    assert [each["job"] and each["job"]["id"] for each in claims] == [None, job_id]


async def test_a_label_with_any_number_of_digits_ends_no_server(local: LocalServer, autojump_clock: Any) -> None:
    await registered(local, "w1", {"cuda_version": "9" * 5000})
    given_: list[Any] = []

    async def poll() -> None:
        given_.append((await local.claim("w1", wait=20))["job"])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(poll)
        await trio.sleep(1)
        job_id = await local.submit(requires=["cuda_version>=12"])
    assert given_ == [None]
    assert await given(local, "w1") is None
    assert (await local.call("GET", "/api/stats/attention"))[0] == 200
    await registered(local, "w2", {"cuda_version": "12.4"})
    assert await given(local, "w2") == job_id


async def test_jobs_are_found_by_what_they_require(local: LocalServer, autojump_clock: Any) -> None:
    all_ = [["gpu"], ["gpu", "memory_gib>=32"], ["memory_gib>=64"], []]
    jobs = [await local.submit(b"%d" % n, requires=requires) for n, requires in enumerate(all_)]
    await local.submit(b"of another type", type="png", requires=["zone=eu"])

    async def found(requiring: str) -> list[int]:
        status, answer = await local.call("GET", f"/api/jobs?type=pdf&requiring={quote(requiring)}")
        assert (status, answer["total"]) == (200, len(answer["jobs"]))
        return [jobs.index(each["id"]) for each in answer["jobs"]]

    assert await found("gpu") == [1, 0]
    assert await found("memory_gib") == [2, 1], "however compared"
    assert await found("memory_gib >= 32") == [1]
    assert await found("none") == [3]
    assert await found("zone==eu") == []
    assert (await local.call("GET", "/api/jobs?requiring=zone%3Deu"))[1]["total"] == 1
    problem = assert_problem(await local.call("GET", "/api/jobs?requiring=a%20b"), 422, "invalid", field="requiring")
    assert "`memory_gib>=32`" in problem["detail"]
    body = {"requiring": "gpu", "requires": ["gpu", "zone=eu"]}
    assert (await local.call("POST", "/api/jobs/requires", body | {"dry_run": True}))[1]["changed"] == 2
    assert (await local.call("POST", "/api/jobs/requires", body))[1]["changed"] == 2
    assert await found("zone=eu") == [1, 0]
    page = await local.http.open(
        "/jobs?requiring=gpu", headers={"Authorization": f"Bearer {local.parts.admin_token}"}
    )
    assert 'id="requiring" name="requiring" value="gpu"' in await page.get_data(as_text=True)


async def test_why_many_were_refused(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = local.parts.writer
    monkeypatch.setattr(writer, "_rules", replace(writer._rules, max_requirement_sets=1))
    jobs = [await local.submit(b"%d" % n, requires=["a"]) for n in range(2)]
    body = {"ids": jobs, "requires": ["b"]}
    _, answer = await local.call("POST", "/api/jobs/requires", body)
    assert (answer["changed"], answer["refused"]) == (0, 2)
    assert "different sets of requirements" in answer["reason"]
    number = (await local.call("POST", "/api/jobs/requires", body | {"background": True}))[1]["operation"]
    await trio.sleep(5)
    _, shown = await local.call("GET", f"/api/operations/{number}")
    assert (shown["state"], shown["changed"], shown["reason"]) == ("completed", 0, answer["reason"])


async def test_the_answer_says_what_the_job_requires(local: LocalServer, autojump_clock: Any) -> None:
    """An older server says nothing of it: that is how a client knows."""
    digest = await local.source(b"a document")
    body = {"type": "pdf", "source_hash": digest, "requires": ["gpu"]}
    for existing in (False, True):
        _, answer = await local.call("POST", "/api/jobs", body)
        assert (answer["existing"], answer["requires"]) == (existing, ["gpu"])


class OlderServer(Endpoints):
    """It knows nothing of requirements."""

    def __init__(self) -> None:
        self.cancelled: list[int] = []

    async def _post(self, path: str, kind: Any, body: Any, **_: Any) -> Any:
        if path == "/api/jobs/cancel":
            self.cancelled += body["ids"]
            return kind()
        items = [BatchItem(job_id=n, existing=n == 1) for n, _ in enumerate(body.get("jobs", ()), 1)]
        return BatchAnswer(items=items) if items else Submission(job_id=7)


async def test_a_client_notices_that_the_server_knows_no_requirements() -> None:
    client = OlderServer()
    await client.submit_job("pdf", HEX)
    with pytest.raises(ServerTooOld, match="1 submitted without them, and cancelled"):
        await client.submit_job("pdf", HEX, requires=["gpu"])
    job = {"type": "pdf", "source_hash": HEX}
    with pytest.raises(ServerTooOld, match="1 submitted"):
        await client.submit_jobs([job | {"requires": ["gpu"]}, job | {"requires": ["gpu"]}, job])
    assert client.cancelled == [7, 2]
