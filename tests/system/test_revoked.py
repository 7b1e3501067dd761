"""Tokens are deleted while workers wait by them, on a real server: who waited gets 401 at once, and no job."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from tests.fixtures.server import serving

WORKERS = 8
SOAK = "SOAK" in os.environ  # `make soak`: the long version
ROUNDS = 200 if SOAK else 6  # tokens of each worker
WAIT = 60  # seconds; nobody waits for so long, or the test would not end in its time
PATIENCE = 30


@pytest.mark.timeout(3600 if SOAK else 120)
async def test_who_waits_by_a_deleted_token_gets_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        found: list[str] = []
        refused = [0]
        async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=WAIT) as http:
            admin = {"Authorization": f"Bearer {server.token}"}
            done = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_submit, http, admin, done)
                async with trio.open_nursery() as workers:
                    for number in range(WORKERS):
                        workers.start_soon(_revoked, http, admin, f"w{number}", found, refused)
                done.set()
            stats = (await http.get("/api/stats", headers=admin)).json()
        assert found == []
        assert refused[0] == WORKERS * ROUNDS, "each token was refused in the end"
        # What was given to a token in the moment of its deletion went back, at no cost.
        assert (stats["running_jobs"], stats["dead_jobs"], stats["failed_jobs"]) == (0, 0, 0)
        assert "unhandled" not in server.logged()


async def _submit(http: httpx.AsyncClient, admin: dict[str, str], done: trio.Event) -> None:
    """Jobs all the time, more slowly than they are asked for."""
    number = 0
    while not done.is_set():
        number += 1
        source = b"%d" % number
        body = {"type": "pdf", "source_hash": hashlib.sha256(source).hexdigest()}
        made = (await http.post("/api/jobs", json=body, headers=admin)).json()
        headers = made.get("upload_headers", {"Content-Type": "application/octet-stream"})
        await http.put(made["upload_url"], content=source, headers=headers)
        await trio.sleep(0.02)


async def _revoked(
    http: httpx.AsyncClient, admin: dict[str, str], name: str, found: list[str], refused: list[int]
) -> None:
    """Claims as this worker by one token after the other. Each is deleted at some moment of a claim."""
    for number in range(ROUNDS):
        made = await http.post("/api/admin/tokens", json={"name": name, "scopes": ["work"]}, headers=admin)
        headers = {"Authorization": f"Bearer {made.json()['token']}"}
        registered = await http.post("/api/workers/register", json={"id": name, "type": "pdf"}, headers=headers)
        assert registered.status_code == 200, registered.text
        deleted = [False]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_claim, http, headers, name, deleted, found, refused)
            await trio.sleep(0.05 * (number % 5))
            answer = await http.delete(f"/api/admin/tokens/{made.json()['id']}", headers=admin)
            assert answer.is_success
            deleted[0] = True


async def _claim(
    http: httpx.AsyncClient,
    headers: dict[str, str],
    name: str,
    deleted: list[bool],
    found: list[str],
    refused: list[int],
) -> None:
    """Until the token is refused."""
    with trio.fail_after(PATIENCE):
        while True:
            late = deleted[0]
            body: dict[str, Any] = {"worker_id": name, "job_type": "pdf", "wait": WAIT}
            answer = await http.post("/api/jobs/claim", json=body, headers=headers)
            # At the door, by and by, wrong credentials are told to slow down; no good one ever is.
            if answer.status_code in (401, 429):
                refused[0] += 1
                return
            assert answer.status_code == 200, answer.text
            if late:
                found.append(f"{name} was let in by a deleted token: {answer.text}")
