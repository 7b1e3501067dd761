"""A server that is backed up to a real store, and what tests of backups do with it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.backup.tunnel import Tunnel, tunnel
from tests.fixtures.forked import Done, run
from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess

SYNC = 0.2  # seconds
PATIENCE = 40.0


@pytest.fixture
def place(seaweed: Seaweed, tmp_path: Path) -> dict[str, Any]:
    """The settings of a place for backups that no other test uses."""
    return {**seaweed.settings(f"backup-{tmp_path.name}"), "s3_timeout": 5, "backup_sync_interval": SYNC}


@pytest.fixture
def way(seaweed: Seaweed) -> Iterator[Tunnel]:
    """A way to the store that can be cut."""
    with tunnel(seaweed.endpoint) as opened:
        yield opened


@pytest.fixture
def serve(tmp_path: Path, place: dict[str, Any]) -> Iterator[Callable[..., ServerProcess]]:
    """Makes servers, not yet started, with the place and further settings; ends them afterwards."""
    made: list[ServerProcess] = []

    def make(name: str = "data", **settings: Any) -> ServerProcess:
        server = ServerProcess(tmp_path / name, **(place | settings))
        server.folder.mkdir(exist_ok=True)
        made.append(server)
        return server

    yield make
    for server in made:
        server.close()


def refused(server: ServerProcess) -> str:
    """Start a server that must not start; what it says, and that it took no longer than the 30 seconds allowed."""
    began = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
    environment |= {"BLOBFORGE_DATA_DIR": str(server.folder), "BLOBFORGE_PORT": "0"} | server.variables
    done = run(["serve"], environment=environment)
    said = done.stderr
    assert done.returncode == 1, said
    assert time.monotonic() - began < 30 + 30, "30 seconds, and what a busy machine adds"
    assert not (server.folder / "blobforge.db").exists()
    assert not list(server.folder.glob(".*-restore"))
    return said


def blobforge(server: ServerProcess, *arguments: str | Path) -> Done:
    """A command with the server's configuration."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
    environment |= {"BLOBFORGE_DATA_DIR": str(server.folder), "BLOBFORGE_SERVER_URL": server.url} | server.variables
    return run([*map(str, arguments)], environment=environment)


def submit(server: ServerProcess, content: bytes) -> int:
    """A job that waits for its source."""
    with server.client() as http:
        digest = hashlib.sha256(content).hexdigest()
        answer = http.post("/api/jobs", json={"type": "pdf", "source_hash": digest})
        assert answer.status_code in (200, 201), answer.text
        return int(answer.json()["job_id"])


def pending(server: ServerProcess, content: bytes, **fields: object) -> int:
    """A job with its source, uploaded."""
    with server.client() as http:
        digest = hashlib.sha256(content).hexdigest()
        made = http.post("/api/jobs", json={"type": "pdf", "source_hash": digest, **fields}).json()
        http.put(made["upload_url"], content=content, headers={"Authorization": ""}).raise_for_status()
        assert http.post(f"/api/jobs/{made['job_id']}/uploaded").json() == {"status": "pending"}
        return int(made["job_id"])


def report(server: ServerProcess) -> Any:
    with server.client() as http:
        return http.get("/api/admin/backup").json()


def caught_up(server: ServerProcess) -> Any:
    """Wait until everything is in the backup; the report."""
    return until(lambda: (found := report(server)).get("lag_seconds") == 0 and found)


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
    return found


def lose_disk(server: ServerProcess) -> None:
    """All that the server kept on its disk is gone."""
    for path in server.folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def litestreams_of(server: ServerProcess) -> list[int]:
    """The processes that replicate this server's database."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                command = (path / "cmdline").read_bytes()
            except OSError:
                continue
            if b"replicate" in command and str(server.folder).encode() in command:
                found.append(int(path.name))
    return found


def kill_all(server: ServerProcess) -> None:
    """kill -9 of the server and its Litestream together."""
    assert server.process is not None
    for pid in [*litestreams_of(server), server.process.pid]:
        os.kill(pid, signal.SIGKILL)
    server.process.wait()
