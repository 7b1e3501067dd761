"""What was copied comes back, by each Litestream that we know; nothing is restored over anything."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pyrage
import pytest

from blobforge.objects.keys import output_of
from blobforge.store.sqlite.check import check
from tests.backup.conftest import (
    blobforge,
    caught_up,
    kill_all,
    litestreams_of,
    lose_disk,
    pending,
    refused,
    report,
    submit,
    until,
)
from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess

Serve = Callable[..., ServerProcess]


def age_keys() -> dict[str, str]:
    identity = pyrage.x25519.Identity.generate()
    return {
        "litestream_age_secret_key": str(identity),
        "litestream_age_public_key": str(identity.to_public()),
    }


def objects(seaweed: Seaweed, place: dict[str, Any]) -> dict[str, bytes]:
    """All that is in the place of the backups."""
    client = seaweed.client()
    found = client.list_objects_v2(Bucket=seaweed.bucket, Prefix=f"{place['s3_prefix']}/litestream/")
    return {
        each["Key"]: client.get_object(Bucket=seaweed.bucket, Key=each["Key"])["Body"].read()
        for each in found.get("Contents", [])
    }


@pytest.fixture(params=["0.5", "0.3", "0.3 with age"])
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "0.5":
        return {}
    settings = {"litestream_bin": request.getfixturevalue("litestream_03")}
    return settings | (age_keys() if "age" in request.param else {})


def test_a_clean_stop_loses_nothing_and_a_restored_lease_is_void(
    serve: Serve, settings: dict[str, Any], seaweed: Seaweed, place: dict[str, Any]
) -> None:
    server = serve(**settings)
    server.start()
    private = server.folder / "litestream"
    until(lambda: litestreams_of(server) and (private / "litestream.yml").exists())
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "litestream.yml").stat().st_mode) == 0o600
    first, second = (pending(server, content, group="acme") for content in (b"one", b"two"))
    with server.client() as http:
        http.patch("/api/types/pdf", json={"weights": {"acme": 3}}).raise_for_status()
        http.post("/api/workers/register", json={"id": "w", "type": "pdf"}).raise_for_status()
        held = http.post("/api/jobs/claim", json={"worker_id": "w", "job_type": "pdf"}).json()
    assert held["job"]["id"] == first
    assert server.stop() == 0
    assert not private.exists()
    assert not litestreams_of(server)
    for key, content in objects(seaweed, place).items():
        encrypted = content.startswith(b"age-encryption.org/v1")
        assert encrypted == ("litestream_age_secret_key" in settings), key
    lose_disk(server)

    server.start()
    assert check(server.database) == []
    with server.client() as http:
        assert [job["id"] for job in http.get("/api/jobs").json()["jobs"]] == [second, first]
        job = http.get(f"/api/jobs/{first}").json()
        assert (job["status"], job["attempts"]) == ("pending", 0)
        assert [each["outcome"] for each in job["attempt_history"]] == ["released"]
        body = {"worker_id": "w", "lease": held["lease"]}
        late = http.post(f"/api/jobs/{first}/complete", json=body)
        assert (late.status_code, late.json()["type"]) == (409, "urn:blobforge:problem:lease-lost")
        again = http.post("/api/jobs/claim", json={"worker_id": "w", "job_type": "pdf"}).json()
        assert again["job"]["id"] == first
        assert again["output_key"] != held["output_key"]
        assert output_of(again["output_key"]).attempt > 1000, "above all numbers that were lost"
        assert submit(server, b"three") > 1_000_000
        audit = http.get("/api/admin/audit").json()["entries"]
        assert [each["action"] for each in audit].count("backup.restored") == 1
    if settings:
        return
    # A database that is there is not restored, and goes on in its epoch.
    epoch = caught_up(server)["epoch"]
    assert server.stop() == 0
    server.start()
    assert caught_up(server)["epoch"] == epoch
    assert server.logged().count("the database was restored") == 1


def test_encrypted_backups_need_their_key(serve: Serve, litestream_03: Path) -> None:
    keys = age_keys() | {"litestream_bin": litestream_03}
    server = serve(**keys)
    server.start()
    assert caught_up(server)["encrypted"] is True
    assert server.stop() == 0
    wrong = refused(serve("wrong", **(keys | age_keys())))
    assert "LITESTREAM_AGE_SECRET_KEY the key that it was encrypted for" in wrong
    assert keys["litestream_age_secret_key"] not in wrong
    assert "is encrypted: set" in refused(serve("none"))
    copy = server.folder / "copy.db"
    assert blobforge(server, "backup", "restore", "--to", copy).returncode == 0
    assert check(copy) == []


def test_keys_that_are_no_pair_are_refused(serve: Serve) -> None:
    keys = age_keys()
    said = refused(serve(**(keys | {"litestream_age_public_key": age_keys()["litestream_age_public_key"]})))
    assert "are not a pair" in said
    assert keys["litestream_age_secret_key"] not in said


def test_encryption_is_not_left_out_in_silence(serve: Serve) -> None:
    assert "takes Litestream 0.3, and there is only Litestream 0.5" in refused(serve(**age_keys()))


def test_a_litestream_that_does_not_encrypt_stops_the_server(
    serve: Serve, litestream_03: Path, tmp_path: Path
) -> None:
    """It says that it is 0.3.13, and drops the age block."""
    liar = tmp_path / "liar"
    liar.write_text(
        "#!/bin/sh\n"
        "for file; do case $file in *.yml) sed -i 's/\"age\":{[^}]*},\\?//; s/,}/}/' $file;; esac; done\n"
        f'exec {litestream_03} "$@"\n'
    )
    liar.chmod(0o755)
    server = serve(**age_keys(), litestream_bin=liar)
    server.start()
    assert server.process is not None
    assert server.process.wait(30) == 1
    assert "should be encrypted, and the object" in server.logged()
    assert not litestreams_of(server)


def test_skipping_the_restore_is_loud_and_leaves_the_old_backup_alone(
    serve: Serve, seaweed: Seaweed, place: dict[str, Any]
) -> None:
    server = serve()
    server.start()
    submit(server, b"old")
    caught_up(server)
    between = whole_second()
    assert server.stop() == 0
    before = objects(seaweed, place)
    lose_disk(server)
    server.variables["BLOBFORGE_LITESTREAM_SKIP_RESTORE"] = "true"
    server.start()
    assert "ALTHOUGH THERE IS A BACKUP" in server.logged()
    with server.client() as http:
        assert http.get("/api/jobs").json()["total"] == 0
    submit(server, b"new")
    caught_up(server)
    assert server.stop() == 0
    after = objects(seaweed, place)
    assert {key: after.get(key) for key in before} == before
    # The new database is the newest backup; the old one can be had by its time.
    lose_disk(server)
    newest, older = server.folder / "newest.db", server.folder / "older.db"
    assert blobforge(server, "backup", "restore", "--to", newest).returncode == 0
    assert blobforge(server, "backup", "restore", "--to", older, "--at", between).returncode == 0
    assert (sources(newest), sources(older)) == ([b"new"], [b"old"])


def whole_second() -> str:
    """A moment that the store's times, which are whole seconds, tell from what was before and what comes after."""
    time.sleep(1.1)
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    return moment


