"""Accepted is final, with the server killed between completions and copies, and uploads that come meanwhile."""

from __future__ import annotations

import os
import time
from hashlib import sha256
from typing import Any

import httpx
import pytest

from tests.fixtures.server import ServerProcess

SOAK = bool(os.environ.get("SOAK"))
ROUNDS, JOBS = (30, 40) if SOAK else (2, 8)


@pytest.mark.timeout(3600 if SOAK else 120)
def test_killed_between_completion_and_copy(store: str, unstarted: ServerProcess) -> None:
    """What is served is what was accepted. What was written over before it was copied is redone, never served."""
    unstarted.start()
    for round_ in range(ROUNDS):
        _round(unstarted, round_, put_while_down=store == "s3")


def _round(server: ServerProcess, round_: int, *, put_while_down: bool) -> None:
    old = server.url
    with server.client() as http, httpx.Client(trust_env=False) as outside:
        grants = [_claimed(http, outside, f"{round_} {number}".encode()) for number in range(JOBS)]
        for grant in grants:
            outside.put(grant["upload_url"], content=b"good", headers=_OCTETS).raise_for_status()
        for grant in grants:
            body = {"worker_id": "w", "lease": grant["lease"], "output_key": grant["output_key"]}
            http.post(f"/api/jobs/{grant['job']['id']}/complete", json=body).raise_for_status()
    server.kill()
    with httpx.Client(trust_env=False) as outside:
        if put_while_down:  # by the store's own address, which does not know of the server's end
            for grant in grants[::2]:
                outside.put(grant["upload_url"], content=b"evil", headers=_OCTETS).raise_for_status()
        server.start()
        for grant in grants:
            outside.put(grant["upload_url"].replace(old, server.url), content=b"evil", headers=_OCTETS)
        with server.client() as http:
            for number, grant in enumerate(grants):
                found = _output(http, outside, grant["job"]["id"])
                assert found in (b"good", None), f"{found!r} was never accepted"
                if not put_while_down:
                    assert found == b"good", number
            _settle(http, grants)
            for grant in grants:
                job = http.get(f"/api/jobs/{grant['job']['id']}").json()
                wanted = b"good" if job["status"] == "completed" else None
                assert _output(http, outside, job["id"]) == wanted
                http.post(f"/api/jobs/{job['id']}/cancel")  # not to be claimed in the next round


_OCTETS = {"Content-Type": "application/octet-stream"}


def _claimed(http: httpx.Client, outside: httpx.Client, content: bytes) -> Any:
    http.post("/api/workers/register", json={"id": "w", "type": "pdf"}).raise_for_status()
    made = http.post("/api/jobs", json={"type": "pdf", "source_hash": sha256(content).hexdigest()}).json()
    outside.put(made["upload_url"], content=content, headers=_OCTETS).raise_for_status()
    http.post(f"/api/jobs/{made['job_id']}/uploaded").raise_for_status()
    grant = http.post("/api/jobs/claim", json={"worker_id": "w", "job_type": "pdf", "wait": 10}).json()
    assert grant["job"]["id"] == made["job_id"]
    return grant


def _output(http: httpx.Client, outside: httpx.Client, job_id: int) -> bytes | None:
    answer = http.get(f"/api/files/{job_id}/output/url")
    if answer.status_code == 404:
        return None
    return outside.get(answer.raise_for_status().json()["url"]).raise_for_status().content


def _settle(http: httpx.Client, grants: list[Any]) -> None:
    """Until each output is served, or its job is to be done anew; the test's own time is the limit."""
    left = {grant["job"]["id"] for grant in grants}
    while left:
        for job_id in sorted(left):
            job = http.get(f"/api/jobs/{job_id}").json()
            served = http.get(f"/api/files/{job_id}/output/url").status_code == 200
            if job["status"] != "completed" or served:
                left.discard(job_id)
        time.sleep(0.05)
