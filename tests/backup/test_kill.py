"""Server, Litestream and disk are lost together, under load: what comes back is whole, and what is missing was
acknowledged within the last moments."""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable
from typing import Any

import apsw
import httpx
import pytest
import trio

from blobforge.store.sqlite.check import check
from tests.backup.conftest import caught_up, kill_all, lose_disk
from tests.fixtures.server import ServerProcess

SOAK = "SOAK" in os.environ  # `make soak`: the long version
LOSSES = 20 if SOAK else 2
WORKERS = 16
SYNC = 1.0  # seconds: the default
LIKELY_RUN = 4.0  # seconds of load before a loss, at most


class Load:
    """Submits and completes through `WORKERS` clients, and notes when (ms) the server had acknowledged what."""

    def __init__(self, server: ServerProcess) -> None:
        self.server = server
        self.submitted: dict[int, int] = {}
        self.completed: dict[int, int] = {}
        self.given: set[tuple[int, str]] = set()  # (job, output key): nobody else may ever get it
        self.errors: list[str] = []

    async def worker(self, http: httpx.AsyncClient, name: str, number: int) -> None:
        await self.post(http, "/api/workers/register", {"id": name, "type": "pdf"})
        while True:
            number += WORKERS
            content = f"document {number}".encode()
            body = {"type": "pdf", "source_hash": hashlib.sha256(content).hexdigest()}
            made = await self.post(http, "/api/jobs", body)
            self.submitted[made["job_id"]] = now()
            (await http.put(made["upload_url"], content=content, headers={"Authorization": ""})).raise_for_status()
            await self.post(http, f"/api/jobs/{made['job_id']}/uploaded", {})
            held = await self.post(http, "/api/jobs/claim", {"worker_id": name, "job_type": "pdf"})
            if held["job"] is None:
                continue
            job_id = held["job"]["id"]
            if (job_id, held["output_key"]) in self.given:
                self.errors.append(f"{held['output_key']} was given twice")
            self.given.add((job_id, held["output_key"]))
            await self.post(http, f"/api/jobs/{job_id}/complete", {"worker_id": name, "lease": held["lease"]})
            self.completed[job_id] = now()

    async def post(self, http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> Any:
        answer = await http.post(path, json=body)
        if answer.status_code >= 400:
            self.errors.append(f"{path}: {answer.status_code} {answer.text}")
        return answer.json()

    async def run(self, seconds: float, offset: int) -> int:
        """Load the server, then kill it and its Litestream; when (ms) that was."""
        headers = {"Authorization": f"Bearer {self.server.token}"}
        async with (
            httpx.AsyncClient(base_url=self.server.url, headers=headers, timeout=30, trust_env=False) as http,
            trio.open_nursery() as nursery,
        ):
            for number in range(WORKERS):
                nursery.start_soon(self.worker, http, f"w{number}", offset + number)
            await trio.sleep(seconds)
            at = now()
            kill_all(self.server)
            nursery.cancel_scope.cancel()
        return at


def now() -> int:
    return time.time_ns() // 1_000_000


@pytest.mark.timeout(LOSSES * 60 + 60)
async def test_what_is_lost_with_the_disk_is_what_was_acknowledged_last(
    serve: Callable[..., ServerProcess],
) -> None:
    server = serve(backup_sync_interval=SYNC)
    dice = random.Random(20261123)
    load = Load(server)
    worst = 0
    for loss in range(LOSSES):
        server.start()
        caught_up(server)
        killed = await load.run(dice.uniform(1.0, LIKELY_RUN), offset=loss * 1_000_000)
        lose_disk(server)
        server.start()
        assert check(server.database) == []
        lost = missing(server, load)
        if lost:
            worst = max(worst, killed - min(lost))
        # What is lost is lost for good: it is expected of nobody any more.
        forget_missing(server, load)
        assert server.stop() == 0
    assert load.errors == []
    assert len(load.completed) > 10 * LOSSES
    print(f"{LOSSES} losses, {len(load.submitted)} jobs kept; the oldest that was lost was {worst} ms old")
    assert worst < 2 * SYNC * 1000


def missing(server: ServerProcess, load: Load) -> list[int]:
    """When (ms) that which is not there any more had been acknowledged."""
    rows = statuses(server)
    lost = [at for job_id, at in load.submitted.items() if job_id not in rows]
    return lost + [at for job_id, at in load.completed.items() if rows.get(job_id) != "completed"]


def forget_missing(server: ServerProcess, load: Load) -> None:
    rows = statuses(server)
    load.submitted = {job_id: at for job_id, at in load.submitted.items() if job_id in rows}
    load.completed = {job_id: at for job_id, at in load.completed.items() if rows.get(job_id) == "completed"}


def statuses(server: ServerProcess) -> dict[int, str]:
    database = apsw.Connection(str(server.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return dict(database.execute("SELECT id, status FROM jobs"))
    finally:
        database.close()
