"""Three servers as processes of their own, on a PostgreSQL that may be stopped, and what they ask of S3."""

from __future__ import annotations

import hashlib
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import trio

from tests.fixtures.cable import Cable
from tests.fixtures.postgres import Cluster, running_postgres
from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess
from tests.several.streams import LogReader

PATIENCE = 50.0  # seconds: a client that has waited for so long has waited in vain
_REQUEST = re.compile(rb"(GET|PUT|DELETE) /(\S*?)(?:\?\S*)? HTTP/1.1\r\n")


class S3Line(Cable):
    """The way to S3. `asked` counts requests: the verb, and the last part of the path with what stands before it."""

    def __init__(self, to: int) -> None:
        super().__init__(to)
        self.asked: Counter[tuple[str, str]] = Counter()

    def _forward(self, direction: int, data: bytes, target: socket.socket) -> bool:
        if direction == 0:
            for verb, path in _REQUEST.findall(data):
                self.asked[verb.decode(), path.decode()] += 1
        return super()._forward(direction, data, target)

    def count(self, verb: str, part: str) -> int:
        return sum(n for (asked, path), n in self.asked.items() if asked == verb and part in path)


class Three:
    """`s3`: the settings of their store, whose line counts what is asked."""

    def __init__(
        self, folder: Path, cluster: Cluster, database: str, seaweed: Seaweed, line: S3Line, **settings: Any
    ) -> None:
        self.cluster = cluster
        self.line = line
        self.database = database
        self.database_url = cluster.url(database)
        self._seaweed = seaweed
        self._prefix = f"several/{folder.name}"
        s3 = seaweed.settings(self._prefix) | {"s3_endpoint": f"http://127.0.0.1:{line.port}"}
        self.servers = [
            ServerProcess(
                folder / f"s{number}", server_name=f"s{number}", database_url=self.database_url, **(s3 | settings)
            )
            for number in range(3)
        ]
        for server in self.servers:
            server.folder.mkdir()

    def places(self) -> list[Callable[[], str]]:
        return [lambda server=server: server.url for server in self.servers]  # type: ignore[misc]

    @property
    def token(self) -> str:
        return self.servers[0].token

    def put_source(self, content: bytes) -> str:
        """A source that is there; its hash."""
        digest = hash_of(content)
        key = f"{self._prefix}/sources/{digest}"
        self._seaweed.client().put_object(Bucket=self._seaweed.bucket, Key=key, Body=content)
        return digest

    def has_source(self, digest: str) -> bool:
        prefix = f"{self._prefix}/sources/{digest}"
        found = self._seaweed.client().list_objects_v2(Bucket=self._seaweed.bucket, Prefix=prefix)
        return bool(found["KeyCount"])


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Asking:
    """A client that chooses which of the servers it asks."""

    def __init__(self, three: Three, http: httpx.AsyncClient) -> None:
        self.three = three
        self.http = http

    async def call(
        self, server: int, method: str, path: str, body: Any = None, *, token: str | None = None
    ) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token or self.three.token}"}
        return await self.http.request(
            method, self.three.servers[server].url + path, json=body, headers=headers
        )  # fmt: skip

    async def done(self, server: int, method: str, path: str, body: Any = None) -> Any:
        answer = await self.call(server, method, path, body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def submit(self, server: int, type_: str, content: bytes, **fields: Any) -> int:
        digest = await trio.to_thread.run_sync(self.three.put_source, content)
        job = await self.done(server, "POST", "/api/jobs", {"type": type_, "source_hash": digest} | fields)
        while job["status"] == "uploading":  # the source is there, and is to be verified
            job = await self.done(server, "GET", f"/api/jobs/{job.get('job_id') or job['id']}")
            await trio.sleep(0.02)
        return int(job.get("job_id") or job["id"])

    async def register(self, server: int, worker: str, type_: str) -> None:
        await self.done(server, "POST", "/api/workers/register", {"id": worker, "type": type_})

    async def claim(self, server: int, worker: str, type_: str, **fields: Any) -> Any:
        body = {"worker_id": worker, "job_type": type_} | fields
        return await self.done(server, "POST", "/api/jobs/claim", body)

    async def waiting(self, server: int, count: int) -> None:
        """Until so many claims wait at that server."""
        while True:
            listed = await self.done(server, "GET", "/api/servers")
            [own] = [each for each in listed["servers"] if each["this"]]
            if own["long_polls"] >= count:
                return
            await trio.sleep(0.02)

    async def told(self, job_id: int) -> list[tuple[str, str]]:
        """The events of a job, with the status that they tell."""
        log = await trio.to_thread.run_sync(LogReader, self.three.database_url)
        try:
            await trio.to_thread.run_sync(log.read)
            return [
                (each.name, each.data.get("status", "")) for each in log.told() if each.data.get("job_id") == job_id
            ]
        finally:
            log.close()


@asynccontextmanager
async def asking(three: Three) -> AsyncIterator[Asking]:
    async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as http:
        yield Asking(three, http)


@contextmanager
def three_servers(folder: Path, seaweed: Seaweed, **settings: Any) -> Iterator[Three]:
    with ExitStack() as opened:
        # It does not wait for the disk: what is stopped here are processes.
        cluster = opened.enter_context(running_postgres(durable=True, settings={"fsync": "off"}))
        line = S3Line(int(seaweed.endpoint.rpartition(":")[2]))
        opened.callback(line.close)
        three = Three(folder, cluster, cluster.database(), seaweed, line, **settings)
        for server in three.servers:
            opened.callback(server.close)
            server.start()
        yield three
