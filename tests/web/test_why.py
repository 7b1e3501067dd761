"""Why a job does not run, as the API says it: what is set for its type, and what would change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from tests.fixtures.local import LocalServer, open_local
from tests.web.calls import assert_problem


async def why(local: LocalServer, job_id: int) -> Any:
    status, answer = await local.call("GET", f"/api/jobs/{job_id}/waiting")
    assert (status, answer["job_id"]) == (200, job_id)
    assert answer["waiting"] == (await local.job(job_id)).get("waiting"), "the job itself shows the same"
    return answer["waiting"]


async def set_for(local: LocalServer, **body: Any) -> None:
    assert (await local.call("PATCH", "/api/types/pdf", body))[0] == 200


async def test_the_rules_of_its_type(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(4):
        await local.submit(b"%d" % number)
    await local.register()
    await set_for(local, max_running=2)
    assert len((await local.claim(limit=4))["jobs"]) == 2
    assert await why(local, 1) is None, "it runs"
    found = await why(local, 4)
    assert (found["code"], found["held_by"]) == ("limit", [1, 2])
    assert found["change"][0] == "blobforge types set pdf --max-running 3"
    await set_for(local, paused=True, reason="broken")
    found = await why(local, 4)
    assert (found["code"], found["change"]) == ("paused", ["blobforge types resume pdf"])
    await set_for(local, paused=None, max_running=None, rate={"count": 1, "seconds": 60})
    assert len((await local.claim(limit=4))["jobs"]) == 1
    found = await why(local, 4)
    assert (found["code"], found["ahead"], "until" in found) == ("rate", 0, True)
    await trio.sleep(61)
    assert (await why(local, 4))["code"] == "next"
    assert_problem(await local.call("GET", "/api/jobs/99/waiting"), 404, "no-such-job")


async def test_how_long_its_source_is_awaited(tmp_path: Path, autojump_clock: Any) -> None:
    """A change of the job does not put it off."""
    async with open_local(tmp_path / "data", upload_timeout=3600) as local:
        body = {"type": "pdf", "source_hash": "ab" * 32}
        job_id = (await local.call("POST", "/api/jobs", body))[1]["job_id"]
        until = (await why(local, job_id))["until"]
        await trio.sleep(600)
        await local.call("PATCH", f"/api/jobs/{job_id}/tags", {"add": ["b"]})
        found = await why(local, job_id)
        assert (found["code"], found["until"][:19]) == ("source", until[:19])
        await trio.sleep(3100)
        assert (await local.job(job_id))["status"] == "dead"
