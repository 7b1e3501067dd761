"""Types of jobs: how many there may be, and when one makes room for another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

from tests.fixtures.local import open_local


async def test_job_types_are_kinds_of_work_and_not_labels(tmp_path: Path, autojump_clock: Any) -> None:
    """16,000 of them made one list take 79 seconds."""
    async with open_local(tmp_path / "data", max_types=3) as local:
        for number in range(3):
            assert (await local.submit(str(number).encode(), type=f"t{number}")) == number + 1
        body = {"type": "one-more", "source_hash": "0" * 64}
        status, problem = await local.call("POST", "/api/jobs", body)
        assert (status, problem["field"]) == (422, "type")
        assert "BLOBFORGE_MAX_TYPES" in problem["error"]
        await local.submit(b"again", type="t0")  # those that are known go on


async def test_types_without_jobs_make_room_for_others(tmp_path: Path, autojump_clock: Any) -> None:
    """Who had once used up the types could never have another one, whatever was deleted."""
    async with open_local(tmp_path / "data", max_types=2) as local:
        first = await local.submit(b"1", type="a")
        await local.submit(b"2", type="b")
        assert (await local.call("POST", "/api/jobs", {"type": "c", "source_hash": "0" * 64}))[0] == 422
        assert (await local.call("DELETE", f"/api/jobs/{first}"))[0] == 204
        assert await local.submit(b"3", type="c") == 3
        assert (await local.call("POST", "/api/jobs", {"type": "a", "source_hash": "0" * 64}))[0] == 422
        await trio.sleep(3700)  # and the metrics know no more types than there may be
        _, text = await local.call("GET", "/metrics")
        assert b'blobforge_jobs{priority="3",status="pending",type="c"} 1.0' in text
        assert b'type="a",' not in text.split(b"# HELP blobforge_jobs ")[1].split(b"# HELP")[0]
        assert b'status="pending",type="a"' not in text
