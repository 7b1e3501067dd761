"""Servers as processes of their own, behind HAProxy with the configuration that `deploy/` has, and clients that come
through it."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.fixtures.seaweed import Seaweed, free_ports
from tests.several.next_release import NextRelease

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "haproxy.cfg"
START_SECONDS = 40


class Fleet:
    def __init__(self, folder: Path, database_url: str, seaweed: Seaweed, *, servers: int, **settings: Any) -> None:
        *ports, self.port = free_ports(servers + 1)
        self.folder = folder
        self.servers: list[NextRelease] = []
        self._proxy: subprocess.Popen[bytes] | None = None
        for number, port in enumerate(ports, start=1):
            given = seaweed.settings(folder.name) | {
                "s3_region": "us-east-1",
                "database_url": database_url,
                "server_name": f"server-{number}",
                "port": port,
                "trusted_proxies": "127.0.0.1",
                "public_url": self.url,
                "litestream_disabled": "true",
            }
            data = folder / f"server-{number}"
            data.mkdir()
            self.servers.append(NextRelease(data, **(given | settings)))
        self._configuration = folder / "haproxy.cfg"
        self._configuration.write_text(_adapted(CONFIGURATION.read_text(), self.port, ports))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return self.servers[0].token

    def start(self) -> None:
        for server in self.servers:
            server.start()
        with (self.folder / "haproxy.log").open("ab") as log:
            command = ["/usr/sbin/haproxy", "-db", "-f", str(self._configuration)]
            self._proxy = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert time.monotonic() < deadline, (self.folder / "haproxy.log").read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        if self._proxy is not None:
            self._proxy.kill()
            self._proxy.wait()
        for server in self.servers:
            server.close()


def _adapted(text: str, port: int, ports: list[int]) -> str:
    """With our ports, and as many servers as we have in place of the two."""
    lines = "\n".join(f"    server s{number} 127.0.0.1:{each}" for number, each in enumerate(ports, start=1))
    adapted, replaced = re.subn(r"    server one \S+\n    server two \S+", lines, text)
    assert replaced == 2
    return adapted.replace("bind :8080", f"bind 127.0.0.1:{port}").replace("inter 2s", "inter 300ms")


@contextmanager
def running_fleet(
    folder: Path, database_url: str, seaweed: Seaweed, *, servers: int = 3, **settings: Any
) -> Iterator[Fleet]:
    fleet = Fleet(folder, database_url, seaweed, servers=servers, **settings)
    try:
        fleet.start()
        yield fleet
    finally:
        fleet.close()
