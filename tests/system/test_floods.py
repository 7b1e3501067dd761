"""Crowds that want too much: slow senders, strangers, listeners that never read. Who behaves is served beside them.

One server bears it all, one crowd after the other: what one leaves behind would be seen by the next.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.fixtures.server import ServerProcess, serving
from tests.system.crowd import connect, crowd, dismissed, may_open, say
from tests.system.steady import PATIENCE, steady

SOAK = "SOAK" in os.environ  # `make soak`: the long version
SLOW, SILENT = (10_000, 20_000) if SOAK else (1_000, 1_000)
STRANGERS, STRANGE_SECONDS = (64, 30) if SOAK else (16, 3)
STREAMS = 200  # BLOBFORGE_MAX_STREAMS_PER_ADDRESS
JOBS = 5_000 if SOAK else 1_000
MIB = 1 << 20

pytestmark = pytest.mark.timeout(900 if SOAK else 120)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("floods") / "data"
    may_open(SILENT)
    room = SILENT + 2_000  # so that none of those is turned away
    with serving(data, request_timeout=4, max_connections=room, max_connections_per_address=room) as running:
        yield running
        assert "unhandled" not in running.logged()
        assert running.stop() == 0


def memory(server: ServerProcess) -> int:
    """Bytes of memory that it really uses."""
    assert server.process is not None
    return int(psutil.Process(server.process.pid).memory_info().rss)


def connections(server: ServerProcess) -> int:
    assert server.process is not None
    return len(psutil.Process(server.process.pid).net_connections("tcp"))


def emptied(server: ServerProcess, most: int) -> None:
    """Wait until the server holds no more connections than that."""
    deadline = time.monotonic() + PATIENCE
    while connections(server) > most:
        assert time.monotonic() < deadline, "connections are held that nobody has any longer"
        time.sleep(0.1)


def test_a_crowd_that_says_nothing(server: ServerProcess) -> None:
    """Those who come are served all the same, and so is who was there before."""
    with steady(server, "silent") as beside:
        beside.does(2)
        before = memory(server)
        with crowd(server, may_open(SILENT)) as silent:
            for _ in range(20):
                with server.client() as http:
                    assert http.get("/livez").status_code == 200
            beside.does(3)
            assert memory(server) < before + 50 * MIB + len(silent) * 10 * 1024
    emptied(server, 20)


def test_a_crowd_that_sends_a_byte_a_second(server: ServerProcess) -> None:
    """Half of them never end their headers, half of them their body."""
    head = f"POST /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
    body = head + "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    with steady(server, "slow") as beside:
        beside.does(3)
        before = memory(server)
        with crowd(server, SLOW) as everybody:
            heads, bodies = everybody[::2], everybody[1::2]
            say(heads, head.encode())
            say(bodies, body.encode())
            deadline = time.monotonic() + 3 * PATIENCE
            while dismissed(bodies) < len(bodies) or dismissed(heads) < len(heads):
                say(everybody, b"X")
                time.sleep(1)
                beside.does(1)
                assert time.monotonic() < deadline, "slow senders are held for ever"
            assert memory(server) < before + 100 * MIB + SLOW * 60 * 1024
        beside.does(3)
    emptied(server, 20)


def test_a_flood_of_strangers(server: ServerProcess) -> None:
    """Credentials that are none, as fast as they come: 401, then 429, and no worker is slowed down by it."""
    wanted = b"GET /api/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bf_%024d\r\n\r\n"
    statuses: Counter[bytes] = Counter()

    def knock(number: int) -> None:
        until, seen = time.monotonic() + STRANGE_SECONDS, Counter[bytes]()
        with connect(server) as stranger:
            while time.monotonic() < until:
                stranger.sendall(wanted % (number * 1_000_000 + seen.total()))
                seen[_answered(stranger)] += 1
        statuses.update(seen)

    with steady(server, "calm") as beside, ThreadPoolExecutor(STRANGERS) as strangers:
        beside.does(3)
        before = memory(server)
        knocks = [strangers.submit(knock, number) for number in range(STRANGERS)]
        beside.does(3)
        for each in knocks:
            each.result()
        assert memory(server) < before + 100 * MIB
        assert beside.refused == Counter()
        beside.does(3)
    assert set(statuses) == {b"401", b"429"}
    assert statuses[b"429"] > statuses[b"401"]
    emptied(server, 20)


def _answered(stranger: socket.socket) -> bytes:
    """Read one answer; returns its status."""
    held = b""
    while b"\r\n\r\n" not in held:
        held += stranger.recv(65_536)
    head, _, rest = held.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(rest) < length:
        rest += stranger.recv(65_536)
    return head.split(b" ")[1]


def test_listeners_that_never_read(server: ServerProcess) -> None:
    """Their room is limited, what waits for them is bounded, and who reads hears of everything."""
    wanted = f"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode()
    with steady(server, "loud") as beside, server.client() as http:
        beside.does(3)
        before = memory(server)
        with crowd(server, STREAMS, receive=4096) as deaf, connect(server) as late:
            say(deaf, wanted)
            with http.stream("GET", "/events", timeout=PATIENCE) as events:
                lines = events.iter_lines()
                assert next(line for line in lines if line.startswith("data:")) == "data: connected"
                # Everybody is listening by now; there is no room for another from there.
                until_listening(server, STREAMS + 1)
                late.sendall(wanted)
                assert _answered(late) == b"429"
                with server.client() as other:
                    for number in range(5):
                        hashes = [f"{number * JOBS + each:064x}" for each in range(JOBS // 5)]
                        batch = {"jobs": [{"type": "loud2", "source_hash": each} for each in hashes]}
                        assert other.post("/api/jobs/batch", json=batch).status_code == 200
                beside.does(3)
                heard = 0
                while heard < JOBS:  # a slow machine's reader may be told to look anew instead
                    line = next(lines)
                    if line == "event: resync":
                        break
                    heard += line.startswith("data: {") and json.loads(line[5:])["data"].get("type") == "loud2"
            assert memory(server) < before + 150 * MIB
        beside.does(3)
    emptied(server, 20)
    with server.client() as http, http.stream("GET", "/events") as events:
        assert events.status_code == 200


def until_listening(server: ServerProcess, streams: int) -> None:
    deadline = time.monotonic() + PATIENCE
    with server.client() as http:
        while True:
            text = http.get("/metrics").text
            used = [line for line in text.splitlines() if "event_streams" in line and not line.startswith("#")]
            if any(line.rsplit(" ", 1)[1] in (f"{streams}.0", str(streams)) for line in used):
                return
            assert time.monotonic() < deadline, used
            time.sleep(0.1)
