"""SIGTERM ends the process within its grace, whatever clients do: some of each rude kind, side by side."""

from __future__ import annotations

import hashlib
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fixtures.server import ServerProcess, serving

GRACE = 2  # seconds
PATIENCE = 60  # seconds on a busy machine; a server that is held up by one of these would never end
LARGE = 16 << 20  # bytes: more than sockets' buffers take
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_WINDOW = b"\0\0\6\4\0\0\0\0\0\0\4\0\0\0\0"  # SETTINGS: INITIAL_WINDOW_SIZE=0
GET_LIVEZ = b"\0\0\x11\1\5\0\0\0\1\x82\x86\x41\1x\x04\6/livez"


class Rude:
    """What the kinds of clients need: a server with a worker, an upload's URL and a download's."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.own = f"Host: x\r\nAuthorization: Bearer {server.token}\r\n"
        self.json = self.own + "Content-Type: application/json\r\n"
        with server.client() as http:
            assert http.post("/api/workers/register", json={"id": "w", "type": "none"}).status_code == 200
            data = bytes(LARGE)
            digest = hashlib.sha256(data).hexdigest()
            job = http.post("/api/jobs", json={"type": "pdf", "source_hash": digest}).json()
            assert http.put(job["upload_url"], content=data).status_code == 200
            assert http.post(f"/api/jobs/{job['job_id']}/uploaded").status_code == 200
            self.download = http.get(f"/api/files/{job['job_id']}/source/url").json()["url"].removeprefix(server.url)
            other = http.post("/api/files/upload-url", json={"source_hash": "a" * 64}).json()
            self.upload = other["url"].removeprefix(server.url)

    def kinds(self) -> Iterator[tuple[str, bytes, bytes]]:
        """Each kind's name, what it says, and what it goes on to say without end, a little at a time."""
        wait = b'{"worker_id":"w","job_type":"none","wait":60}'
        claim = self._post("/api/jobs/claim", len(wait)) + wait
        download = f"GET {self.download} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        upload = f"PUT {self.upload} HTTP/1.1\r\nHost: x\r\n"
        large = f"Content-Length: {LARGE}\r\n\r\n"
        yield "silent", b"", b""
        yield "half a head", b"GET /livez HTT", b""
        yield "a head without end", b"GET /livez HTTP/1.1\r\nX: ", b"x"
        yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"\0"
        yield "HTTP/2 without a window", PREFACE + NO_WINDOW + GET_LIVEZ, b""
        yield "h2c", self._get("/api/openapi.json", "Upgrade: h2c\r\n"), b""
        yield "websocket", self._get("/events", "Connection: Upgrade\r\nUpgrade: websocket\r\n"), b""
        yield "no body", self._post("/api/jobs/claim", 10), b""
        yield "no body, on a route that is not hot", self._post("/api/jobs/1/retry", 10), b""
        yield "a body without end", self._post("/api/jobs", 1_000_000), b" "
        yield "the same on a route that is not hot", self._post("/api/jobs/1/retry", 1_000_000), b" "
        yield "more than is taken", self._post("/api/jobs", 1 << 40), bytes(1000)
        yield "waits for 100", self._post("/api/jobs", 10, "Expect: 100-continue\r\n"), b""
        yield "half an upload", (upload + large).encode() + bytes(3 << 20), b""
        yield "an upload without end", (upload + "Transfer-Encoding: chunked\r\n\r\n").encode(), b"1\r\nx\r\n"
        yield "a refused upload", (upload.replace(" HTTP", "x HTTP") + large).encode(), bytes(9999)
        yield "a download that is not read", download, b""
        yield "many downloads that are not read", download * 20, b""
        yield "an event stream that is not read", self._get("/events"), b""
        yield "a long poll", claim, b""
        yield "a long poll with more behind", claim + claim + b"X", b""
        yield "many requests whose answers are not read", self._get("/api/openapi.json") * 150, b""
        yield "many hot requests without end", b"", self._get("/api/stats") * 3
        yield "says that it goes and stays", self._get("/livez", "Connection: close\r\n"), b""
        yield "HTTP/1.0", b"GET /livez HTTP/1.0\r\n\r\n", b"GET"

    def _get(self, path: str, more: str = "") -> bytes:
        return f"GET {path} HTTP/1.1\r\n{self.own}{more}\r\n".encode()

    def _post(self, path: str, length: int, more: str = "") -> bytes:
        return f"POST {path} HTTP/1.1\r\n{self.json}{more}Content-Length: {length}\r\n\r\n".encode()


def connected(server: ServerProcess) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect((host, int(port)))
    client.setblocking(False)
    return client


def said(client: socket.socket, data: bytes) -> None:
    """As much of it as the client gets rid of now."""
    with suppress(OSError):
        client.send(data)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with serving(tmp_path / "data", shutdown_grace=GRACE, log_level="warning") as process:
        yield process


@pytest.mark.parametrize("half_closed", [False, True])
def test_none_of_twenty_kinds_holds_up_the_end(server: ServerProcess, half_closed: bool) -> None:
    rude = Rude(server)
    kinds = list(rude.kinds())
    assert len(kinds) >= 20
    clients = [(connected(server), begins, goes_on) for _, begins, goes_on in kinds for _ in range(3)]
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(0.05):
            for client, _, more in clients:
                if more:
                    said(client, more)

    talking = threading.Thread(target=go_on)
    try:
        for client, begins, more in clients:
            said(client, begins)
            if half_closed and not more:
                client.shutdown(socket.SHUT_WR)
        talking.start()
        time.sleep(1)  # all that these want to hold up is under way
        with server.client() as http:
            assert http.get("/livez").status_code == 200, "others are served meanwhile"
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    finally:
        ended.set()
        talking.join()
        for client, _, _ in clients:
            client.close()
    assert "Traceback" not in server.logged(), server.logged()


def rss(server: ServerProcess) -> int:
    assert server.process is not None
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * 4096


def test_other_protocols_are_refused_and_cost_nothing(server: ServerProcess) -> None:
    before = rss(server)
    for abuse in (PREFACE + NO_WINDOW + GET_LIVEZ * 100, b"GET /livez HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n"):
        for _ in range(40):
            with connected(server) as client:
                client.setblocking(True)
                client.settimeout(PATIENCE)
                client.sendall(abuse)
                assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
    assert rss(server) - before < 20 << 20
    assert server.stop() == 0
