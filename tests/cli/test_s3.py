"""The same commands with the files in S3: the server signs, the command line and the worker go there directly."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Running, running_server
from tests.fixtures.seaweed import Seaweed

# Seconds that a URL lives, which is time enough to begin with the source, also on a busy machine.
SHORT = "5"


@pytest.fixture(params=["3600", SHORT], ids=["urls-last", "urls-expire"])
def on_s3(request: pytest.FixtureRequest, seaweed: Seaweed, tmp_path: Path) -> Iterator[Running]:
    settings = {
        "BLOBFORGE_S3_ENDPOINT": seaweed.endpoint,
        "BLOBFORGE_S3_BUCKET": seaweed.bucket,
        "BLOBFORGE_S3_ACCESS_KEY": seaweed.access_key,
        "BLOBFORGE_S3_SECRET_KEY": seaweed.secret_key,
        "BLOBFORGE_S3_PREFIX": tmp_path.name,
        "BLOBFORGE_LITESTREAM_DISABLED": "true",
        "BLOBFORGE_URL_LIFETIME": request.param,
    }
    with running_server(tmp_path / "here", settings) as running:
        yield running


def test_submit_work_download_through_s3(on_s3: Running) -> None:
    """With URLs that live for some seconds, the conversion outlives its upload URL and a fresh one is asked for."""
    document = on_s3.folder / "large.pdf"
    document.write_bytes(bytes(range(256)) * 40_000)
    job_id = json.loads(on_s3.ok("submit", document, "--json"))["job_id"]
    on_s3.wait_for(job_id, "pending")
    slow = (
        f"sh -c 'sleep {int(SHORT) + 1}; cp {{source}} {{output}}'"
        if on_s3.settings["BLOBFORGE_URL_LIFETIME"] == SHORT
        else "cp {source} {output}"
    )
    done = on_s3.blobforge("work", "--type", "pdf", "--exec", slow, "--once", "--output-suffix", ".bin")
    assert done.returncode == 0, done.stderr
    assert ("asking for a fresh upload URL" in done.stderr) == (on_s3.settings["BLOBFORGE_URL_LIFETIME"] == SHORT)
    assert on_s3.ok("jobs", "download", str(job_id)) == "large.bin\n"
    assert (on_s3.folder / "large.bin").read_bytes() == document.read_bytes()
    path = on_s3.ok("results", "download", "--to", "all").rstrip("\n").partition("\t")[2]
    assert (on_s3.folder / "all" / path).read_bytes() == document.read_bytes()
    assert on_s3.ok("results", "download", "--to", "all") == ""
    again = json.loads(on_s3.ok("submit", document, "--json"))
    assert (again["existing"], again["uploaded"]) == (True, False)
