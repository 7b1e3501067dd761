"""Answers that nobody reads: ten ways to have the server hold them, on real sockets, and what its memory says."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.fixtures.server import ServerProcess, serving

SOAK = "SOAK" in os.environ
JOBS = 500 if SOAK else 100
ASKED = 300 if SOAK else 60  # times each way
METADATA = "x" * 60_000
MIB = 1 << 20
# What one caller may leave unread of answers (16 MiB), what an answer takes while it is made, and what Python keeps
# of it. In the soak one address leaves unread all that it may of downloads, too (64 MiB), with a piece of each in the
# making, and a transaction reads five times as many of these jobs (30 MiB, as text and as rows).
MOST_GROWTH = (288 if SOAK else 160) * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("unread") / "data") as running:
        fill(running)
        yield running
        assert "unhandled" not in running.logged()


def fill(server: ServerProcess) -> None:
    with server.client() as http:
        for number in range(JOBS):
            source = b"%d " % number * (1 if number else 1 << 20)
            digest = hashlib.sha256(source).hexdigest()
            body = {"type": "pdf", "metadata": {"text": METADATA}, "source_hash": digest}
            made = http.post("/api/jobs", json=body).json()
            assert httpx.put(made["upload_url"], content=source, headers=made.get("upload_headers", {})).is_success
        assert http.post("/api/workers/register", json={"id": "w", "type": "pdf"}).is_success


def ways(server: ServerProcess) -> dict[str, tuple[str, str, Any, dict[str, str]]]:
    """Method, path, body and further headers of each way."""
    with server.client() as http:
        path = "/" + http.get("/api/files/1/source/url").json()["url"].split("/", 3)[3]
    claim = {"worker_id": "w", "job_type": "pdf", "limit": 500, "claim_key": "k"}
    return {
        "a claim that is repeated": ("POST", "/api/jobs/claim", claim, {}),
        "an idempotent replay": ("POST", "/api/jobs/claim", claim | {"claim_key": "l"}, {"Idempotency-Key": "once"}),
        "a list of jobs": ("GET", "/api/jobs?limit=100", None, {}),
        "a page of jobs": ("GET", "/jobs?limit=100", None, {}),
        "one job": ("GET", "/api/jobs/1", None, {}),
        "a job's page": ("GET", "/jobs/1", None, {}),
        "event streams": ("GET", "/events", None, {}),
        "a download": ("GET", path, None, {}),
        "the metrics": ("GET", "/metrics", None, {}),
        "the description of the API": ("GET", "/api/openapi.json", None, {}),
        "answers to many": ("POST", "/api/jobs/complete",
                            {"jobs": [{"job_id": n, "worker_id": "w"} for n in range(1, 1001)]}, {}),
    }  # fmt: skip


def request(server: ServerProcess, method: str, path: str, body: Any, headers: dict[str, str]) -> bytes:
    data = json.dumps(body).encode() if body is not None else b""
    lines = {
        "Host": "localhost",
        "Authorization": f"Bearer {server.token}",
        "Content-Length": str(len(data)),
    } | headers
    if data:
        lines["Content-Type"] = "application/json"
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    return head.encode() + data


def memory(server: ServerProcess) -> int:
    assert server.process is not None
    return int(psutil.Process(server.process.pid).memory_info().rss)


def test_nobody_makes_the_server_hold_what_is_not_read(server: ServerProcess, tmp_path: Path) -> None:
    found = ways(server)
    assert len(found) >= 10
    port = int(server.url.rpartition(":")[2])
    before = memory(server)
    said = []
    with server.client() as honest:
        for name, way in found.items():
            if name != "event streams":
                one = honest.request(way[0], way[1], json=way[2], headers=way[3])
                assert one.is_success, (name, one.text)
                said.append(f"{name}: an answer has {len(one.content):,} bytes")
            start = memory(server)
            most = start
            with ExitStack() as open_sockets:
                for number in range(ASKED):
                    client = open_sockets.enter_context(socket.socket())
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                    client.settimeout(10)
                    client.connect(("127.0.0.1", port))
                    with suppress(OSError):  # closed already: that is one way to say no
                        client.sendall(request(server, *way) * (1 if way[0] == "POST" else 2))
                    if number % 10 == 9:
                        most = max(most, memory(server))
                time.sleep(0.5)
                most = max(most, memory(server))
                assert honest.get("/livez").is_success
            said.append(f"{name}: {start / MIB:.0f} MiB before, {most / MIB:.0f} with it")
            assert most - before < MOST_GROWTH, "\n".join(said)
    print("\n".join(said))
