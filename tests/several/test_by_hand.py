"""`blobforge db migrate` and `db restored` on both engines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from click.testing import CliRunner, Result

from blobforge.cli import main
from blobforge.store.postgres.database import TURNS_SKIPPED
from tests.fixtures.local import LocalServer, open_local
from tests.several.house import House

Run = Callable[..., Result]


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, house: House) -> dict[str, str]:
    folder = house.folder / "data"
    folder.mkdir()
    return {"data_dir": str(folder)} | ({"database_url": house.url} if request.param == "postgresql" else {})


@pytest.fixture
def run(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, value in settings.items():
        monkeypatch.setenv(f"BLOBFORGE_{name.upper()}", value)
    return lambda *arguments: CliRunner().invoke(main, ["db", *arguments])


def opened(settings: dict[str, str]) -> Any:
    return open_local(Path(settings["data_dir"]), **{k: v for k, v in settings.items() if k != "data_dir"})


def test_a_database_is_migrated_before_any_server(run: Run) -> None:
    first = run("migrate", "--dry-run", "--json")
    assert first.exit_code == 1, first.output
    before = json.loads(first.output)
    assert before["before"] == 0
    assert before["after"] >= 1
    assert json.loads(run("migrate", "--dry-run", "--json").output) == before, "nothing was done"
    done = run("migrate")
    assert done.exit_code == 0, done.output
    assert f"from schema version 0 to {before['after']}" in done.output
    again = run("migrate", "--dry-run")
    assert again.exit_code == 0
    assert "up to date" in again.output


def test_a_database_of_a_newer_release_is_told_as_one(run: Run, settings: dict[str, str], house: House) -> None:
    assert run("migrate").exit_code == 0
    known = json.loads(run("migrate", "--json").output)["after"]
    if "database_url" not in settings:
        file = apsw.Connection(str(Path(settings["data_dir"]) / "blobforge.db"))
        file.pragma("user_version", known + 1)
        file.close()
        for arguments in ([], ["--dry-run"]):
            refused = run("migrate", *arguments)
            assert refused.exit_code == 1
            assert "newer release; run that one" in refused.output
        return
    house.execute(f"UPDATE turn SET schema = {known + 1}")
    for arguments in ([], ["--dry-run"]):
        beside = run("migrate", *arguments)
        assert beside.exit_code == 0
        assert f"has schema version {known + 1}, of a newer release. This one knows {known}" in beside.output
    house.execute(f"UPDATE turn SET oldest = {known + 1}")
    for arguments in ([], ["--dry-run"]):
        refused = run("migrate", *arguments)
        assert refused.exit_code == 1
        assert "may no longer write to: update it" in refused.output
    assert house.execute("SELECT schema FROM turn") == [(known + 1,)]


def test_what_is_no_database_of_ours_is_not_migrated(run: Run, settings: dict[str, str], house: House) -> None:
    if "database_url" in settings:
        house.execute("CREATE TABLE orders (id INTEGER)")
    else:
        file = apsw.Connection(str(Path(settings["data_dir"]) / "blobforge.db"))
        file.execute("CREATE TABLE orders (id INTEGER)")
        file.close()
    for arguments in ([], ["--dry-run"]):
        refused = run("migrate", *arguments)
        assert refused.exit_code == 1
        assert "another program's" in refused.output, refused.output


async def running_job(local: LocalServer) -> int:
    job = await local.submit()
    await local.register()
    assert (await local.claim())["job"]["id"] == job
    return job


async def test_what_came_out_of_a_backup_gives_no_number_again(
    settings: dict[str, str], run: Run, house: House, autojump_clock: Any
) -> None:
    async with opened(settings) as local:
        job = await running_job(local)
        if "database_url" in settings:
            refused = run("restored", "--yes")
            assert refused.exit_code != 0
            assert "another BlobForge holds" in refused.output or "Servers use the database" in refused.output
    turn = house.execute("SELECT n FROM turn")[0][0] if "database_url" in settings else 0
    assert run("restored", "--yes").exit_code == 0
    async with opened(settings) as local:
        found = await local.job(job)
        assert found["status"] == "pending"
        assert "worker_id" not in found
        grant = await local.claim()
        assert grant["job"]["attempts"] == 1, "it has cost nothing"
        another = await local.submit(b"another")
        assert another > job + 100, "numbers that may have been given since are left out"
        lease = grant["output_key"].split("/")
        assert int(lease[3]) > 100, "those of attempts, too"
        _, audit = await local.call("GET", "/api/admin/audit")
        assert "backup.restored" in json.dumps(audit)
    if "database_url" in settings:
        assert house.execute("SELECT n FROM turn")[0][0] > turn + TURNS_SKIPPED, "ids of events have them"


def test_a_database_that_is_not_there_is_no_restored_one(run: Run) -> None:
    refused = run("restored", "--yes")
    assert refused.exit_code != 0
    assert "There is no database" in refused.output


async def test_other_servers_keep_it_from_being_marked(
    house: House, monkeypatch: pytest.MonkeyPatch, autojump_clock: Any
) -> None:
    monkeypatch.setenv("BLOBFORGE_DATABASE_URL", house.url)
    monkeypatch.setenv("BLOBFORGE_DATA_DIR", str(house.folder / "elsewhere"))
    (house.folder / "elsewhere").mkdir()
    async with house.server("a"):
        refused = CliRunner().invoke(main, ["db", "restored", "--yes"])
        assert refused.exit_code == 5
        assert "Servers use the database: a." in refused.output
    assert CliRunner().invoke(main, ["db", "restored", "--yes"]).exit_code == 0
