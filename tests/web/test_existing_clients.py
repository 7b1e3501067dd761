"""Existing workers and command-line clients run unchanged: their whole exchange, with nothing but httpx.

These are the shapes that other people's programs were written against: names, nesting and status codes are exact,
and a test that has to be changed here means that one of those programs breaks. Each runs on both object stores.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.fixtures.server import ServerProcess, serving

PDF = b"%PDF-1.7 a small one"
HASH = hashlib.sha256(PDF).hexdigest()
OCTETS = {"Content-Type": "application/octet-stream"}
PATIENCE = 60.0  # seconds; "within seconds" on a busy machine

JOB = {"id", "type", "status", "priority", "source_hash", "attempts", "max_attempts", "created_at", "updated_at"}
JOB_MAY = JOB | {
    "source_path", "source_size", "worker_id", "started_at", "completed_at", "last_error", "tags", "metadata",
    "result", "progress", "not_before", "heartbeat_at", "output_key", "losses", "attempt_history", "attempts_total",
    "failure", "progress_at", "expected_end", "waiting",
}  # fmt: skip
STATS = {
    "total_jobs", "pending_jobs", "running_jobs", "completed_jobs", "failed_jobs", "dead_jobs",
    "total_workers", "online_workers", "offline_workers",
}  # fmt: skip


@pytest.fixture(params=["embedded", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server process on either object store."""
    variables: dict[str, object] = {}
    if request.param == "s3":
        seaweed = request.getfixturevalue("seaweed")
        variables = {
            "s3_endpoint": seaweed.endpoint,
            "s3_bucket": seaweed.bucket,
            "s3_access_key": seaweed.access_key,
            "s3_secret_key": seaweed.secret_key,
            "s3_prefix": f"existing-{tmp_path.name}",
            "litestream_disabled": "true",
        }
    with serving(tmp_path / "data", retry_backoff=0, **variables) as process:
        yield process


@pytest.fixture
def cli(place: ServerProcess) -> Iterator[httpx.Client]:
    """What an existing command-line client sends: a bearer token and JSON."""
    with place.client() as client:
        yield client


def ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def transfer(method: str, url: str, **options: Any) -> httpx.Response:
    """A request to a presigned URL, as a client makes it that knows nothing else of us."""
    answer = httpx.request(method, url, timeout=60, trust_env=False, **options)
    assert answer.status_code == 200, answer.text
    return answer


def submit(cli: httpx.Client, content: bytes = PDF, type_: str = "pdf-convert", **fields: Any) -> int:
    """What `submit` does: create, PUT the file if there is an upload_url, with that one header, and no more."""
    digest = hashlib.sha256(content).hexdigest()
    made = ok(cli.post("/api/jobs", json={"type": type_, "source_hash": digest} | fields), 201)
    assert made["existing"] is False
    assert isinstance(made["job_id"], int)
    if "upload_url" in made:
        transfer("PUT", made["upload_url"], content=content, headers=OCTETS)
    # Nobody says that it is there: the server finds it.
    until(cli, made["job_id"], "pending")
    return made["job_id"]


