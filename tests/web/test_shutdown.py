"""SIGTERM: streams end, long polls are answered, new claims are refused, and the process ends with 0.

The servers here have all the time in the world to end (`shutdown_grace`): what holds them up is not cut off, and
the test fails by its own time limit.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.fixtures.server import ServerProcess, serving

GRACE = 3600  # seconds
PATIENCE = 30.0  # seconds; what is waited for takes a few milliseconds


S3 = {f"s3_{name}": "x" for name in ("bucket", "access_key", "secret_key")}
S3 |= {"s3_endpoint": "http://127.0.0.1:1", "litestream_disabled": "true"}


@pytest.fixture(params=[{}, S3], ids=["embedded", "s3"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """On either object store, for the app is put together differently; the S3 is one that is never there."""
    with serving(tmp_path / "data", shutdown_grace=GRACE, **request.param) as process:
        yield process


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gauge(server: ServerProcess, name: str) -> Callable[[], bool]:
    def is_one() -> bool:
        with server.client() as http:
            return f"{name} 1.0" in http.get("/metrics").text

    return is_one


def test_open_streams_end_first(server: ServerProcess) -> None:
    with server.client() as http, http.stream("GET", "/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "event: ping"
        assert server.stop() == 0
        assert list(lines)[-1] == "", "the stream ends by itself: no error, no half event"


def test_a_stream_that_nobody_reads_does_not_hold_up_the_end(server: ServerProcess) -> None:
    with server.client() as http, http.stream("GET", "/events"):
        with server.client() as other:
            for number in range(50):
                other.post("/api/jobs", json={"type": "pdf", "source_hash": f"{number:064x}"})
        assert server.stop() == 0


def test_long_polls_are_answered(server: ServerProcess) -> None:
    body = {"worker_id": "w", "job_type": "pdf"}
    answers: list[httpx.Response] = []
    with server.client() as http:
        assert http.post("/api/workers/register", json={"id": "w", "type": "pdf"}).status_code == 200

    def wait() -> None:
        with server.client() as client:
            answers.append(client.post("/api/jobs/claim", json=body | {"wait": 60}))

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(gauge(server, "blobforge_long_polls"))
    assert server.stop() == 0
    waiting.join(PATIENCE)
    assert (answers[0].status_code, answers[0].json()) == (200, {"job": None})


def test_new_claims_are_refused_while_old_requests_end(server: ServerProcess) -> None:
    """A slow upload keeps the server from ending at once; a connection that is open by then asks for a job."""
    body = b'{"worker_id": "w", "job_type": "pdf"}'
    with server.client() as http:
        http.post("/api/workers/register", json={"id": "w", "type": "pdf"})
    halfway = threading.Event()
    go_on = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield body[:5]
        halfway.set()
        go_on.wait(PATIENCE)
        yield body[5:]

    answers: list[httpx.Response] = []

    def claim() -> None:
        with server.client() as client:
            answers.append(
                client.post("/api/jobs/claim", content=slowly(), headers={"Content-Type": "application/json"})
            )

    claiming = threading.Thread(target=claim)
    claiming.start()
    assert halfway.wait(PATIENCE)
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    until(lambda: "stopping" in server.logged())
    go_on.set()
    claiming.join(PATIENCE)
    assert server.process.wait(PATIENCE) == 0
    assert answers[0].status_code == 503, answers[0].text
    assert answers[0].headers["BlobForge"] == "1"
    assert answers[0].json()["type"] == "urn:blobforge:problem:shutting-down"
    assert int(answers[0].headers["Retry-After"]) > 0


def test_idle_connections_do_not_hold_up_the_end(server: ServerProcess) -> None:
    with server.client() as http:
        assert http.get("/api/stats").status_code == 200
        assert server.stop() == 0
