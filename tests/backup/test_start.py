"""No start goes on with an empty database because something did not answer; each says in time what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.backup.conftest import caught_up, lose_disk, refused, submit
from tests.backup.tunnel import Tunnel
from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess

Serve = Callable[..., ServerProcess]


def folder(seaweed: Seaweed, place: dict[str, Any]) -> list[str]:
    found = seaweed.client().list_objects_v2(Bucket=seaweed.bucket, Prefix=f"{place['s3_prefix']}/litestream/")
    return [each["Key"] for each in found.get("Contents", [])]


def test_a_store_that_is_away_is_no_empty_one(
    serve: Serve, way: Tunnel, seaweed: Seaweed, place: dict[str, Any]
) -> None:
    server = serve(s3_timeout=1, s3_endpoint=way.url)
    way.mode = "closed"
    assert "check the endpoint and the network" in refused(server)
    way.mode = "silent"
    assert "has not answered for 7 seconds" in refused(server)
    way.mode = "open"
    server.variables["BLOBFORGE_S3_SECRET_KEY"] = "a wrong one"
    assert "check the access key, its secret" in refused(server)
    server.variables["BLOBFORGE_S3_BUCKET"] = "no-such-bucket"
    server.variables["BLOBFORGE_S3_SECRET_KEY"] = seaweed.secret_key
    assert "no such bucket" in refused(server)
    server.variables["BLOBFORGE_S3_BUCKET"] = seaweed.bucket
    assert folder(seaweed, place) == [], "none of these starts has written anything"
    # What is not a backup of ours is no proof that there is none.
    key = f"{place['s3_prefix']}/litestream/generations/x"
    seaweed.client().put_object(Bucket=seaweed.bucket, Key=key, Body=b"?")
    assert "that no BlobForge server wrote (generations)" in refused(server)
    seaweed.client().delete_object(Bucket=seaweed.bucket, Key=key)
    server.start()
    assert "beginning with an empty database" in server.logged()
    # With a database on the disk, a store that is away keeps nobody from starting.
    job_id = submit(server, b"kept")
    caught_up(server)
    assert server.stop() == 0
    way.mode = "closed"
    server.start()
    with server.client() as http:
        assert http.get(f"/api/jobs/{job_id}").status_code == 200
        assert http.get("/readyz").status_code == 200


def test_a_damaged_backup_is_told_and_leaves_nothing_behind(
    serve: Serve, seaweed: Seaweed, place: dict[str, Any]
) -> None:
    server = serve()
    server.start()
    submit(server, b"one")
    caught_up(server)
    assert server.stop() == 0
    lose_disk(server)
    client = seaweed.client()
    for key in folder(seaweed, place):
        body = client.get_object(Bucket=seaweed.bucket, Key=key)["Body"].read()
        client.put_object(Bucket=seaweed.bucket, Key=key, Body=body[: len(body) // 2])
    said = refused(server)
    assert "cannot be restored" in said or "is damaged" in said
    # Half a disaster: the files beside an absent database do no harm.
    (server.folder / "blobforge.db").write_bytes(b"")
    server.variables["BLOBFORGE_LITESTREAM_SKIP_RESTORE"] = "true"
    server.start()
    with server.client() as http:
        assert http.get("/api/jobs").json()["total"] == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"litestream_bin": "/nowhere/litestream"}, "cannot run /nowhere/litestream"),
        ({"litestream_bin": "/bin/true"}, "does not tell its version"),
    ],
    ids=["missing", "not-litestream"],
)
def test_without_a_litestream_the_start_says_what_to_do(serve: Serve, settings: dict[str, Any], said: str) -> None:
    assert said in refused(serve(**settings))


def test_backups_can_be_turned_off(serve: Serve, seaweed: Seaweed, place: dict[str, Any]) -> None:
    server = serve(litestream_disabled="true", litestream_bin="/nowhere")
    server.start()
    assert "BACKUPS ARE OFF" in server.logged()
    with server.client() as http:
        health = http.get("/api/health").json()["backup"]
        assert (health["status"], "LITESTREAM_DISABLED" in health["detail"]) == ("disabled", True)
        refusal = http.post("/api/admin/backup/drill")
        assert (refusal.status_code, refusal.json()["type"]) == (409, "urn:blobforge:problem:backup-off")
    assert folder(seaweed, place) == []
