"""What workers and submitters attach to a job: how much of it is kept, and that it is shown whatever it says."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.lowlevel

from tests.fixtures.local import LocalServer


async def test_what_is_kept_of_progress_metadata_and_result_is_bounded(
    local: LocalServer, autojump_clock: Any
) -> None:
    """300 heartbeats filled 270 MB of memory."""
    job_id = await local.submit()
    await local.register()
    grant = await local.claim()
    large = {"text": "x" * 100_000}
    beat = {"job_id": job_id, "progress": large}
    assert (await local.call("POST", "/api/workers/w1/heartbeat", beat))[0] == 200  # a sign of life all the same
    assert "100011 bytes" in (await local.job(job_id))["progress"]["message"]
    body = {"worker_id": "w1", "lease": grant["lease"], "result": large}
    assert (await local.call("POST", f"/api/jobs/{job_id}/complete", body))[0] == 200  # kept aside, out of every list
    listed = (await local.call("GET", "/api/jobs"))[1]["jobs"][0]
    assert "result" not in listed
    assert listed["result_size"] > 100_000
    submit = {"type": "pdf", "source_hash": "1" * 64, "metadata": large}
    status, problem = await local.call("POST", "/api/jobs", submit)
    assert (status, problem["field"]) == (422, "metadata")


@pytest.mark.parametrize(
    "progress",
    [b'{"percent": %s}' % (b"9" * 400), b'{"done": %s, "total": 1}' % (b"9" * 400)],
    ids=["percent", "done"],
)
async def test_progress_beyond_any_float_breaks_no_list(
    local: LocalServer, autojump_clock: Any, progress: bytes
) -> None:
    """One heartbeat of one worker, and nobody saw the list of jobs, the overview or the job any more."""
    job_id = await local.submit()
    await local.register()
    await local.claim()
    await trio.sleep(5)
    body = b'{"jobs": [{"job_id": %d, "progress": %s}]}' % (job_id, progress)
    assert (await local.call("POST", "/api/workers/w1/heartbeat", body))[0] == 200
    await trio.sleep(5)
    for path in ("/api/jobs", f"/api/jobs/{job_id}", "/api/stats/attention", "/"):
        assert (await local.call("GET", path))[0] == 200, path