def until(cli: httpx.Client, job_id: int, status: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while (job := ok(cli.get(f"/api/jobs/{job_id}")))["status"] != status:
        assert time.monotonic() < deadline, f"{job_id} is not {status}: {job}"
        time.sleep(0.05)
    return job


def an_existing_worker(place: ServerProcess, cli: httpx.Client, worker_id: str = "worker-1") -> httpx.Client:
    """Its credential, as an administrator makes it, in the two headers that it sends with everything."""
    made = ok(cli.post("/api/admin/workers", json={"id": worker_id, "name": "Worker", "type": "pdf-convert"}), 201)
    assert made.keys() == {"id", "name", "type", "secret"}
    assert (made["id"], made["name"], made["type"]) == (worker_id, "Worker", "pdf-convert")
    return place.client(**{"X-Worker-ID": worker_id, "X-Worker-Secret": made["secret"]})


def test_a_worker(place: ServerProcess, cli: httpx.Client) -> None:
    job_id = submit(cli, source_path="/scans/report.pdf", source_size=len(PDF), tags=["inbox"], metadata={"case": 7})
    with an_existing_worker(place, cli) as worker:
        hello = {"id": "worker-1", "type": "pdf-convert", "metadata": {"hostname": "box", "gpus": 2}}
        assert ok(worker.post("/api/workers/register", json=hello))["status"] == "registered"
        assert ok(worker.post("/api/workers/worker-1/heartbeat", json={"job_id": None}))["status"] == "ok"

        claim = {"worker_id": "worker-1", "job_type": "pdf-convert"}
        granted = ok(worker.post("/api/jobs/claim", json=claim))
        assert granted.keys() == {"job", "source_url", "upload_url", "output_key", "lease", "lease_expires_at"}
        job = granted["job"]
        assert JOB <= job.keys() <= JOB_MAY
        assert job["id"] == job_id
        assert job["status"] == "running"
        assert job["attempts"] == 1
        assert job["worker_id"] == "worker-1"
        assert (job["source_path"], job["source_size"]) == ("/scans/report.pdf", len(PDF))
        assert (job["tags"], job["metadata"]) == (["inbox"], {"case": 7})
        assert ok(worker.post("/api/jobs/claim", json=claim)) == {"job": None}

        assert transfer("GET", granted["source_url"]).content == PDF
        progress = {"job_id": job_id, "progress": {"stage": "ocr", "percent": 40, "own": [1]}}
        assert ok(worker.post("/api/workers/worker-1/heartbeat", json=progress))["status"] == "ok"
        assert ok(cli.get(f"/api/jobs/{job_id}"))["progress"] == progress["progress"]
        transfer("PUT", granted["upload_url"], content=b"# markdown", headers=OCTETS)

        done = {"worker_id": "worker-1", "output_key": granted["output_key"], "result": {"pages": 3}}
        assert ok(worker.post(f"/api/jobs/{job_id}/complete", json=done)) == {"status": "completed"}
        assert ok(worker.post("/api/workers/worker-1/unregister")) == {"status": "unregistered"}
        assert ok(cli.get("/api/workers"))[0]["status"] == "offline"

    shown = ok(cli.get(f"/api/jobs/{job_id}"))
    assert (shown["status"], shown["result"], shown["worker_id"]) == ("completed", {"pages": 3}, "worker-1")
    assert shown["completed_at"].endswith("Z")
    found = ok(cli.get(f"/api/files/{job_id}/output/url"))
    assert found.keys() == {"url"}
    download = transfer("GET", found["url"])
    assert download.content == b"# markdown"
    assert "report" in download.headers["Content-Disposition"]
    assert transfer("GET", ok(cli.get(f"/api/files/{job_id}/source/url"))["url"]).content == PDF


def test_a_worker_that_fails(place: ServerProcess, cli: httpx.Client) -> None:
    job_id = submit(cli, max_attempts=2)
    with an_existing_worker(place, cli) as worker:
        ok(worker.post("/api/workers/register", json={"id": "worker-1", "type": "pdf-convert", "metadata": {}}))
        failed = {"worker_id": "worker-1", "error": "no text in it"}
        for will_retry in (True, False):
            until(cli, job_id, "pending")  # by itself, after its back-off
            claim = {"worker_id": "worker-1", "job_type": "pdf-convert"}
            assert ok(worker.post("/api/jobs/claim", json=claim))["job"]["id"] == job_id
            answer = ok(worker.post(f"/api/jobs/{job_id}/fail", json=failed))
            assert answer == {"status": "failed", "will_retry": will_retry}
        late = worker.post(f"/api/jobs/{job_id}/complete", json={"worker_id": "worker-1", "output_key": "x"})
        assert late.status_code == 409
        assert late.json()["error"] == late.json()["detail"]
    dead = ok(cli.get(f"/api/jobs/{job_id}"))
    assert (dead["status"], dead["attempts"], dead["last_error"]) == ("dead", 2, "no text in it")


def test_a_command_line_client(place: ServerProcess, cli: httpx.Client) -> None:
    first = submit(cli, b"one", "pdf", priority=2, tags=["inbox"])
    second = submit(cli, b"two", "pdf")
    third = submit(cli, b"three", "pdf")

    again = {"type": "pdf", "source_hash": hashlib.sha256(b"one").hexdigest()}
    assert ok(cli.post("/api/jobs", json=again)) == {"job_id": first, "existing": True, "status": "pending"}

    listed = ok(cli.get("/api/jobs"))
    assert {"jobs", "total", "limit", "offset"} <= listed.keys()
    assert (listed["total"], listed["limit"], listed["offset"]) == (3, 50, 0)
    assert [job["id"] for job in listed["jobs"]] == [first, third, second]
    page = ok(cli.get("/api/jobs", params={"status": "pending", "type": "pdf", "limit": 1, "offset": 1}))
    assert ([job["id"] for job in page["jobs"]], page["total"], page["offset"]) == ([third], 3, 1)

    stats = ok(cli.get("/api/stats"))
    assert stats.keys() >= STATS
    assert (stats["total_jobs"], stats["pending_jobs"], stats["total_workers"]) == (3, 3, 0)

    shown = ok(cli.get(f"/api/jobs/{first}"))
    assert JOB <= shown.keys() <= JOB_MAY
    assert shown["tags"] == ["inbox"]
    assert not {"worker_id", "started_at", "completed_at", "last_error", "result"} & shown.keys(), "absent where null"

    assert ok(cli.patch(f"/api/jobs/{second}/priority", json={"priority": 1})) == {"status": "updated"}
    assert ok(cli.post(f"/api/jobs/{third}/priority", json={"priority": 5})) == {"status": "updated"}
    assert [job["id"] for job in ok(cli.get("/api/jobs"))["jobs"]] == [second, first, third]

    assert ok(cli.post(f"/api/jobs/{first}/cancel")) == {"status": "cancelled"}
    retry = {"reset_attempts": True, "priority": 4}
    assert ok(cli.post(f"/api/jobs/{first}/retry", json=retry)) == {"status": "retrying"}
    assert ok(cli.get(f"/api/jobs/{first}"))["priority"] == 4
    assert ok(cli.get("/api/health"))["status"] == ok(cli.get("/health"))["status"] == "healthy"

    upload = ok(cli.post("/api/files/upload-url", json={"key": f"sources/{HASH}"}))
    assert upload["key"] == f"sources/{HASH}"
    transfer("PUT", upload["url"], content=PDF, headers=OCTETS)


@pytest.mark.parametrize("prefix", ["/api/tokens", "/api/admin/tokens"])
def test_tokens_and_workers_as_clients_know_them(server: ServerProcess, prefix: str) -> None:
    with server.client() as cli:
        made = ok(cli.post(prefix, json={"name": "ci"}), 201)
        assert made.keys() == {"id", "token", "name"}
        assert made["token"].startswith("bf_")
        with server.client(made["token"]) as other:
            assert ok(other.get("/api/jobs"))["jobs"] == []
        listed = ok(cli.get(prefix))
        assert [row["name"] for row in listed if row["id"] == made["id"]] == ["ci"]
        ok(cli.delete(f"{prefix}/{made['id']}"))

        with an_existing_worker(server, cli) as worker:
            ok(worker.post("/api/workers/register", json={"id": "worker-1", "type": "pdf-convert"}))
        (row,) = ok(cli.get("/api/workers"))
        assert {"id", "name", "type", "status", "last_heartbeat", "enabled", "created_at", "updated_at"} <= row.keys()
        assert (row["status"], row["enabled"]) == ("online", True)
        assert "current_job_id" not in row
        assert ok(cli.post("/api/workers/worker-1/drain")) == {"status": "draining"}
        assert ok(cli.get("/api/workers"))[0]["status"] == "draining"
        assert ok(cli.delete("/api/workers/worker-1")) == {"status": "removed"}
        assert ok(cli.get("/api/workers")) == []
