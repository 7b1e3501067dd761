"""Many clients at once against a real server: submitters and workers that survive its death, and what they saw."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio

from tests.fixtures.server import ServerProcess

LOST = (httpx.TransportError,)  # the answer was lost: the effect may have happened or not


@dataclass
class Seen:
    """What the clients were told. Only answered requests count; `errors` are answers that nobody should get."""

    submitted: dict[int, str] = field(default_factory=dict)
    completed: Counter[int] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    lost: int = 0


class Swarm:
    """`workers` clients, each with its own connection; they go on until every job of the plan is completed."""

    def __init__(self, server: ServerProcess, *, workers: int) -> None:
        self.server = server
        self.workers = workers
        self.seen = Seen()
        self.alive = trio.Event()  # replaced by whoever kills the server, set again when it is back
        self.alive.set()
        self.done = 0
        self.total = 0

    async def submit(self, count: int) -> None:
        """Submit `count` jobs with their sources, by a few clients; each until it is acknowledged."""
        self.total = count
        numbers = iter(range(count))

        async def client() -> None:
            async with self._client() as http:
                for number in numbers:
                    await self._submit_one(http, number)

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(client)

    async def _submit_one(self, http: httpx.AsyncClient, number: int) -> None:
        content = f"document {number}".encode()
        digest = hashlib.sha256(content).hexdigest()
        while True:
            answer = await self._post(http, "/api/jobs", {"type": "pdf", "source_hash": digest})
            if answer is None:
                continue
            self.seen.submitted[answer["job_id"]] = digest
            if "upload_url" not in answer:
                return
            try:
                # The port may have changed with a restart; the path and its signature have not.
                path = httpx.URL(answer["upload_url"]).raw_path.decode()
                (await http.put(self.server.url + path, content=content)).raise_for_status()
                return
            except LOST:
                self.seen.lost += 1
                await self.alive.wait()

    async def work(self) -> None:
        """Claim and complete until all jobs are done."""
        async with trio.open_nursery() as nursery:
            for number in range(self.workers):
                nursery.start_soon(self._worker, f"w{number}")

    async def _worker(self, name: str) -> None:
        async with self._client() as http:
            registered = None
            while registered is None:
                registered = await self._post(http, "/api/workers/register", {"id": name, "type": "pdf"})
            turn = 0
            while len(self.seen.completed) < self.total:
                turn += 1
                claim = {"worker_id": name, "job_type": "pdf", "wait": 0.5, "claim_key": f"{name}-{turn}"}
                given = None
                while given is None:
                    given = await self._post(http, "/api/jobs/claim", claim)
                if given["job"] is None:
                    continue
                await self._complete(http, name, given)

    async def _complete(self, http: httpx.AsyncClient, name: str, given: dict[str, Any]) -> None:
        job_id = given["job"]["id"]
        body = {"worker_id": name, "lease": given["lease"], "result": {"by": name}}
        answer = None
        while answer is None:
            answer = await self._post(http, f"/api/jobs/{job_id}/complete", body)
        self.seen.completed[job_id] += 1

    async def _post(self, http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:
        """The answer, or None when it was lost and the request should be repeated."""
        await self.alive.wait()
        try:
            response = await http.post(self.server.url + path, json=body)
        except LOST:
            self.seen.lost += 1
            await trio.sleep(0.01)
            return None
        if response.status_code >= 400:
            self.seen.errors.append(f"{path}: {response.status_code} {response.text}")
        return response.json()

    def _client(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.server.token}"}
        return httpx.AsyncClient(headers=headers, timeout=60, trust_env=False)
