"""Every migration from a filled database of each schema: page by page, and with what was not kept filled in."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import apsw
import pytest
import trio

from blobforge.store.sqlite import database
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
# What has been committed is never changed: databases out there have run it. The first digits of each file's SHA-256.
COMMITTED = {
    "0001_initial.sql": "cdba23124659549a",
    "0002_people.sql": "ba697c15d7023070",
    "0003_housekeeping.sql": "d8fe30c98e040e28",
    "0004_backup.sql": "69a652c6e9de18dc",
    "0005_dashboard.sql": "e19b0f1f8c606480",
    "0006_kept_results.sql": "01cdf7b4fed9e8a2",
    "0007_returned_jobs.sql": "114677ce0dabad99",
    "0008_installations.sql": "562c32ebc0e0262f",
    "0009_instances.sql": "1155de67ebf96344",
    "0010_backfill.sql": "54b3fb3ae118a3bd",
    "0011_submitters.sql": "ffeea57256433459",
    "0012_application_id.sql": "a044fd320690d3c8",
    "0013_bound_workers.sql": "dafbe71230236478",
    "0014_results.sql": "99a153583d3c6c13",
    "0015_attempts_counted.sql": "250dcaf0be31ff74",
    "0016_lanes.sql": "7a1ba67e17a840dd",
    "0017_audit_by_time.sql": "2c33572c70d7a433",
    "0018_signing_keys.sql": "ebf41dea2010741b",
    "0019_outputs.sql": "05ee025a549f00be",
    "0020_operations.sql": "20f439c7944316a9",
    "0021_options.sql": "64798f3f1e1a1b7c",
    "0022_superseded.sql": "7568b5247672092c",
    "0023_type_settings.sql": "a594a48b0bd72c16",
    "0024_type_limits.sql": "99485fc1847fc887",
    "0025_type_timeouts.sql": "be97f6901568d3bb",
    "0026_searches.sql": "c7f8bccc4d741c37",
    "0027_requirements.sql": "0808d70a1fefaa26",
    "0028_starts.sql": "8d77566823605be1",
    "0029_sourceless.sql": "7fb2f7e10de58774",
    "0030_quarantine.sql": "24df88754e91a3c7",
    "0031_groups.sql": "795d6a102f0f5978",
    "0032_given_back.sql": "b8658daa405a9922",
    "0033_expiries.sql": "52441dff6c0846d5",
    "0034_breakers.sql": "014c7358e01a5889",
    "0035_batches.sql": "89c4169326f19d94",
    "0036_canaries.sql": "979662e5981645eb",
    "0037_webhooks.sql": "b8e7fa5346e64a0a",
    "0039_manifests.sql": "16129f89de7dc1ba",
    "0038_chains.sql": "f5682b87d0309daa",
    "0040_texts.sql": "6abbbb78b5cf3cde",
    "0041_callbacks.sql": "4afa29a6e3a74b4b",
    "0042_sorted_lists.sql": "be5b904a591bf8e0",
    "0043_then.sql": "8cda6b5d1428bdb4",
    "0044_families.sql": "d76bf8ee3aa8414b",
    "0045_splits.sql": "cf7e8efecc7535a0",
    "0046_group_lines.sql": "365046814a9d5b3a",
    "0047_sums_of_all_types.sql": "0b5c2f8f81e79180",
    "0048_failing_time.sql": "5c744b5c08dde061",
}
NUMBERS = {
    "<type:type>": "pdf",
    "<id:job_id>": "1",
    "<worker:worker_id>": "w1",
    "<id:user_id>": "1",
    "<id:token_id>": "1",
}
# What cannot be asked for without saying of what.
ASKED = {"/jobs/suggestions": "/jobs/suggestions?field=tag"}
# What leads elsewhere, streams, or is about something that this database has not.
OTHER = (
    "/preview", "job_id>/comparison", "/diff", "/result", "/source", "/output", "/url", "<any", "/events",
    "/api/files", "/users/", "/sessions",
)  # fmt: skip


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
            found.append(ASKED.get(path, path))
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


def test_no_committed_migration_has_changed_and_none_is_forgotten() -> None:
    folder = Path(database.__file__).parent / "migrations"
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in folder.glob("*.sql")}
    assert found == COMMITTED, "one that is new belongs here too, with its digest"


def test_every_table_is_compared_with_the_model_or_known_not_to_be() -> None:
    """Those that are not hold what is made of others (tests/store compares it), or what no message changes."""
    db = apsw.Connection(":memory:")
    database.migrate(db)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    model = (Path(__file__).parents[1] / "model" / "database.py").read_text()
    compared = set(re.findall(r'probe\.rows\(\s*"(\w+)"', model))
    assert {name for name in tables - compared if not name.startswith(("sqlite", "job_texts_"))} == {
        "backfill", "claim_keys", "depths", "depths_of_all", "failure_counts", "failures", "group_lines",
        "group_runs", "happenings", "happenings_of_all", "installation", "job_hours", "job_paths", "job_texts",
        "operation_pages", "operations", "pulse", "recovery", "signing_keys", "splits", "tag_counts",
        "superseded", "superseding", "texts_changed", "texts_indexed",
        "weighing", "worker_rates", "worker_types",
    }  # fmt: skip
