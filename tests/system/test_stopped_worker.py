"""A worker that freezes past its lease and thaws after another has done its work: it changes nothing any more."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.server import ServerProcess

# A worker of a few lines, in a process of its own so that it can be stopped. It claims, says so, waits for a line,
# then uploads and completes, and prints what it was answered.
WORKER = """
import json, sys, httpx
url, token, name = sys.argv[1:]
http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60, trust_env=False)
http.post("/api/workers/register", json={"id": name, "type": "pdf"}).raise_for_status()
given = http.post("/api/jobs/claim", json={"worker_id": name, "job_type": "pdf", "wait": 30}).json()
print(json.dumps(given), flush=True)
sys.stdin.readline()
put = httpx.put(given["upload_url"], content=f"made by {name}".encode(), trust_env=False)
lease = {"lease": given["lease"]} if sys.stdin.readline().strip() == "with lease" else {}
done = http.post(f"/api/jobs/{given['job']['id']}/complete",
                 json={"worker_id": name, "output_key": given["output_key"]} | lease)
print(json.dumps({"put": put.status_code, "status": done.status_code, "answer": done.json()}), flush=True)
"""


class Worker:
    def __init__(self, server: ServerProcess, name: str) -> None:
        command = [sys.executable, "-c", WORKER, server.url, server.token, name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def hears(self):  # type: ignore[no-untyped-def]
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def go_on(self, how: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"\n{how}\n")
        self.process.stdin.flush()


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose leases are short."""
    server = ServerProcess(tmp_path / "data", worker_timeout=1.5)
    server.folder.mkdir()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.mark.parametrize("how", ["with lease", "as old workers do"])
def test_a_frozen_worker_is_refused_and_its_upload_changes_nothing(impatient: ServerProcess, how: str) -> None:
    server = impatient
    frozen, other = None, None
    with server.client() as http:
        job_id = submit(server)
        try:
            frozen = Worker(server, "frozen")
            first = frozen.hears()
            assert first["job"]["id"] == job_id
            os.kill(frozen.process.pid, signal.SIGSTOP)
            other = Worker(server, "other")
            second = other.hears()  # its long poll is answered when the lease expires
            assert second["job"]["id"] == job_id
            assert second["output_key"] != first["output_key"]
            other.go_on("with lease")
            assert other.hears()["status"] == 200
            before = http.get(f"/api/jobs/{job_id}").json()
            os.kill(frozen.process.pid, signal.SIGCONT)
            frozen.go_on(how)
            late = frozen.hears()
            assert late["status"] == 409
            assert late["answer"]["type"].endswith("lease-lost")
            assert http.get(f"/api/jobs/{job_id}").json() == before
            url = http.get(f"/api/files/{job_id}/output/url").json()["url"]
            assert http.get(url).text == "made by other"
            assert [each["outcome"] for each in before["attempt_history"]] == ["lost", "completed"]
        finally:
            for worker in (frozen, other):
                if worker is not None:
                    worker.process.kill()
                    worker.process.wait()
                    for pipe in (worker.process.stdin, worker.process.stdout):
                        if pipe is not None:
                            pipe.close()


def submit(server: ServerProcess) -> int:
    content = b"the document"
    digest = hashlib.sha256(content).hexdigest()
    with server.client() as http:
        answer = http.post("/api/jobs", json={"type": "pdf", "source_hash": digest}).json()
        http.put(answer["upload_url"], content=content).raise_for_status()
        while http.get(f"/api/jobs/{answer['job_id']}").json()["status"] != "pending":
            time.sleep(0.02)
        return int(answer["job_id"])
