"""Sources over 100 MiB: in parts where the store has that, in one stream where it has not."""

from __future__ import annotations

import hashlib
import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blobforge.client.multipart import MULTIPART_ABOVE
from tests.cli.conftest import Running, running_server, s3_settings
from tests.cli.test_ingest import requests
from tests.fixtures.seaweed import Seaweed

PART = 16 << 20
SIZE = MULTIPART_ABOVE + 1  # seven parts, the last of them short


@pytest.fixture
def on_s3(seaweed: Seaweed, tmp_path: Path) -> Iterator[Running]:
    with running_server(tmp_path / "here", s3_settings(seaweed, tmp_path.name)) as running:
        yield running


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Every MiB of it is another."""
    path = tmp_path / "large.pdf"
    with path.open("wb") as file:
        for number in range(SIZE >> 20):
            file.write(b"%07d\n" % number * (1 << 17))
        file.write(b"!")
    assert path.stat().st_size == SIZE
    return path


def uploads(seaweed: Seaweed, running: Running) -> list[str]:
    """The multipart uploads that have not ended."""
    found = seaweed.client().list_multipart_uploads(Bucket=seaweed.bucket).get("Uploads", [])
    return [
        upload["UploadId"] for upload in found if upload["Key"].startswith(running.settings["BLOBFORGE_S3_PREFIX"])
    ]


def test_in_parts(on_s3: Running, seaweed: Seaweed, large: Path) -> None:
    (line,) = on_s3.ok("submit", large, "--json").splitlines()
    record = json.loads(line)
    assert (record["uploaded"], record["size"]) == (True, SIZE)
    on_s3.wait_for(record["job_id"], "pending")
    asked = requests(on_s3)
    assert asked["POST /api/files/multipart/part"] == 7
    assert asked["POST /api/files/multipart/complete"] == 1
    key = f"{on_s3.settings['BLOBFORGE_S3_PREFIX']}/sources/{record['sha256']}"
    stored = seaweed.client().head_object(Bucket=seaweed.bucket, Key=key)
    assert stored["ContentLength"] == SIZE
    assert stored["ETag"].endswith('-7"')
    assert uploads(seaweed, on_s3) == []
    target = on_s3.folder / "back.pdf"
    on_s3.ok("jobs", "download", str(record["job_id"]), "--source", "-o", target)
    with target.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == record["sha256"]


def test_interrupted_it_goes_on_where_it_was(on_s3: Running, seaweed: Seaweed, large: Path) -> None:
    child = on_s3.start("submit", large)
    while requests(on_s3)["POST /api/files/multipart/part"] < 5:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode == 130
    (left,) = uploads(seaweed, on_s3)
    key = f"{on_s3.settings['BLOBFORGE_S3_PREFIX']}/sources/{_digest(large)}"
    parts = seaweed.client().list_parts(Bucket=seaweed.bucket, Key=key, UploadId=left).get("Parts", [])
    assert 1 <= len(parts) <= 6
    before = requests(on_s3)
    record = json.loads(on_s3.ok("submit", large, "--json"))
    on_s3.wait_for(record["job_id"], "pending")
    asked = requests(on_s3) - before
    assert asked["POST /api/files/multipart/part"] == 7 - len(parts), "only what was missing"
    assert uploads(seaweed, on_s3) == []


def test_a_file_that_changes_meanwhile_leaves_nothing(on_s3: Running, seaweed: Seaweed, large: Path) -> None:
    child = on_s3.start("submit", large)
    while requests(on_s3)["POST /api/files/multipart/part"] < 1:
        time.sleep(0.01)
    with large.open("r+b") as file:
        file.seek(SIZE - 1)
        file.write(b"?")
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 1
    assert re.search(r"large.pdf: .*(changed before|written to while) it was uploaded", stderr), stderr
    assert uploads(seaweed, on_s3) == [], "its parts are thrown away"
    assert on_s3.json("stats")["uploading_jobs"] == 0, "nothing waits for it"
    record = json.loads(on_s3.ok("submit", large, "--json"))
    on_s3.wait_for(record["job_id"], "pending")


def test_in_one_stream(running: Running, large: Path) -> None:
    record = json.loads(running.ok("submit", large, "--json"))
    assert record["uploaded"] is True
    running.wait_for(record["job_id"], "pending")
    asked = requests(running)
    assert asked["POST /api/files/multipart"] == 1, "asked once, and told that one PUT takes it"
    assert asked["POST /api/files/multipart/part"] == 0


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
