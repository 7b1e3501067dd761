"""Clients of `/events`, in a process of their own: most read what comes, some stop reading at once.

    python -m bench.listeners ADDRESS PORT HEALTHY STALLED EVERY < headers

Thousands of frames a second are too many for a task each: this is one loop on epoll, and what it measures of a frame
is a regular expression's work. It says `ready` when every client has had its first frame, and reads what comes. When
its standard input has ended and nothing more comes, it prints one line of JSON. Clients come from several loopback
addresses, `EVERY` from each, for the server allows one address only so many streams.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import sys
import time
from typing import Any

# In the envelope, and not where it stands once more beside it.
SENT = re.compile(rb'"data":\{[^\n]*?"sent":"(\d+\.\d+)"')  # the clock that both processes share: CLOCK_MONOTONIC
RESYNC = b"event: resync"
FIRST = b"data: connected"
CONNECT_SECONDS = 60
SILENCE = 1.5  # seconds without a frame: nothing is under way any more
LONGEST_DRAIN = 60
STALLED_BUFFER = 4096  # bytes; the kernel must not read for them


def main() -> None:
    host, port, healthy, stalled, every = sys.argv[1], *map(int, sys.argv[2:6])
    headers = sys.stdin.readline().strip().replace("|", "\r\n")
    latencies: list[float] = []
    found = {"frames": 0, "resyncs": 0, "closed": 0}
    selector = selectors.DefaultSelector()
    kept: list[socket.socket] = []
    for number in range(healthy + stalled):
        sock = socket.socket()
        if number >= healthy:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_BUFFER)
        sock.settimeout(CONNECT_SECONDS)
        sock.bind((f"127.0.1.{1 + number // every}", 0))
        sock.connect((host, port))
        sock.sendall(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\n{headers}\r\n\r\n".encode())
        begun = b""
        while FIRST not in begun:
            more = sock.recv(4096)
            if not more or b" 200 " not in (begun + more)[:32]:
                raise SystemExit(f"client {number}: {(begun + more).decode()[:300]}")
            begun += more
        kept.append(sock)
        if number < healthy:
            sock.setblocking(False)
            selector.register(sock, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print("ready", flush=True)
    began = time.process_time(), time.monotonic()
    while _read(selector, latencies, found):
        pass
    selector.unregister(sys.stdin)
    give_up = time.monotonic() + LONGEST_DRAIN
    while time.monotonic() < give_up and (ready := selector.select(SILENCE)):
        _receive(ready, selector, latencies, found)
    busy = (time.process_time() - began[0]) / (time.monotonic() - began[1])
    print(json.dumps(found | {"load_cpu": round(busy, 3), "latencies": [round(each, 5) for each in latencies]}))


def _read(selector: selectors.BaseSelector, latencies: list[float], found: dict[str, Any]) -> bool:
    """What can be read now; False when our input has ended."""
    ready = selector.select()
    _receive(ready, selector, latencies, found)
    return not any(key.fileobj is sys.stdin for key, _ in ready)


def _receive(ready: Any, selector: selectors.BaseSelector, latencies: list[float], found: dict[str, Any]) -> None:
    for key, _ in ready:
        sock = key.fileobj
        if not isinstance(sock, socket.socket):
            continue
        data = sock.recv(65536)
        now = time.monotonic()
        if not data:
            found["closed"] += 1
            selector.unregister(sock)
        # A frame that is cut in two by a read is not measured, and it is counted nowhere: one in a hundred.
        latencies.extend(now - float(sent) for sent in SENT.findall(data))
        found["frames"] += data.count(b"\n\n")
        found["resyncs"] += data.count(RESYNC)


if __name__ == "__main__":
    main()
