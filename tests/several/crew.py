"""Workers that do nothing but the protocol, by the client that real ones use, and what became of their jobs."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

import trio

from blobforge.client import AsyncClient
from tests.fixtures.seaweed import Seaweed

PATIENCE = 90.0  # seconds: longer than any outage of these tests; a worker's own has no end


def put_sources(seaweed: Seaweed, prefix: str, count: int) -> list[str]:
    """So many documents in the store; their hashes."""
    store, hashes = seaweed.client(), []
    for number in range(count):
        content = f"document {number} of {prefix}".encode()
        hashes.append(hashlib.sha256(content).hexdigest())
        store.put_object(Bucket=seaweed.bucket, Key=f"{prefix}/sources/{hashes[-1]}", Body=content)
    return hashes


class Crew:
    """`completed`: ids of jobs whose completion was acknowledged, as often as it was."""

    def __init__(self, url: str, token: str, *, workers: int, seconds_each: float) -> None:
        self._url, self._token = url, token
        self._workers = [f"w{number}" for number in range(workers)]
        self._seconds = seconds_each
        self.submitted: list[int] = []
        self.completed: list[int] = []
        self.waits: list[float] = []  # seconds that calls took which do not wait by themselves

    def client(self) -> AsyncClient:
        return AsyncClient(self._url, token=self._token, patience=PATIENCE)

    async def submit(self, hashes: Iterable[str], *, pause: float) -> None:
        async with self.client() as client:
            for source in hashes:
                self.submitted.append((await client.submit_job("pdf", source, max_attempts=1)).job_id)
                await trio.sleep(pause)

    async def work(self, expected: int) -> None:
        """All of them, until so many jobs are done."""
        done = trio.Event()
        async with trio.open_nursery() as nursery:
            for name in self._workers:
                nursery.start_soon(self._one, name, expected, done)
            await done.wait()
            nursery.cancel_scope.cancel()

    async def _one(self, name: str, expected: int, done: trio.Event) -> None:
        async with self.client() as client:
            await client.register(name, "pdf")
            while True:
                for claimed in await client.claim(name, ["pdf"], claim_key=secrets.token_hex(8), wait=2):
                    began = trio.current_time()
                    await client.heartbeat(name, [{"job_id": claimed.job.id, "lease": claimed.lease}])
                    await trio.sleep(self._seconds)
                    await client.complete(claimed.job.id, name, claimed.lease or "", result={"by": name})
                    self.waits.append(trio.current_time() - began - self._seconds)
                    self.completed.append(claimed.job.id)
                    if len(self.completed) >= expected:
                        done.set()
