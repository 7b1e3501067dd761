"""What the system gives runs out: disk, open files, memory. The server says no, keeps its promises, recovers."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
import psutil

from tests.fixtures.server import ServerProcess
from tests.system.crowd import crowd
from tests.system.steady import Steady, steady

MIB = 1 << 20
FILES = 300


@contextmanager
def limited(server: ServerProcess, kind: int, soft: int) -> Iterator[psutil.Process]:
    """The running server may have no more than this, until the end of the block."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    before = process.rlimit(kind)
    process.rlimit(kind, (soft, before[1]))
    try:
        yield process
    finally:
        if process.is_running():
            process.rlimit(kind, before)


def test_no_file_can_grow(server: ServerProcess) -> None:
    """As on a full disk: neither the database nor the objects nor the log take another byte."""
    with steady(server, "w") as beside:
        beside.does(3)
        with limited(server, resource.RLIMIT_FSIZE, 1), server.client() as http:
            beside.is_refused(5)
            completed = dict(beside.completed)
            assert http.get("/livez").status_code == 200
            assert http.get("/api/jobs").status_code == 200
            for job_id in completed:
                assert http.get(f"/api/jobs/{job_id}").json()["status"] == "completed"
            assert http.get("/readyz").status_code == 503
        beside.does(3)
        with server.client() as http:
            until_ready(http)
    assert server.stop() == 0


def until_ready(http: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while http.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Confined(ServerProcess):
    """A server that may never have more than FILES open files."""

    def spawn(self, environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = ["sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh", sys.executable, "-m", "blobforge.cli", "serve"]
        return subprocess.Popen(command, env=environment, stdout=log, stderr=log)


def test_no_file_can_be_opened(tmp_path: Path) -> None:
    """Connections take all the files that they get, and never those that the database and the objects need."""
    server = Confined(tmp_path / "data")
    server.folder.mkdir()
    try:
        server.start()
        assert server.process is not None
        process = psutil.Process(server.process.pid)
        with steady(server, "w") as beside:
            beside.does(3)
            with crowd(server, 2 * FILES):
                beside.does(5)
                assert process.num_fds() < FILES
                with server.client() as http:  # from another address there is room for one more
                    assert http.get("/readyz").status_code == 200
            beside.does(3)
        assert "raise the limit of open files" in server.logged()
        assert "Too many open files" not in server.logged()
        assert server.stop() == 0
    finally:
        server.close()


def press(server: ServerProcess, clients: int) -> list[int]:
    """So many clients at once, each with bodies of the largest size; returns the statuses, 0 for no answer."""
    body = b'{"jobs":[' + b" " * (MIB - 200) + b"]}"
    headers = {"Content-Type": "application/json"}

    def one(_: int) -> int:
        try:
            with server.client() as http:
                return http.post("/api/jobs/batch", content=body, headers=headers).status_code
        except httpx.TransportError:
            return 0

    with ThreadPoolExecutor(clients) as crowded:
        return list(crowded.map(one, range(3 * clients)))


def test_little_memory_is_enough(server: ServerProcess) -> None:
    """A crowd with the largest bodies that there may be, in a server that has no more than a small container."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    with steady(server, "w") as beside:
        beside.does(3)
        with limited(server, resource.RLIMIT_DATA, process.memory_info().data + 192 * MIB):
            statuses = press(server, 32)
            beside.does(3)
        assert set(statuses) == {422}
        beside.does(3)
    assert server.stop() == 0


def test_no_memory_is_left(server: ServerProcess) -> None:
    """Whom it cannot serve then, it does not serve; it may end. What it has acknowledged is there afterwards."""
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    beside = Steady(server, "w")
    beside.start()
    beside.does(5)
    with limited(server, resource.RLIMIT_DATA, process.memory_info().data):
        statuses = press(server, 16)
        assert set(statuses) <= {422, 500, 503, 0}
    beside.stop()
    server.kill()
    server.start()
    beside.check_kept()
    with steady(server, "v") as after:
        after.does(3)
