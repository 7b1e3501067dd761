"""The disk of the database is full: no write is acknowledged, reading goes on, and it recovers by itself."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.backup.conftest import caught_up, submit, until
from tests.fixtures.server import ServerProcess

SIZE = "16m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        pytest.skip(f"no mount here: {error}")
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a tmpfs here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_writes_keeps_reading_and_recovers(
    serve: Callable[..., ServerProcess], small_disk: Path
) -> None:
    server = serve(db_path=small_disk / "blobforge.db")
    server.start()
    job_id = submit(server, b"before")
    caught_up(server)
    ballast = small_disk / "ballast"
    with server.client() as http:
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

        def refused() -> bool:
            # A page or two may still fit into the WAL.
            answer = http.post("/api/jobs", json={"type": "pdf", "source_hash": os.urandom(32).hex()})
            assert answer.status_code in (201, 503), answer.text
            return answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0

        until(refused)
        assert http.get(f"/api/jobs/{job_id}").status_code == 200
        assert http.get("/api/jobs").status_code == 200
        assert http.get("/livez").status_code == 200
        ballast.unlink()

        def accepted() -> bool:
            answer = http.post("/api/jobs", json={"type": "pdf", "source_hash": os.urandom(32).hex()})
            return answer.status_code == 201

        until(accepted)
        until(lambda: http.get("/readyz").status_code == 200)
    caught_up(server)
    assert server.stop() == 0
