"""What the dashboard reads and does, over HTTP: charts, causes, what needs attention, filters, undo, timelines."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import trio

from tests.fixtures.local import LocalServer, open_local, virtual_now
from tests.web.calls import assert_problem, finish, put_output, raw, state, token, worker
from web.api.encode import rfc3339


async def get(local: LocalServer, path: str, **query: Any) -> Any:
    status, answer = await local.call("GET", path + (f"?{urlencode(query)}" if query else ""))
    assert status == 200, answer
    return answer


async def post(local: LocalServer, path: str, **body: Any) -> Any:
    status, answer = await local.call("POST", path, body)
    assert status == 200, answer
    return answer


async def ids(local: LocalServer, **query: Any) -> list[int]:
    return [job["id"] for job in (await get(local, "/api/jobs", **query))["jobs"]]


async def fail(local: LocalServer, error: str, **fields: Any) -> int:
    job_id = int((await local.claim())["job"]["id"])
    await post(local, f"/api/jobs/{job_id}/fail", worker_id="w1", error=error, **fields)
    return job_id


# ------------------------------------------------------------------ how many workers


async def test_how_many_workers_there_should_be_and_who_is_idle(local: LocalServer, autojump_clock: Any) -> None:
    empty = {"pending": 0, "running": 0, "online": 0, "busy": 0, "desired": 0, "idle": []}
    assert await get(local, "/api/scale") == empty
    for number in range(12):
        await local.submit(b"%d" % number)
    assert (await get(local, "/api/scale", type="pdf"))["desired"] == 1, "somebody has to begin"
    await local.register("w1")
    await local.register("w2")
    for _ in range(6):
        grant = await local.claim("w1")
        await trio.sleep(20)
        await put_output(local, grant["output_key"])
        job_id = grant["job"]["id"]
        await post(local, f"/api/jobs/{job_id}/complete", worker_id="w1", output_key=grant["output_key"])
    await local.claim("w1")
    found = await get(local, "/api/scale", type="pdf", drain_seconds=25)
    assert found | {"desired": 0} == {
        "pending": 5, "running": 1, "online": 2, "busy": 1, "desired": 0, "idle": ["w2"]
    }  # fmt: skip
    assert 4 <= found["desired"] <= 6
    assert (await get(local, "/api/scale", type="pdf"))["desired"] == 1
    assert await get(local, "/api/scale", type="other") == empty
    await local.call("POST", "/api/workers/w1/drain", {})
    found = await get(local, "/api/scale")
    assert (found["online"], found["busy"], found["idle"]) == (1, 1, ["w2"])


@pytest.mark.parametrize("query", ["drain_seconds=0", "drain_seconds=x", "drain_seconds=1e9", f"type={'x' * 200}"])
async def test_what_is_asked_of_the_scale_is_looked_at(local: LocalServer, autojump_clock: Any, query: str) -> None:
    assert_problem(await local.call("GET", f"/api/scale?{query}"), 422, "invalid")


# ------------------------------------------------------------------ charts and what is ahead


async def test_history(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    for number in range(3):
        await local.submit(b"%d" % number)
    await trio.sleep(90)
    await finish(local)
    for window, step, count in (("1h", 60, 60), ("24h", 900, 96), ("7d", 3600, 168)):
        found = await get(local, "/api/stats/history", window=window)
        assert (found["window"], found["step_seconds"], found["type"]) == (window, step, None)
        series = [found["at"], found["workers"], *found["flows"].values(), *found["levels"].values()]
        assert {len(each) for each in series} == {count}
        assert sum(each or 0 for each in found["flows"]["submitted"]) == 3
        assert sum(each or 0 for each in found["flows"]["completed"]) == 1
        assert found["levels"]["pending"][-1] == 2
        assert found["workers"][-1] == 1
    assert (await get(local, "/api/stats/history"))["window"] == "1h"
    other = await get(local, "/api/stats/history", type="nothing")
    assert sum(each or 0 for each in other["flows"]["submitted"]) == 0


async def test_history_wants_a_window_that_there_is(local: LocalServer, autojump_clock: Any) -> None:
    assert_problem(await local.call("GET", "/api/stats/history?window=2h"), 422, "invalid", field="window")


async def test_samples_are_taken_each_minute_and_stop_with_the_server(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path) as first:
        await first.submit()
        await trio.sleep(300)
    await trio.sleep(600)
    async with open_local(tmp_path) as local:
        await trio.sleep(120)
        pending = (await get(local, "/api/stats/history"))["levels"]["pending"]
        known = [index for index, depth in enumerate(pending) if depth is not None]
        assert 7 <= len(known) <= 10
        gap = [after - before for before, after in pairwise(known) if after - before > 1]
        assert gap
        assert len(gap) == 1, "one gap, in which the server was down"
        assert 9 <= gap[0] <= 11


async def test_the_outlook_and_the_expected_end(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    assert (await get(local, "/api/stats/outlook"))["words"] == "Nothing waits and nothing runs."
    for number in range(9):
        await local.submit(b"%d" % number)
    assert (await get(local, "/api/stats/outlook"))["low_seconds"] is None
    for _ in range(6):
        grant = await local.claim()
        await trio.sleep(100)
        await put_output(local, grant["output_key"])
        await post(local, f"/api/jobs/{grant['job']['id']}/complete", worker_id="w1", output_key=grant["output_key"])
    job_id = (await local.claim())["job"]["id"]
    found = await get(local, "/api/stats/outlook")
    assert 100 < found["low_seconds"] < found["high_seconds"] < 500
    assert "last 6 that were completed" in found["words"]
    job = await local.job(job_id)
    assert job["expected_end"]["by"] == "durations"
    assert rfc3339(virtual_now()) < job["expected_end"]["earliest"] < job["expected_end"]["latest"]
    assert (await get(local, "/api/jobs", status="running"))["jobs"][0]["expected_end"] == job["expected_end"]
    assert "expected_end" not in (await local.job(1))
    await trio.sleep(50)
    beat = {"job_id": job_id, "progress": {"percent": 10}}
    await post(local, "/api/workers/w1/heartbeat", **beat)
    slow = await local.job(job_id)
    assert slow["expected_end"]["by"] == "progress"
    assert slow["expected_end"]["earliest"] > job["expected_end"]["latest"]
    assert slow["progress_at"] == rfc3339(virtual_now())


# ------------------------------------------------------------------ causes, and bulk actions on them


async def test_failures_by_cause_and_actions_on_the_group(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    for number in range(4):
        await local.submit(b"%d" % number)
    for number in range(3):
        await fail(local, f"page {number} is damaged", kind="Damaged", retryable=False)
    await fail(local, "out of memory", kind="MemoryError")
    found = await get(local, "/api/failures")
    damaged, memory = found["failures"]
    assert found["total"] == 2
    assert (damaged["kind"], damaged["dead"], damaged["attempts"]) == ("Damaged", 3, 3)
    assert (memory["failed"], memory["dead"]) == (1, 0)
    assert await ids(local, failure=damaged["id"]) == [3, 2, 1]
    assert (await local.job(1))["failure"] == damaged["id"]
    dry = await post(local, "/api/jobs/retry", failure=damaged["id"], dry_run=True)
    assert (dry["matched"], dry["changed"]) == (3, 3)
    assert await post(local, "/api/jobs/retry", failure=damaged["id"], status="dead") == dry | {"dry_run": False}
    assert {(await local.job(number))["status"] for number in (1, 2, 3)} == {"pending"}
    assert [each["id"] for each in (await get(local, "/api/failures", open="true"))["failures"]] == [memory["id"]]
    assert len((await get(local, "/api/failures", limit=1))["failures"]) == 1


async def test_a_cause_says_at_which_workers(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(5):
        await local.submit(b"%d" % number)
    for name in ("w2", "w1", "w1", "w3"):
        await local.register(name)
        job_id = (await local.claim(name))["job"]["id"]
        error = {"worker_id": name, "error": "no", "kind": "A" if name != "w3" else "B", "retryable": False}
        await post(local, f"/api/jobs/{job_id}/fail", **error)
    a, _ = (await get(local, "/api/failures"))["failures"]
    found = await get(local, f"/api/failures/{a['id']}")
    assert found == a | {"workers": [{"worker_id": "w1", "jobs": 2}, {"worker_id": "w2", "jobs": 1}]}
    page = await (await raw(local, "GET", f"/jobs?failure={a['id']}")).get_data(as_text=True)
    shown = re.findall(r'href="/workers/(w.)">.*?</a> <strong>(\d)', page)
    assert shown == [("w1", "2"), ("w2", "1")]
    assert_problem(await local.call("GET", "/api/failures/99"), 404, "no-such-failure")
    # One that another worker has in its hands by now is not that one's.
    await post(local, "/api/jobs/retry", failure=a["id"])
    assert (await local.claim("w3"))["job"]["id"]
    assert [each["worker_id"] for each in (await get(local, f"/api/failures/{a['id']}"))["workers"]] != ["w3"]


async def test_what_needs_attention(local: LocalServer, autojump_clock: Any) -> None:
    assert await get(local, "/api/stats/attention") == {
        "dead_jobs": 0, "dead": [], "workers_lost": [], "workers_contested": [], "queues": [], "standing_still": [],
        "limits": [], "silent": [], "paused": [], "unmatched": [], "quarantined": [], "webhooks": [],
        "backup": (await get(local, "/api/health"))["backup"], "store": [],
    }  # fmt: skip
    await local.register()
    await local.register("w2")
    for number in range(3):
        await local.submit(b"%d" % number)
    await trio.sleep(1)
    await local.submit(b"x", type="ocr")
    await fail(local, "damaged", retryable=False)
    await local.claim("w2")
    still = (await local.claim("w1"))["job"]["id"]
    for minute in range(60):  # w1 beats, and its job makes no progress; w2 is silent
        await post(local, "/api/workers/w1/heartbeat", job_id=still, progress={"percent": 1 + (minute == 0)})
        await trio.sleep(60)
    found = await get(local, "/api/stats/attention")
    assert found["dead_jobs"] == 1
    assert [each["dead"] for each in found["dead"]] == [1]
    assert [(each["id"], each["lost"], each["running"]) for each in found["workers_lost"]] == [("w2", 1, [])]
    assert [(each["type"], each["pending"], each["has_worker"]) for each in found["queues"]] == [
        ("pdf", 1, True),
        ("ocr", 1, False),
    ]
    (job,) = found["standing_still"]
    assert (job["job_id"], job["worker_id"]) == (still, "w1")
    assert 3400 < job["seconds"] < 3601


# ------------------------------------------------------------------ filters


async def test_filters_of_the_list(local: LocalServer, autojump_clock: Any) -> None:
    start = virtual_now()
    await local.submit(b"1", priority=1)
    await trio.sleep(7200)
    await local.submit(b"2", priority=5)
    await trio.sleep(7200)
    await local.submit(b"3", priority=5, type="png")
    await post(local, "/api/jobs/1/cancel")
    middle, end = rfc3339(start + 3_600_000), rfc3339(virtual_now() + 1000)
    assert await ids(local, priority=5) == [3, 2]
    assert await ids(local, priority=5, type="pdf") == [2]
    assert await ids(local, created_since=middle) == [3, 2]
    assert await ids(local, created_until=middle) == [1]
    assert await ids(local, created_since=middle, created_until=rfc3339(start + 3 * 3_600_000)) == [2]
    assert await ids(local, updated_since=rfc3339(start + 3 * 3_600_000)) == [1, 3]
    assert await ids(local, created_since=end) == []
    assert await ids(local, created_since="2026-11-18T13:00:00+01:00") != []
    page = await get(local, "/api/jobs", priority=5)
    assert (page["total"], page["total_exact"]) == (2, True)
    page = await get(local, "/api/jobs", created_since=middle, limit=1)
    assert (page["total"], page["total_exact"]) == (2, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("priority", "6"), ("failure", "0"), ("created_since", "yesterday"), ("updated_until", "2026-11-18T13:00:00")],
)
async def test_a_filter_that_is_none(local: LocalServer, autojump_clock: Any, name: str, value: str) -> None:
    assert_problem(await local.call("GET", f"/api/jobs?{name}={value}"), 422, "invalid", field=name)


async def test_bulk_actions_take_the_same_filters(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"1", priority=1)
    await trio.sleep(3600)
    since = rfc3339(virtual_now())
    await local.submit(b"2", priority=5)
    await local.submit(b"3", priority=1)
    dry = await post(local, "/api/jobs/cancel", created_since=since, only_priority=1, dry_run=True)
    assert (dry["matched"], dry["changed"]) == (1, 1)
    await post(local, "/api/jobs/priority", created_since=since, only_priority=1, priority=4)
    assert [(await local.job(number))["priority"] for number in (1, 2, 3)] == [1, 5, 4]


# ------------------------------------------------------------------ undo


async def test_a_bulk_cancellation_can_be_undone(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    for number in range(4):
        await local.submit(b"%d" % number)
    running = (await local.claim())["job"]["id"]
    done = await post(local, "/api/jobs/cancel", type="pdf", undo=True)
    assert done["changed"] == 4
    # One of them moves on before: somebody brings it back, and cancels it again.
    await post(local, "/api/jobs/3/retry")
    await trio.sleep(1)
    await post(local, "/api/jobs/3/cancel")
    assert await post(local, "/api/jobs/undo", undo=done["undo"]) == {"matched": 4, "changed": 3}
    assert [(await local.job(number))["status"] for number in (1, 2, 3, 4)] == [
        "pending", "pending", "cancelled", "pending",
    ]  # fmt: skip
    assert running == 1
    again = await local.call("POST", "/api/jobs/undo", {"undo": done["undo"]})
    assert_problem(again, 404, "no-such-undo")
    assert (await local.claim())["job"]["id"] == 1, "what goes back can be claimed"


async def test_a_change_of_priority_can_be_undone(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(3):
        await local.submit(b"%d" % number, priority=number + 2)
    done = await post(local, "/api/jobs/priority", type="pdf", priority=4, undo=True)
    assert done["changed"] == 2
    await post(local, "/api/jobs/1/priority", priority=1)  # moved on
    assert await post(local, "/api/jobs/undo", undo=done["undo"]) == {"matched": 2, "changed": 1}
    assert [(await local.job(number))["priority"] for number in (1, 2, 3)] == [1, 3, 4]


async def test_one_job_can_be_undone_too(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    assert await post(local, "/api/jobs/1/cancel") == {"status": "cancelled"}
    await post(local, "/api/jobs/1/retry")
    answer = await post(local, "/api/jobs/1/cancel", undo=True)
    assert await post(local, "/api/jobs/undo", undo=answer["undo"]) == {"matched": 1, "changed": 1}
    answer = await post(local, "/api/jobs/1/priority", priority=1, undo=True)
    await post(local, "/api/jobs/undo", undo=answer["undo"])
    job = await local.job(1)
    assert (job["status"], job["priority"]) == ("pending", 3)
    same = await post(local, "/api/jobs/1/priority", priority=3, undo=True)
    assert same == {"status": "updated"}, "nothing was changed, so nothing can be undone"


async def test_undo_has_its_time(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    answer = await post(local, "/api/jobs/1/cancel", undo=True)
    await trio.sleep(601)
    assert_problem(await local.call("POST", "/api/jobs/undo", {"undo": answer["undo"]}), 404, "no-such-undo")
    await trio.sleep(7200)
    assert "undos (" not in state(local)
    assert_problem(await local.call("POST", "/api/jobs/undo", {"undo": "what?"}), 422, "invalid", field="undo")


async def test_more_than_a_page_is_undone(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.api.bulk.PAGE", 3)
    for number in range(9):
        await local.submit(b"%d" % number)
    done = await post(local, "/api/jobs/cancel", status="pending", undo=True)
    assert done["changed"] == 9
    assert await post(local, "/api/jobs/undo", undo=done["undo"]) == {"matched": 9, "changed": 9}


async def test_a_repeated_cancellation_has_one_undo(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    headers = {"Authorization": f"Bearer {local.parts.admin_token}", "Idempotency-Key": "k"}
    body = {"type": "pdf", "undo": True}
    first = await local.call("POST", "/api/jobs/cancel", body, headers=headers)
    assert await local.call("POST", "/api/jobs/cancel", body, headers=headers) == first
    assert len(first[1]["undo"]) == 32
    assert "undo" not in await post(local, "/api/jobs/cancel", type="pdf", undo=True), "nothing was changed"
    assert "undo" not in await post(local, "/api/jobs/cancel", type="pdf", undo=True, dry_run=True)


# ------------------------------------------------------------------ one job


async def test_why_a_job_waits(local: LocalServer, autojump_clock: Any) -> None:
    async def code(job_id: int) -> str:
        return str((await local.job(job_id))["waiting"]["code"])

    await local.submit(b"1")
    await local.submit(b"2")
    assert await code(1) == "no-worker"
    await local.register()
    assert (await code(1), await code(2)) == ("next", "queued")
    await post(local, "/api/workers/w1/drain")
    assert await code(1) == "all-draining"
    await post(local, "/api/admin/workers/w1/enable")
    await fail(local, "no")
    waiting = (await local.job(1))["waiting"]
    assert waiting["code"] == "back-off"
    assert waiting["until"] == (await local.job(1))["not_before"]
    await local.claim()
    assert "waiting" not in await local.job(2)
    await trio.sleep(400)
    assert await code(2) == "all-offline"
    await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": "ab" * 32})
    assert await code(3) == "source"


async def test_a_jobs_timeline(local: LocalServer, autojump_clock: Any) -> None:
    headers = await worker(local, "w1")
    await local.submit()
    await trio.sleep(1)
    status, grant = await local.call("POST", "/api/jobs/claim", {"job_type": "pdf"}, headers=headers)
    assert status == 200, grant
    await trio.sleep(60)
    body = {"error": "page 3 is damaged\nand more", "retryable": False}
    await local.call("POST", "/api/jobs/1/fail", body, headers=headers)
    await trio.sleep(60)
    await post(local, "/api/jobs/1/retry", reset_attempts=True)
    await trio.sleep(60)
    await post(local, "/api/jobs/1/priority", priority=1)
    await trio.sleep(60)
    await post(local, "/api/jobs/1/cancel")
    events = await get(local, "/api/jobs/1/events")
    assert [event["what"] for event in events] == [
        "submitted", "started", "failed", "job.retry", "job.priority", "job.cancel",
    ]  # fmt: skip
    assert events[1]["worker_id"] == "w1"
    assert events[2]["text"] == "Attempt 1 failed: page 3 is damaged"
    assert events[3]["by"] == "first-start administrator"
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    await local.submit(b"2")
    await post(local, "/api/jobs/cancel", ids=[2])
    assert [event["what"] for event in await get(local, "/api/jobs/2/events")] == ["submitted", "cancelled"]
    assert_problem(await local.call("GET", "/api/jobs/99/events"), 404, "no-such-job")


# ------------------------------------------------------------------ workers, settings, the audit log


async def test_rates_of_a_worker(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    for number in range(4):
        await local.submit(b"%d" % number)
    for _ in range(3):
        await finish(local)
    await fail(local, "no")
    await trio.sleep(3600)
    (found,) = await get(local, "/api/workers")
    rates = found["rates"]
    assert (rates["completed"], rates["failed"], rates["lost"]) == (3, 1, 0)
    assert rates["failure_rate"] == 0.25
    assert 2.9 < rates["jobs_per_hour"] <= 3
    assert (await get(local, "/api/workers/w1"))["rates"] == rates
    await trio.sleep(86_400)
    assert (await get(local, "/api/workers/w1"))["rates"]["failure_rate"] is None


async def test_the_settings_in_force_hide_what_is_secret(tmp_path: Path, autojump_clock: Any) -> None:
    secret = "bf_" + "s" * 40
    async with open_local(tmp_path, admin_token=secret, max_attempts=7) as local:
        status, raw = await local.call("GET", "/api/admin/settings")
        assert status == 200
        rows = {row["name"]: row for row in raw}
        assert (rows["BLOBFORGE_MAX_ATTEMPTS"]["value"], rows["BLOBFORGE_MAX_ATTEMPTS"]["is_set"]) == ("7", True)
        assert rows["BLOBFORGE_ADMIN_TOKEN"]["value"] == "********"
        assert secret not in str(raw)
        reader = await token(local, "read", "submit")
        assert_problem(await local.call("GET", "/api/admin/settings", token=reader), 403, "scope-missing")


async def test_the_audit_log_has_filters(local: LocalServer, autojump_clock: Any) -> None:
    await worker(local, "w1")
    for number in range(4):
        await local.submit(b"%d" % number)
        await post(local, f"/api/jobs/{number + 1}/cancel")
    page = await get(local, "/api/admin/audit", action="job.*", limit=3)
    assert [entry["subject"] for entry in page["entries"]] == ["4", "3", "2"]
    page = await get(local, "/api/admin/audit", action="job.*", limit=3, cursor=page["next_cursor"])
    assert [entry["subject"] for entry in page["entries"]] == ["1"]
    assert (
        "next_cursor" not in page
        or not (await get(local, "/api/admin/audit", action="job.*", cursor=page["next_cursor"]))["entries"]
    )
    assert [entry["action"] for entry in (await get(local, "/api/admin/audit", subject="w1"))["entries"]] == [
        "worker.create"
    ]
    later = rfc3339(virtual_now() + 1000)
    assert (await get(local, "/api/admin/audit", since=later))["entries"] == []
    assert (await get(local, "/api/admin/audit", actor="nobody"))["entries"] == []
