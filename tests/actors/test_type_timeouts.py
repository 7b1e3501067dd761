"""How long a lease lasts may be set by type: its worker is told the interval that goes with it, and a worker that
does not heed that loses nothing by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from actors.messages import ChangeType
from blobforge.jobtype import TypeChanges
from tests.fixtures.local import LocalServer, open_local

HOUR = 3600.0
HEEDS = ["heartbeat_interval"]


async def timeout_of(local: LocalServer, seconds: float | None, type_: str = "pdf") -> None:
    """Set it."""
    await local.ask(ChangeType(type_, "token:1", TypeChanges(worker_timeout=seconds and round(seconds * 1000))))


async def running(local: LocalServer, **said: Any) -> dict[str, Any]:
    """A job that has just been claimed by `w1`."""
    await local.submit()
    await local.register()
    grant: dict[str, Any] = await local.claim(**said)
    assert grant["job"] is not None
    return grant


async def beat(local: LocalServer, grant: dict[str, Any]) -> dict[str, Any]:
    body = {"jobs": [{"job_id": grant["job"]["id"], "lease": grant["lease"]}]}
    _, answer = await local.call("POST", "/api/workers/w1/heartbeat", body)
    return dict(answer)


async def status(local: LocalServer) -> str:
    return str((await local.job(1))["status"])


@pytest.mark.usefixtures("seldom")
async def test_a_long_one_keeps_a_lease_whose_worker_says_nothing(autojump_clock: Any, local: LocalServer) -> None:
    await timeout_of(local, 20 * HOUR)
    grant = await running(local)
    assert grant["heartbeat_interval"] == 30.0, "never less often than a worker that is there has to be heard"
    await trio.sleep(20 * HOUR - 1)
    assert await status(local) == "running"
    _, worker = await local.call("GET", "/api/workers/w1")
    assert worker["status"] == "offline", "that it is silent is shown all the same"
    await trio.sleep(60)
    assert await status(local) == "pending"


async def test_a_short_one_ends_a_lease_soon(autojump_clock: Any, local: LocalServer) -> None:
    await timeout_of(local, 3)
    grant = await running(local, accepts=HEEDS)
    assert grant["heartbeat_interval"] == 0.5
    for _ in range(20):
        await trio.sleep(2.5)
        answer = await beat(local, grant)
        assert (answer["abandon"], answer["heartbeat_interval"]) == ([], 0.5)
    await trio.sleep(3.1)
    assert await status(local) == "pending", "the reaper wakes for it"


async def test_a_worker_that_beats_at_its_own_interval_loses_nothing_by_a_short_one(
    autojump_clock: Any, local: LocalServer
) -> None:
    await timeout_of(local, 3)
    grant = await running(local)
    assert "heartbeat_interval" not in grant
    for _ in range(10):
        await trio.sleep(30)
        answer = await beat(local, grant)
        assert answer["abandon"] == []
        assert "heartbeat_interval" not in answer
    await trio.sleep(200)
    assert await status(local) == "pending"


async def test_a_change_is_told_with_the_next_heartbeat(autojump_clock: Any, local: LocalServer) -> None:
    grant = await running(local, accepts=HEEDS)
    assert "heartbeat_interval" not in grant
    await timeout_of(local, 6)
    await trio.sleep(29)  # the lease that it has is as it was when it was renewed
    assert (await beat(local, grant))["heartbeat_interval"] == 1.0
    await trio.sleep(5)
    answer = await beat(local, grant)
    assert answer["abandon"] == []
    await timeout_of(local, None)
    assert "heartbeat_interval" not in await beat(local, grant)
    await trio.sleep(170)
    assert await status(local) == "running"


async def test_a_longer_one_holds_for_what_runs(autojump_clock: Any, local: LocalServer) -> None:
    """Whoever sets it because workers are silent does so while they are."""
    await running(local)
    await trio.sleep(170)
    await timeout_of(local, HOUR)
    await trio.sleep(10 + HOUR - 5)
    assert await status(local) == "running"
    await trio.sleep(60)
    assert await status(local) == "pending"


async def test_a_start_gives_each_lease_a_period_of_its_own_length(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data") as local:
        await timeout_of(local, HOUR)
        await running(local)
    async with open_local(tmp_path / "data") as local:
        await trio.sleep(HOUR - 5)
        assert await status(local) == "running"
        await trio.sleep(60)
        assert await status(local) == "pending"


async def test_a_start_gives_a_short_lease_the_period_of_all(tmp_path: Path, autojump_clock: Any) -> None:
    """It may have been set while the worker was told a longer interval."""
    async with open_local(tmp_path / "data") as local:
        grant = await running(local, accepts=HEEDS)
        await timeout_of(local, 3)
    async with open_local(tmp_path / "data") as local:
        await trio.sleep(30)
        assert (await beat(local, grant))["abandon"] == []


async def test_of_several_jobs_the_shortest_says_when_to_beat(autojump_clock: Any, local: LocalServer) -> None:
    await timeout_of(local, 60, "ocr")
    await local.submit(b"1")
    await local.submit(b"2", type="ocr")
    await local.register()
    said = {"worker_id": "w1", "job_types": ["pdf", "ocr"], "limit": 2, "accepts": HEEDS}
    _, answer = await local.call("POST", "/api/jobs/claim", said)
    assert [grant.get("heartbeat_interval") for grant in answer["jobs"]] == [None, 10.0]
    named = [{"job_id": grant["job"]["id"], "lease": grant["lease"]} for grant in answer["jobs"]]
    _, both = await local.call("POST", "/api/workers/w1/heartbeat", {"jobs": named})
    assert both["heartbeat_interval"] == 10.0
    _, first = await local.call("POST", "/api/workers/w1/heartbeat", {"jobs": named[:1]})
    assert "heartbeat_interval" not in first


async def test_the_next_job_comes_with_its_interval_too(autojump_clock: Any, local: LocalServer) -> None:
    await timeout_of(local, 12)
    grant = await running(local, accepts=HEEDS)
    await local.submit(b"another")
    body = {"worker_id": "w1", "lease": grant["lease"], "claim_next": True, "accepts": HEEDS}
    path = f"/api/jobs/{grant['job']['id']}/complete"
    for _ in range(2):  # once more, when its answer was lost
        status_, answer = await local.call("POST", path, body)
        assert (status_, answer["next"]["heartbeat_interval"]) == (200, 2.0)
