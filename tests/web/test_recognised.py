"""Every answer of a real server bears its mark, by which clients tell it from a proxy's: refusals of all kinds."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fixtures.server import ServerProcess, serving

JSON = "Content-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("recognised") / "data"
    with serving(folder, request_timeout=0.2, max_body=2000, max_streams=1) as process:
        yield process


def answer(server: ServerProcess, request: str, *, half: bool = False) -> tuple[int, dict[str, str]]:
    """Status and headers of what comes back for these bytes."""
    to = urlsplit(server.url)
    assert to.hostname is not None
    assert to.port is not None
    with socket.create_connection((to.hostname, to.port), timeout=60) as line:
        line.sendall(request.replace("Host: x", f"Host: x\r\nAuthorization: Bearer {server.token}", 1).encode())
        if not half:
            line.shutdown(socket.SHUT_WR)
        said = b""
        while b"\r\n\r\n" not in said and (more := line.recv(65536)):
            said += more
    status, *lines = said.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    headers = (each.split(": ", 1) for each in lines)
    return int(status.split()[1]), {name.lower(): value for name, value in headers}


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /api/stats HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        ("GET /login HTTP/1.1\r\nHost: y\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: y\r\n\r\n", 303),
        ("no request at all\r\n\r\n", 400),
        ("GET /api/stats HTTP/1.1\r\nHost: y\r\n\r\n", 401),
        ("GET /objects/sources/x?sig=y HTTP/1.1\r\nHost: x\r\n\r\n", 403),
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        ("DELETE /api/stats HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (f"POST /api/jobs/claim HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 9999\r\n\r\n", 413),
        (f"POST /api/tokens HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 9999\r\n\r\n", 413),
        ("POST /api/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415),
        (f"POST /api/jobs HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 2\r\n\r\n{{}}", 422),
        (f"GET / HTTP/1.1\r\nHost: x\r\nX: {'x' * 100_000}\r\n\r\n", 431),
    ],
    ids=lambda value: value.split(" HTTP")[0][:30] if isinstance(value, str) else str(value),
)
def test_answers_bear_the_mark(server: ServerProcess, request_: str, status: int) -> None:
    got, headers = answer(server, request_)
    assert got == status
    assert headers["blobforge"] == "1"


@pytest.mark.parametrize("path", ["/api/jobs/claim", "/api/tokens"], ids=["lean", "by-hypercorn"])
def test_a_body_that_does_not_come(server: ServerProcess, path: str) -> None:
    request = f"POST {path} HTTP/1.1\r\nHost: x\r\n{JSON}Content-Length: 20\r\n\r\n{{"
    got, headers = answer(server, request, half=True)
    assert (got, headers["blobforge"]) == (408, "1")


def test_too_many_wrong_tokens(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        wrong = "GET {} HTTP/1.1\r\nHost: y\r\nAuthorization: Bearer bf_wrong\r\n\r\n"
        for path in ("/api/stats", "/api/tokens"):
            found = [answer(server, wrong.format(path)) for _ in range(22)]
            assert found[-1][0] == 429
            assert all(headers["blobforge"] == "1" for _, headers in found)


def test_too_many_streams(server: ServerProcess) -> None:
    with server.client() as http, http.stream("GET", "/events") as stream:
        assert stream.headers["BlobForge"] == "1"
        got, headers = answer(server, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (got, headers["blobforge"]) == (429, "1")
