"""Every migration from a filled database of each schema: page by page, and with what was not kept filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from blobforge.store.sqlite.check import check
from blobforge.store.sqlite.database import migrations
from tests.fixtures.local import LocalServer, open_local
from tests.migrations.sample import JOBS, STATUSES, make
from web.api import ROUTES
from web.dashboard.pages import page_routes
from web.routing import Access

VERSIONS = range(1, len(migrations()))
# The one that has what is missing filled in; who wrote with a later schema has kept it.
FILLS = next(number for number, script in enumerate(migrations(), 1) if "CREATE TABLE backfill" in script)
NUMBERS = {"<id:job_id>": "1", "<worker:worker_id>": "w1", "<id:user_id>": "1", "<id:token_id>": "1"}
# What leads elsewhere, streams, or is about something that this database has not.
OTHER = ("/preview", "/result", "/source", "/output", "/url", "<any", "/events", "/api/files", "/users/", "/sessions")


def of(status: str) -> int:
    return sum(STATUSES[number % len(STATUSES)] == status for number in range(1, JOBS + 1))


def addresses() -> list[str]:
    """Every page and list that a GET shows."""
    found = []
    for route in [*ROUTES, *page_routes(ROUTES)]:
        path = route.path
        if route.method != "GET" or any(part in path for part in OTHER) or route.access is Access.WORK:
            continue
        for name, value in NUMBERS.items():
            path = path.replace(name, value)
        if "<" not in path:
            found.append(path)
    return found


async def failures(local: LocalServer) -> Any:
    status, found = await local.call("GET", "/api/failures?limit=100")
    assert status == 200
    return found


async def look_at_all(local: LocalServer) -> None:
    for path in addresses():
        status, body = await local.call("GET", path)
        assert status in (200, 302, 303), (path, status, body)


@pytest.mark.parametrize("version", [each for each in VERSIONS if each >= FILLS])
async def test_every_page_of_an_upgraded_database(tmp_path: Path, autojump_clock: Any, version: int) -> None:
    make(tmp_path / "data" / "blobforge.db", version)
    async with open_local(tmp_path / "data") as local:
        await look_at_all(local)
        _, workers = await local.call("GET", "/api/workers")
        assert workers
        assert not any("bound_type" in worker for worker in workers), "those from before ask for what they like"


@pytest.mark.parametrize("version", [each for each in VERSIONS if each < FILLS])
async def test_an_upgrade_from_a_filled_database(tmp_path: Path, autojump_clock: Any, version: int) -> None:
    make(tmp_path / "data" / "blobforge.db", version)
    async with open_local(tmp_path / "data") as local:
        assert 0 <= (await failures(local))["filling"] < 1
        _, page = await local.call("GET", "/failures")
        assert b"still being sorted" in page
        assert b"No job shows a failure now" not in page
        await look_at_all(local)
        await trio.sleep(10)
        found = await failures(local)
        assert "filling" not in found
        assert sum(each["dead"] for each in found["failures"]) == of("dead")
        assert sum(each["failed"] for each in found["failures"]) == of("failed")
        kinds = {each["kind"]: each["attempts"] for each in found["failures"]}
        assert set(kinds) == {"ValueError", "WorkerLost"}
        assert sum(kinds.values()) == of("dead") + of("failed")
        (cause,) = [each for each in found["failures"] if each["kind"] == "ValueError"]
        _, jobs = await local.call("GET", f"/api/jobs?failure={cause['id']}&status=dead")
        assert jobs["jobs"]
        assert jobs["jobs"][0]["failure"] == cause["id"]
        _, dry = await local.call("POST", "/api/jobs/retry", {"failure": cause["id"], "dry_run": True})
        assert dry["matched"] == cause["dead"] + cause["failed"]
        _, worker = await local.call("GET", "/api/workers/w1")
        assert worker["rates"]["completed"] == of("completed")
        _, attempts = await local.call("GET", "/api/workers/w1/attempts?limit=100")
        assert {each["outcome"] for each in attempts["attempts"]} >= {"completed", "failed", "lost"}
        await look_at_all(local)
        # A second fill would count twice.
        assert await failures(local) == found
    assert check(tmp_path / "data" / "blobforge.db") == []


async def test_a_fill_goes_on_where_it_was_and_counts_nothing_twice(tmp_path: Path, autojump_clock: Any) -> None:
    make(tmp_path / "data" / "blobforge.db", 4)
    for _ in range(3):  # each start does its first step at once
        async with open_local(tmp_path / "data") as local:
            before = (await failures(local)).get("filling")
            await trio.sleep(0.005)
    assert before is None or before > 0
    async with open_local(tmp_path / "data") as local:
        await trio.sleep(10)
        found = await failures(local)
        assert sum(each["attempts"] for each in found["failures"]) == of("dead") + of("failed")
        durations = local.parts.reads
        seen = await durations.run(lambda reader: reader.insights.durations(now=local.parts.now()))
        assert sum(each.n for each in seen.values()) == of("completed")


async def test_a_new_database_has_nothing_to_fill(autojump_clock: Any, local: LocalServer) -> None:
    assert "filling" not in await failures(local)
