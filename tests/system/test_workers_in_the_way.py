"""Real workers beside a real server: two machines under one id, and a document that no worker can do."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.server import ServerProcess, serving

SOAK = "SOAK" in os.environ  # `make soak`: the long version
WORK = 90 if SOAK else 5  # seconds that one job takes
COPY = "import sys, time; time.sleep(float(sys.argv[3])); open(sys.argv[2], 'w').write(open(sys.argv[1]).read())"
FULL = (
    "import sys; said = open(sys.argv[1]).read(); open(sys.argv[2], 'w').write(said);"
    " sys.exit('No space left on device' if 'bad' in said else 0)"
)


def submit(server: ServerProcess, content: bytes) -> int:
    with server.client() as http:
        digest = hashlib.sha256(content).hexdigest()
        answer = http.post("/api/jobs", json={"type": "doc", "source_hash": digest}).raise_for_status().json()
        http.put(answer["upload_url"], content=content).raise_for_status()
        return int(answer["job_id"])


def job(server: ServerProcess, job_id: int) -> Any:
    with server.client() as http:
        return http.get(f"/api/jobs/{job_id}").raise_for_status().json()


def start(server: ServerProcess, state: Path, command: str) -> subprocess.Popen[bytes]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BLOBFORGE_")}
    mine = {"BLOBFORGE_SERVER_URL": server.url, "BLOBFORGE_API_TOKEN": server.token, "XDG_STATE_HOME": str(state)}
    arguments = [
        "work",
        "--type",
        "doc",
        "--worker-id",
        "one",
        "--min-free",
        "0",
        "--poll-wait",
        "1",
        "--exec",
        command,
    ]
    return subprocess.Popen([sys.executable, "-m", "blobforge.cli", *arguments], env=clean | mine)


@contextmanager
def ended(workers: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    try:
        yield
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


@pytest.mark.timeout(300)
def test_two_machines_under_one_id_that_are_always_restarted(tmp_path: Path) -> None:
    """Only one works, its job is done at the first attempt, and the other is shown."""
    with serving(tmp_path / "data", worker_timeout=6, heartbeat_interval=0.5) as server:
        job_id = submit(server, b"a document")
        command = f'{sys.executable} -c "{COPY}" {{source}} {{output}} {WORK}'
        machines = [tmp_path / "a", tmp_path / "b"]
        workers = [start(server, machine, command) for machine in machines]
        deadline = time.monotonic() + WORK + 60
        with ended(workers):
            contested = False
            while (found := job(server, job_id))["status"] != "completed" and time.monotonic() < deadline:
                for place, worker in enumerate(workers):
                    if worker.poll() is not None:
                        workers[place] = start(server, machines[place], command)
                with server.client() as http:
                    contested = contested or bool(http.get("/api/stats/attention").json()["workers_contested"])
                time.sleep(0.2)
        assert (found["status"], len(found["attempt_history"])) == ("completed", 1)
        assert contested


@pytest.mark.timeout(600)
def test_one_document_that_no_worker_can_do_lets_the_others_by(tmp_path: Path) -> None:
    limits = {"retry_backoff": 2, "max_releases": 2, "max_losses": 1}
    with serving(tmp_path / "data", **limits) as server:
        bad = submit(server, b"bad")
        good = [submit(server, b"good %d" % number) for number in range(100 if SOAK else 10)]
        worker = start(server, tmp_path / "a", f'{sys.executable} -c "{FULL}" {{source}} {{output}}')
        with ended([worker]):
            deadline = time.monotonic() + 100
            while any(job(server, each)["status"] != "completed" for each in good):
                assert time.monotonic() < deadline, "0 of 10 in 100 s, before"
                time.sleep(1)
            while job(server, bad)["status"] != "dead":
                assert time.monotonic() < deadline + 300
                time.sleep(2)
        assert "No space left on device" in job(server, bad)["last_error"]
