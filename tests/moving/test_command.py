"""`blobforge import` and `export` as their users run them, and the server beside what they have made."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trio

from blobforge.objects.keys import original_output_key, source_key
from blobforge.store.sqlite.check import check
from tests.cli.conftest import s3_settings
from tests.cli.test_db import blobforge, ok, told
from tests.fixtures import original
from tests.fixtures.original import ADMIN_TOKEN, BYTES, JOBS, OLD_TOKEN, USER_TOKEN, WORKER_SECRET, source
from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess, serving
from tests.objects.places import s3_store
from tests.store.sqlite.test_belonging import state

PAGES = ("/", "/jobs", "/workers", "/failures", "/admin/tokens", "/admin/users", "/admin/audit", "/admin/backup",
         "/admin/servers")  # fmt: skip
LISTS = ("/api/jobs", "/api/workers", "/api/stats", "/api/admin/tokens", "/api/admin/users", "/api/admin/audit")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    original.made(folder / "old.db", filled=True, wal=True)
    return folder / "old.db"


@contextmanager
def again(folder: Path, **variables: object) -> Iterator[ServerProcess]:
    """A server on a folder that is there."""
    process = ServerProcess(folder, **variables)
    process.start()
    try:
        yield process
    finally:
        process.close()


def put_local(data: Path) -> None:
    """The bucket's objects, as far as an embedded store has them."""
    for key in (original_output_key(source("done")), source_key(source("waits"))):
        name = key.rpartition("/")[2]
        path = data / "objects" / (key if key.startswith("outputs") else f"sources/{name[:2]}/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BYTES)


def test_numbers_first_then_all_of_it_then_a_server_that_serves_it(tmp_path: Path, theirs: Path) -> None:
    before = state(theirs.parent)
    data = tmp_path / "data"
    put_local(data)
    done = blobforge(tmp_path, "import", theirs, "--dry-run", "--issuer", "https://id.example")
    assert f"jobs\t{len(JOBS) + 2}\t{len(JOBS) + 1}\t0\t1" in ok(done)
    assert "Nothing was changed." in done.stderr
    assert "no SHA-256" in done.stderr
    assert not (data / "blobforge.db").exists()
    assert "Nobody is here to answer" in told(blobforge(tmp_path, "import", theirs), 2)
    assert not (data / "blobforge.db").exists()

    done = blobforge(tmp_path, "import", theirs, "--yes", "--issuer", "https://id.example")
    assert "WHAT\tFOUND\tTAKEN\tKNOWN\tNOT TAKEN" in ok(done)
    assert "Results: 2 in the object store" in done.stderr
    assert "ci: read submit work" in done.stderr
    assert "root: admin" in done.stderr
    assert check(data / "blobforge.db") == []
    second = json.loads(ok(blobforge(tmp_path, "import", theirs, "--yes", "--json")))
    assert second["jobs"]["taken"] == 0
    assert second["jobs"]["known"] == len(JOBS) + 1
    assert state(theirs.parent) == before

    with again(data, admin_token=ADMIN_TOKEN) as server:
        with server.client(ADMIN_TOKEN) as http:
            for path in LISTS:
                assert http.get(path).status_code == 200, path
            jobs = http.get("/api/jobs", params={"limit": 100}).json()["jobs"]
            assert len(jobs) == len(JOBS) + 1
            for job in jobs:
                assert http.get(f"/api/jobs/{job['id']}").status_code == 200
            results = [job["id"] for job in jobs if job["status"] == "completed" and job.get("output_key")]
            assert len(results) == 2
            for number in results:
                url = http.get(f"/api/files/{number}/output/url").json()["url"]
                assert http.get(url).content == BYTES
            for path in (*PAGES, *(f"/jobs/{job['id']}" for job in jobs), "/workers/w1", "/workers/w2"):
                assert http.get(path).status_code == 200, path
            for query in ("status=dead", "tag=a", "worker=w1", "q=a.pdf", "created_since=2026-01-01T00:00:00Z"):
                assert http.get(f"/api/jobs?{query}").json()["jobs"], query
        with server.client(USER_TOKEN) as http:
            assert http.get("/api/jobs").status_code == 200
            assert http.get("/api/admin/tokens").status_code == 403
        with server.client(OLD_TOKEN) as http:
            assert http.get("/api/jobs").status_code == 401
        with server.client(**{"X-Worker-ID": "w2", "X-Worker-Secret": WORKER_SECRET}) as http:
            registered = http.post("/api/workers/register", json={"id": "w2", "type": "text", "metadata": None})
            assert registered.status_code == 200
            claimed = http.post("/api/jobs/claim", json={"worker_id": "w2", "job_type": "pdf"}).json()
            assert claimed["job"]["source_hash"] == source("waits")
        with server.client(**{"X-Worker-ID": "w3", "X-Worker-Secret": "other"}) as http:
            assert http.post("/api/workers/register", json={"id": "w3", "type": "text"}).status_code in (401, 403)
        refused = blobforge(tmp_path, "import", theirs, "--yes")
        assert "holds" in told(refused, 5)
    assert check(data / "blobforge.db") == []


def test_export_and_import_of_our_own(tmp_path: Path, theirs: Path) -> None:
    ok(blobforge(tmp_path, "import", theirs, "--yes"))
    lines = ok(blobforge(tmp_path, "export"))
    assert json.loads(lines.splitlines()[0])["credentials"] is False
    export = tmp_path / "all.ndjson"
    export.write_text(ok(blobforge(tmp_path, "export", "--credentials")))
    other = {"BLOBFORGE_DATA_DIR": str(tmp_path / "other")}
    taken = json.loads(ok(blobforge(tmp_path, "import", export, "--yes", "--json", **other)))
    assert taken["jobs"]["taken"] == len(JOBS) + 1
    assert taken["tokens"]["taken"] == 3
    assert check(tmp_path / "other" / "blobforge.db") == []
    assert ok(blobforge(tmp_path, "export", **other)).splitlines()[1:] == lines.splitlines()[1:]
    assert stat.S_IMODE((tmp_path / "other" / "blobforge.db").stat().st_mode) == 0o600


def test_what_is_neither_is_told(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello\n")
    assert "no export" in told(blobforge(tmp_path, "import", text, "--yes"), 1)
    own = tmp_path / "own"
    with serving(own) as server:
        server.stop()
    assert "is a database of this BlobForge" in told(blobforge(tmp_path, "import", own / "blobforge.db", "--yes"), 1)


def test_beside_the_bucket_of_the_original(tmp_path: Path, theirs: Path, seaweed: Seaweed) -> None:
    prefix = f"moving/{tmp_path.name}"
    bucket = s3_store(seaweed, prefix)
    for key in (original_output_key(source("done")), source_key(source("waits"))):
        trio.run(bucket.put_own, key, BYTES)
    variables = s3_settings(seaweed, prefix)
    taken = json.loads(ok(blobforge(tmp_path, "import", theirs, "--yes", "--json", **variables)))
    assert taken["results"] == 2
    with (
        again(tmp_path / "data", admin_token=ADMIN_TOKEN, **seaweed.settings(prefix)) as server,
        server.client(ADMIN_TOKEN) as http,
    ):
        jobs = http.get("/api/jobs", params={"limit": 100}).json()["jobs"]
        done = [job["id"] for job in jobs if job.get("output_key")]
        assert len(done) == 2
        for number in done:
            url = http.get(f"/api/files/{number}/output/url").json()["url"]
            assert httpx.get(url, trust_env=False).content == BYTES
        # Nothing signs an upload to what was taken over.
        key = original_output_key(source("done"))
        assert http.post("/api/files/upload-url", json={"key": key}).status_code == 403
        search = http.post("/api/admin/orphans", json={"delete": False})
        assert search.status_code < 500


def test_a_store_that_is_away_changes_nothing(tmp_path: Path, theirs: Path) -> None:
    away = {
        "BLOBFORGE_S3_ENDPOINT": "http://127.0.0.1:9", "BLOBFORGE_S3_BUCKET": "b", "BLOBFORGE_S3_ACCESS_KEY": "a",
        "BLOBFORGE_S3_SECRET_KEY": "s",
    }  # fmt: skip
    said = told(blobforge(tmp_path, "import", theirs, "--yes", **away), 1)
    assert "The object store does not answer" in said
    assert "blobforge import" in said
