"""Keys of objects: each database has its own, each attempt the one that it was given, whatever was there before."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import apsw
import trio

from blobforge.objects.keys import output_of
from blobforge.store.sqlite.database import migrate, migrations, new_installation
from tests.fixtures.local import LocalServer, open_local
from tests.web.calls import assert_problem, finish, put_output

BEFORE = 5  # the schema of the last release whose keys had no installation in them


async def complete(local: LocalServer, grant: Any, key: str) -> tuple[int, Any]:
    body = {"worker_id": "w1", "lease": grant["lease"], "output_key": key}
    return await local.call("POST", f"/api/jobs/{grant['job']['id']}/complete", body)


async def test_a_fresh_database_beside_a_used_store_meets_nothing_of_the_other_life(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """Seen before: job 1, attempt 1 completed without any upload, and served old bytes."""
    async with open_local(tmp_path / "data") as local:
        await local.submit()
        await local.register()
        old = (await finish(local))["output_key"]
    for file in (tmp_path / "data").glob("blobforge.db*"):
        file.unlink()
    async with open_local(tmp_path / "data") as local:
        await local.submit()
        await local.register()
        grant = await local.claim()
        assert grant["output_key"] != old
        assert output_of(grant["output_key"]).job_id == output_of(old).job_id == 1
        assert_problem(await complete(local, grant, grant["output_key"]), 409, "output-missing")
        assert_problem(await complete(local, grant, old), 409, "output-missing")
        await put_output(local, grant["output_key"], b"new")
        assert (await complete(local, grant, grant["output_key"]))[0] == 200


async def test_an_attempt_in_flight_at_the_upgrade_ends_well_and_old_keys_are_read(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """Job 1 was completed by the older release, job 2 runs."""
    folder = tmp_path / "data"
    async with open_local(folder) as local:
        for content in (b"one", b"two"):
            await local.submit(content)
        await local.register()
        await finish(local)
        running = await local.claim()
        token = local.parts.admin_token
    objects = folder / "objects"
    shutil.move(objects / local.key(1), objects / "old")
    (objects / "outputs/1/1").mkdir(parents=True)
    shutil.move(objects / "old", objects / "outputs/1/1/output")
    as_before(folder / "blobforge.db")
    async with open_local(folder, admin_token=token) as local:
        status, answer = await local.call("GET", "/api/files/1/output/url")
        assert (status, "/objects/outputs/1/1/output?" in answer["url"]) == (200, True)
        ask = {"job_id": 2, "lease": running["lease"], "worker_id": "w1"}
        assert (await local.call("POST", "/api/files/upload-url", ask))[1]["key"] == "outputs/2/1/output"
        await put_output(local, "outputs/2/1/output")
        assert (await complete(local, running, "outputs/2/1/output"))[0] == 200
        assert (await local.job(2))["output_key"] == "outputs/2/1/output"
        await local.call("POST", "/api/jobs/2/retry", {})
        assert (await local.claim())["output_key"] == local.key(2, 2), "new attempts have new keys"
        await local.call("DELETE", "/api/jobs/1")
        await trio.sleep(10)
    assert not (objects / "outputs/1/1/output").exists()


def as_before(path: Path) -> None:
    """Make the database what it was under the older schema."""
    path.rename(path.with_name("new.db"))
    old = apsw.Connection(str(path))
    migrate(old, migrations()[:BEFORE])
    old.execute("ATTACH DATABASE ? AS new", (str(path.with_name("new.db")),))
    tables = [row[0] for row in old.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'")]
    there = {row[0] for row in old.execute("SELECT name FROM new.sqlite_schema WHERE type = 'table'")}
    for table in (set(tables) & there) - {"doomed_objects"}:
        names = ", ".join(row[1] for row in old.execute(f"PRAGMA main.table_info({table})"))
        old.execute(f"DELETE FROM main.{table}; INSERT INTO main.{table} ({names}) SELECT {names} FROM new.{table}")
    for table in ("happenings", "depths"):  # of the newest width it knew nothing
        old.execute(f"DELETE FROM main.{table} WHERE step = 21600")
    for table, key in (("jobs", "output_key"), ("files", "key")):
        old.execute(f"UPDATE main.{table} SET {key} = 'outputs/' || substr({key}, 27) WHERE {key} LIKE 'outputs/b%'")
    old.close()


def test_an_installation_is_never_digits_only_and_new_each_time() -> None:
    made = {new_installation() for _ in range(100)}
    assert len(made) == 100
    assert not any(each.isdigit() for each in made)
    assert all(output_of(f"outputs/{each}/1/1/output").installation == each for each in made)
