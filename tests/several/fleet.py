"""Servers as processes of their own, behind HAProxy with the configuration that `deploy/` has, and clients that come
through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.fixtures.haproxy import Haproxy
from tests.fixtures.seaweed import Seaweed, free_ports
from tests.several.next_release import NextRelease


class Fleet:
    def __init__(self, folder: Path, database_url: str, seaweed: Seaweed, *, servers: int, **settings: Any) -> None:
        *ports, self.port = free_ports(servers + 1)
        self.folder = folder
        self.servers: list[NextRelease] = []
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
        self._proxy = Haproxy(folder, self.port, ports)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def token(self) -> str:
        return self.servers[0].token

    def start(self) -> None:
        for server in self.servers:
            server.start()
        self._proxy.start()

    def close(self) -> None:
        self._proxy.close()
        for server in self.servers:
            server.close()


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
