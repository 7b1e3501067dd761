"""Types of jobs: how many there may be, and when one makes room for another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

from tests.fixtures.house import open_house


async def test_job_types_are_kinds_of_work_and_not_labels(tmp_path: Path, autojump_clock: Any) -> None:
    """16,000 of them made one list take 79 seconds."""
    async with open_house(tmp_path / "data", max_types=3) as house:
        for number in range(3):
            assert (await house.submit(str(number).encode(), type=f"t{number}")) == number + 1
        body = {"type": "one-more", "source_hash": "0" * 64}
        status, problem = await house.call("POST", "/api/jobs", body)
        assert (status, problem["field"]) == (422, "type")
        assert "BLOBFORGE_MAX_TYPES" in problem["error"]
        await house.submit(b"again", type="t0")  # those that are known go on


async def test_types_without_jobs_make_room_for_others(tmp_path: Path, autojump_clock: Any) -> None:
    """Who had once used up the types could never have another one, whatever was deleted."""
    async with open_house(tmp_path / "data", max_types=2) as house:
        first = await house.submit(b"1", type="a")
        await house.submit(b"2", type="b")
        assert (await house.call("POST", "/api/jobs", {"type": "c", "source_hash": "0" * 64}))[0] == 422
        assert (await house.call("DELETE", f"/api/jobs/{first}"))[0] == 204
        assert await house.submit(b"3", type="c") == 3
        assert (await house.call("POST", "/api/jobs", {"type": "a", "source_hash": "0" * 64}))[0] == 422
        await trio.sleep(3700)  # and the metrics know no more types than there may be
        _, text = await house.call("GET", "/metrics")
        assert b'blobforge_jobs{priority="3",status="pending",type="c"} 1.0' in text
        assert b'type="a",' not in text.split(b"# HELP blobforge_jobs ")[1].split(b"# HELP")[0]
        assert b'status="pending",type="a"' not in text
