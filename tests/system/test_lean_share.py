"""What a real fleet asks is answered by the lean reader, on either object store."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Running, running_server, s3_settings
from tests.fixtures.seaweed import Seaweed

DOCUMENTS, WORKERS = 12, 2
COMPLETED = re.compile(r'^blobforge_jobs\{[^}]*status="completed"[^}]*\} ([0-9.]+)$', re.MULTILINE)
READ = re.compile(r'^blobforge_http_api_requests_total\{reader="(\w+)"\} ([0-9.]+)$', re.MULTILINE)


@pytest.fixture(params=["embedded", "s3"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    settings = {"BLOBFORGE_HEARTBEAT_INTERVAL": "0.2", "BLOBFORGE_LITESTREAM_DISABLED": "true"}
    if request.param == "s3":
        seaweed: Seaweed = request.getfixturevalue("seaweed")
        settings |= s3_settings(seaweed, tmp_path.name)
    with running_server(tmp_path / "here", settings) as started:
        yield started


def metrics(running: Running) -> str:
    """All of them; to ask for these is no request of the API, and counts as nothing."""
    token = (running.folder / "data" / "admin-token").read_text().strip()
    asked = urllib.request.Request(running.url + "/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked) as answer:
        return str(answer.read().decode())


def read_by(running: Running) -> dict[str, float]:
    """API requests so far, by their reader."""
    return {reader: float(n) for reader, n in READ.findall(metrics(running))}


def completed(running: Running) -> float:
    return sum(float(n) for n in COMPLETED.findall(metrics(running)))


def test_at_least_95_of_100_requests_of_a_fleet_are_lean(running: Running) -> None:
    folder = running.folder / "documents"
    folder.mkdir()
    for number in range(DOCUMENTS):
        (folder / f"{number}.pdf").write_bytes(b"%d" % number * 1000)
    running.ok("ingest", str(folder), "--type", "pdf")
    before = read_by(running)
    convert = "sh -c 'sleep 0.3; case $(head -c 1 {source}) in 7) exit 3;; *) cp {source} {output};; esac'"
    workers = [
        running.start("work", "--type", "pdf", "--exec", convert, "--output-suffix", ".txt", "--poll-wait", "1")
        for _ in range(WORKERS)
    ]
    while completed(running) < DOCUMENTS - 1:
        time.sleep(0.1)
    for worker in workers:
        worker.terminate()
        worker.wait(60)
    after = read_by(running)
    lean, other = (after[reader] - before[reader] for reader in ("lean", "hypercorn"))
    assert lean > 3 * DOCUMENTS
    assert lean / (lean + other) >= 0.95, (lean, other)
