"""Somebody who submits and a worker, by plain HTTP: what commands look at happens when a test says so."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.cli.conftest import Running


class People:
    """Both with the administrator's token, the worker under the id `w1`."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def submit(self, content: str, type_: str, **fields: Any) -> int:
        """A job whose source is there; `content` makes it another one."""
        digest = hashlib.sha256(content.encode()).hexdigest()
        job = self.call("POST", "/api/jobs", {"type": type_, "source_hash": digest, **fields})
        put = {"Content-Type": "application/octet-stream"}
        httpx.put(job["upload_url"], content=content, headers=put, trust_env=False).raise_for_status()
        return int(job["job_id"])

    def claim(self, type_: str) -> dict[str, Any]:
        """Take a job that is there."""
        self.call("POST", "/api/workers/register", {"id": "w1", "type": type_})
        granted: dict[str, Any] = self.call("POST", "/api/jobs/claim", {"worker_id": "w1", "job_type": type_})
        assert granted["job"] is not None
        return granted

    def progress(self, granted: dict[str, Any], **progress: Any) -> None:
        beat = {"job_id": granted["job"]["id"], "lease": granted["lease"], "progress": progress}
        self.call("POST", "/api/workers/w1/heartbeat", {"jobs": [beat]})

    def complete(self, granted: dict[str, Any], output: str = "converted", **fields: Any) -> None:
        put = {"Content-Type": "application/octet-stream"}
        httpx.put(granted["upload_url"], content=output, headers=put, trust_env=False).raise_for_status()
        body = {"worker_id": "w1", "lease": granted["lease"], "output_key": granted["output_key"], **fields}
        self.call("POST", f"/api/jobs/{granted['job']['id']}/complete", body)

    def fail(self, granted: dict[str, Any], error: str, **fields: Any) -> None:
        body = {"worker_id": "w1", "lease": granted["lease"], "error": error, **fields}
        self.call("POST", f"/api/jobs/{granted['job']['id']}/fail", body)

    def call(self, method: str, path: str, body: object = None) -> Any:
        answer = self.http.request(method, path, json=body)
        assert answer.is_success, answer.text
        return answer.json()


@contextmanager
def people(running: Running) -> Iterator[People]:
    token = (running.folder / "data" / "admin-token").read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=running.url, headers=headers, timeout=60, trust_env=False) as http:
        yield People(http)
