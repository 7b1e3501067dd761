"""Many claimers at once: no errors, nothing twice. The old server answered 65 % of these claims with a 500."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import httpx
import trio

from tests.fixtures.server import ServerProcess

WORKERS, JOBS = 64, 256


async def test_64_workers_meet_no_error_and_complete_each_job_once(server: ServerProcess) -> None:
    headers = {"Authorization": f"Bearer {server.token}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    completed: Counter[int] = Counter()
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, timeout=60, trust_env=False, limits=limits
    ) as http:

        async def post(path: str, body: Any) -> Any:
            return (await http.post(path, json=body)).raise_for_status().json()

        async def worker(name: str) -> None:
            await post("/api/workers/register", {"id": name, "type": "pdf"})
            while completed.total() < JOBS:
                given = await post("/api/jobs/claim", {"worker_id": name, "job_type": "pdf", "wait": 1})
                if given["job"] is not None:
                    job_id = given["job"]["id"]
                    await post(f"/api/jobs/{job_id}/complete", {"worker_id": name, "lease": given["lease"]})
                    completed[job_id] += 1

        submitted = await _submit_all(http, post)
        async with trio.open_nursery() as nursery:
            for number in range(WORKERS):
                nursery.start_soon(worker, f"w{number}")
        assert completed == dict.fromkeys(submitted, 1)
        stats = (await http.get("/api/stats")).json()
        assert (stats["total_jobs"], stats["completed_jobs"]) == (JOBS, JOBS)
        # Each was tried exactly once: nobody else ever held it.
        for job_id in submitted[::50]:
            tries = (await http.get(f"/api/jobs/{job_id}")).json()["attempt_history"]
            assert [each["outcome"] for each in tries] == ["completed"]
    assert "unhandled" not in server.logged()


async def _submit_all(http: httpx.AsyncClient, post: Any) -> list[int]:
    """The jobs with their sources in the store; returns their ids."""
    contents = [f"document {number}".encode() for number in range(JOBS)]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    jobs = [{"type": "pdf", "source_hash": digest} for digest in digests]
    answers = (await post("/api/jobs/batch", {"jobs": jobs}))["items"]
    for answer, content in zip(answers, contents, strict=True):
        (await http.put(httpx.URL(answer["upload_url"]).raw_path.decode(), content=content)).raise_for_status()
    return [answer["job_id"] for answer in answers]