def sources(path: Path) -> list[bytes]:
    """What the jobs of a database are made of."""
    known = {hashlib.sha256(content).hexdigest(): content for content in (b"old", b"new", b"later")}
    database = apsw.Connection(str(path))
    try:
        return [known[row[0]] for row in database.execute("SELECT source_hash FROM jobs ORDER BY id")]
    finally:
        database.close()


def test_restore_to_a_time_and_never_over_a_file(serve: Serve) -> None:
    server = serve()
    server.start()
    submit(server, b"old")
    caught_up(server)
    between = whole_second()
    submit(server, b"later")
    caught_up(server)
    copy, newest = server.folder / "copy.db", server.folder / "newest.db"
    done = blobforge(server, "backup", "restore", "--to", copy, "--at", between, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["file"] == str(copy)
    assert sources(copy) == [b"old"]
    assert blobforge(server, "backup", "restore", "--to", newest).returncode == 0
    assert sources(newest) == [b"old", b"later"]
    again = blobforge(server, "backup", "restore", "--to", copy)
    assert (again.returncode, "nothing was overwritten" in again.stderr) == (5, True)
    assert sources(copy) == [b"old"]
    early = blobforge(server, "backup", "restore", "--to", server.folder / "x.db", "--at", "2020-01-01")
    assert "no backup from before" in early.stderr
    assert blobforge(server, "backup", "restore", "--to", copy, "--at", "yesterday").returncode == 2


def test_a_restored_file_that_somebody_puts_in_place_is_known(serve: Serve) -> None:
    server = serve()
    server.start()
    job_id = pending(server, b"one")
    with server.client() as http:
        http.post("/api/workers/register", json={"id": "w", "type": "pdf"}).raise_for_status()
        assert http.post("/api/jobs/claim", json={"worker_id": "w", "job_type": "pdf"}).json()["job"]["id"] == job_id
    epoch = caught_up(server)["epoch"]
    copy = server.folder / "copy.db"
    assert blobforge(server, "backup", "restore", "--to", copy).returncode == 0
    assert server.stop() == 0
    for path in server.folder.glob("blobforge.db-*"):
        path.unlink()
    copy.rename(server.database)
    server.start()
    with server.client() as http:
        assert http.get(f"/api/jobs/{job_id}").json()["status"] == "pending"
    assert caught_up(server)["epoch"] != epoch


def test_litestream_is_started_again_and_the_server_goes_on(serve: Serve) -> None:
    server = serve()
    server.start()
    caught_up(server)
    (pid,) = until(lambda: litestreams_of(server))
    os.kill(pid, signal.SIGKILL)
    job_id = submit(server, b"meanwhile")
    until(lambda: report(server)["restarts"] == 1 and report(server)["running"])
    caught_up(server)
    assert "Litestream has ended; the server goes on" in server.logged()
    # Killed together: nothing is left that goes on replicating, and the next start takes over.
    kill_all(server)
    server.start()
    with server.client() as http:
        assert http.get(f"/api/jobs/{job_id}").status_code == 200
        text = http.get("/metrics").text
        assert "blobforge_backup_running 1.0" in text
    # kill -9 of the server alone: the kernel takes its Litestream along.
    assert len(litestreams_of(server)) == 1
    server.kill()
    until(lambda: not litestreams_of(server))


def test_the_wal_of_a_lost_database_is_not_replayed_into_another(serve: Serve) -> None:
    server = serve()
    server.start()
    submit(server, b"old")
    caught_up(server)
    kill_all(server)
    assert server.database.with_name("blobforge.db-wal").stat().st_size > 0
    server.database.unlink()
    server.start()
    assert "it was moved aside" in server.logged()
    assert list(server.folder.glob("blobforge.db-wal.lost-*"))
    assert check(server.database) == []
