"""Drills: a good backup is proven, a bad one is found out, and both are on record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from tests.backup.conftest import blobforge, caught_up, pending, report, submit, until
from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess

Serve = Callable[..., ServerProcess]


def test_a_drill_proves_the_backup_and_finds_out_a_bad_one(
    serve: Serve, seaweed: Seaweed, place: dict[str, Any]
) -> None:
    server = serve()
    server.start()
    for content in (b"one", b"two"):
        pending(server, content)
    with server.client() as http:
        http.post("/api/workers/register", json={"id": "w", "type": "pdf"}).raise_for_status()
        http.post("/api/jobs/claim", json={"worker_id": "w", "job_type": "pdf"}).raise_for_status()
    passed = blobforge(server, "backup", "drill", "--json")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    drill = json.loads(passed.stdout)
    assert (drill["ok"], "is there" in drill["detail"]) == (True, True)
    status = blobforge(server, "backup", "status")
    assert status.returncode == 0
    assert re.search(r"proven until\s+20\d\d-", status.stdout)
    with server.client() as http:
        health = http.get("/api/health").json()
        (recorded,) = report(server)["drills"]
        assert health["backup"]["last_drill"] == {name: recorded[name] for name in recorded if name != "detail"}
        assert health["backup"]["proven_until"] == recorded["started_at"]
        text = http.get("/metrics").text
        assert "blobforge_backup_drill_ok 1.0" in text
        assert "blobforge_backup_proven_until_timestamp_seconds" in text
        actions = [each["action"] for each in http.get("/api/admin/audit").json()["entries"]]
        assert "backup.drill" in actions
    assert not list((server.folder / "litestream").glob("drill*")), "nothing is left of it"

    # Somebody damages the backup where it lies. Litestream writes a snapshot a second after it began, and a compacted
    # file every 30: from one that it wrote after the damage, a drill restores all there is, and is right to pass.
    kept = f"{place['s3_prefix']}/litestream/"
    damaged = damage(seaweed, kept, set())
    drills = [True]
    while (failed := blobforge(server, "backup", "drill")).returncode == 0:
        more = damage(seaweed, kept, damaged)
        assert more > damaged, "it passed, with nothing whole to restore"
        damaged = more
        drills.insert(0, True)
    proven = next(each["started_at"] for each in report(server)["drills"] if each["ok"])
    assert failed.returncode == 1
    assert "cannot be restored" in failed.stdout
    assert blobforge(server, "backup", "status").returncode == 1
    with server.client() as http:
        health = http.get("/api/health").json()
        assert (health["status"], health["backup"]["status"]) == ("degraded", "degraded")
        assert health["backup"]["detail"] == "the last drill failed"
        assert health["backup"]["proven_until"] == proven, "what was proven stays proven"
        assert http.get("/readyz").status_code == 200
    # All are on record after a restart.
    assert server.stop() == 0
    server.start()
    assert [each["ok"] for each in report(server)["drills"]] == [False, *drills]
    # One that is asked for once more with its key is the same one, also after a restart.
    asked = {"Idempotency-Key": "k"}
    with server.client() as http:
        assert http.post("/api/admin/backup/drill", headers=asked).status_code == 202
    until(lambda: len(report(server)["drills"]) == len(drills) + 2)
    assert server.stop() == 0
    server.start()
    with server.client() as http:
        assert http.post("/api/admin/backup/drill", headers=asked).status_code == 202
    assert not report(server)["drill_running"]
    assert len(report(server)["drills"]) == len(drills) + 2


def damage(seaweed: Seaweed, prefix: str, damaged: set[str]) -> set[str]:
    """Flip one byte of each file under `prefix` that is not in `damaged` yet; all that are now."""
    client = seaweed.client()
    found = {each["Key"] for each in client.list_objects_v2(Bucket=seaweed.bucket, Prefix=prefix)["Contents"]}
    for key in found - damaged:
        body = bytearray(client.get_object(Bucket=seaweed.bucket, Key=key)["Body"].read())
        body[len(body) // 2] ^= 0xFF
        client.put_object(Bucket=seaweed.bucket, Key=key, Body=bytes(body))
    return found | damaged


def test_drills_run_by_themselves(serve: Serve) -> None:
    server = serve(backup_drill_interval=1)
    server.start()
    submit(server, b"one")
    caught_up(server)
    until(lambda: len(report(server).get("drills", [])) >= 2)
    assert all(each["ok"] for each in report(server)["drills"])
    assert server.stop() == 0
