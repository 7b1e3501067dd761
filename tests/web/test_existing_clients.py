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
from urllib.parse import quote

import httpx
import msgspec
import pytest
import trio

from tests.fixtures.server import ServerProcess, serving
from tests.web.test_released_client import open_server
from web import events

PDF = b"%PDF-1.7 a small one"
HASH = hashlib.sha256(PDF).hexdigest()
OCTETS = {"Content-Type": "application/octet-stream"}
NULL: dict[str, Any] = {"content": b"null", "headers": {"Content-Type": "application/json"}}
PATIENCE = 60.0  # seconds; "within seconds" on a busy machine

JOB = {"id", "type", "status", "priority", "source_hash", "attempts", "max_attempts", "created_at", "updated_at"}
JOB_MAY = JOB | {
    "source_path", "source_size", "worker_id", "started_at", "completed_at", "last_error", "tags", "metadata",
    "result", "progress", "not_before", "heartbeat_at", "output_key", "losses", "attempt_history", "attempts_total",
    "failure", "progress_at", "expected_end", "waiting", "result_attempt", "result_size", "result_url",
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
        variables = seaweed.settings(f"existing-{tmp_path.name}") | {"litestream_disabled": "true"}
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


def test_a_worker_that_says_things_in_its_own_way(place: ServerProcess, cli: httpx.Client) -> None:
    """`null` bodies and members, progress and results of any kind, names with spaces: nothing costs it its job."""
    name, kind = "worker 1 größe", "pdf to 文"
    made = ok(cli.post("/api/admin/workers", json={"id": name, "name": "", "type": kind}), 201)
    assert made["name"] == name
    own = {"X-Worker-ID": name.encode(), "X-Worker-Secret": made["secret"].encode()}
    address = f"/api/workers/{quote(name)}"
    with httpx.Client(base_url=place.url, headers=own, timeout=60, trust_env=False) as worker:
        hello = {"id": name, "type": kind, "metadata": None, "labels": None, "version": None}
        assert ok(worker.post("/api/workers/register", json=hello))["status"] == "registered"
        for result in ("# markdown", 7, [1, None], {"pages": "lorem ipsum " * 200_000}):
            job_id = submit(cli, msgspec.json.encode(result)[:99], kind, tags=["", "inbox"], metadata=None)
            claim = {"worker_id": name, "job_type": kind, "wait": None, "limit": None, "claim_key": None}
            granted = ok(worker.post("/api/jobs/claim", json=claim))
            assert (granted["job"]["id"], granted["job"]["tags"]) == (job_id, ["inbox"])
            assert ok(worker.post(f"{address}/heartbeat", **NULL))["status"] == "ok"
            for progress in ("50%", 50, None, ["a"], {"stage": "x" * 20_000}):
                beat = {"job_id": job_id, "progress": progress}
                assert ok(worker.post(f"{address}/heartbeat", json=beat))["abandon"] == []
            assert ok(worker.post(f"{address}/heartbeat", json={"job_id": 0, "progress": "50%"}))["status"] == "ok"
            done = {"worker_id": name, "output_key": "", "result": result, "lease": None, "checksum": None}
            assert ok(worker.post(f"/api/jobs/{job_id}/complete", json=done)) == {"status": "completed"}
            assert ok(cli.get(f"/api/jobs/{job_id}/result")) == result
            shown = ok(cli.get(f"/api/jobs/{job_id}"))
            assert JOB <= shown.keys() <= JOB_MAY
            assert "output_key" not in shown
        assert ok(worker.post(f"{address}/unregister", **NULL)) == {"status": "unregistered"}
    listed = ok(cli.get("/api/jobs", params={"type": kind}))
    assert listed["total"] == 4
    assert len(msgspec.json.encode(listed)) < 100_000, "a list stays light, whatever the results are"


def test_a_command_line_client_that_posts_null(place: ServerProcess, cli: httpx.Client) -> None:
    job_id = submit(cli)
    assert ok(cli.post(f"/api/jobs/{job_id}/cancel", **NULL)) == {"status": "cancelled"}
    assert ok(cli.post(f"/api/jobs/{job_id}/retry", **NULL)) == {"status": "retrying"}
    assert ok(cli.get(f"/api/jobs/{job_id}"))["status"] == "pending"
    nothing = {"type": "pdf", "source_hash": HASH, "source_path": None, "priority": None, "max_attempts": None}
    assert ok(cli.post("/api/jobs", json=nothing | {"tags": None, "metadata": None}), 201)["existing"] is False

    for limit, taken in (("1000", 100), ("abc", 50), ("0", 1), ("-5", 1)):
        page = ok(cli.get("/api/jobs", params={"limit": limit, "offset": "x"}))
        assert (page["limit"], page["offset"], page["total"]) == (taken, 0, 2)
    assert ok(cli.get("/api/jobs", params={"offset": "-5"}))["offset"] == 0
    assert cli.get("/api/jobs", params={"offset": "20000"}).status_code == 422, "and not the same page for ever"
    page = ok(cli.get("/api/jobs", params={"status": "processing"}))
    assert (page["jobs"], page["total"]) == ([], 0)
    made = ok(cli.post("/api/tokens", json={"name": "for ever", "expires_in": 0, "scopes": None}), 201)
    with place.client(made["token"]) as other:
        assert ok(other.get("/api/jobs"))["total"] == 2
    with httpx.Client(base_url=place.url, trust_env=False) as nobody:
        assert ok(nobody.get("/api/auth/info"))["oidc_enabled"] is False
        assert nobody.get("/logout").status_code == 200


def test_plain_uploads_of_a_source(place: ServerProcess, cli: httpx.Client) -> None:
    """The one header, whether the source is awaited or has been verified; what is not the source never becomes it."""
    waiting = ok(cli.post("/api/jobs", json={"type": "pdf", "source_hash": HASH}), 201)
    for body in (b"something else", PDF):
        answer = httpx.put(waiting["upload_url"], content=body, headers=OCTETS, timeout=60, trust_env=False)
        assert answer.status_code == 200 or (body != PDF and answer.status_code == 422), answer.text
        if body != PDF:
            cli.post(f"/api/jobs/{waiting['job_id']}/uploaded")
            assert ok(cli.get(f"/api/jobs/{waiting['job_id']}"))["status"] == "uploading"
            waiting = ok(cli.post("/api/jobs", json={"type": "pdf", "source_hash": HASH}))
    until(cli, waiting["job_id"], "pending")

    for asked in ({"key": f"sources/{HASH}"}, {"source_hash": HASH, "key": None, "content_type": None}):
        for body in (PDF, b"%PDF evil"):
            upload = ok(cli.post("/api/files/upload-url", json=asked))
            assert upload["key"] == f"sources/{HASH}"
            answer = httpx.put(upload["url"], content=body, headers=OCTETS, timeout=60, trust_env=False)
            assert answer.status_code == 200 or (body != PDF and answer.status_code == 422), answer.text
            source = ok(cli.get(f"/api/files/{waiting['job_id']}/source/url"))["url"]
            assert transfer("GET", source).content == PDF
    assert ok(cli.get(f"/api/jobs/{waiting['job_id']}"))["status"] == "pending"


class Consumer:
    """What existing programs read of the stream: the lines of one frame, up to the empty one."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()

    def frame(self) -> dict[str, str]:
        found: dict[str, str] = {}
        while line := next(self._lines):
            name, _, value = line.partition(": ")
            if name:  # else a comment
                found[name] = value
        return found

    def about(self, job_id: int, *events: str) -> dict[str, Any]:
        """The data of the next of these events about a job, out of its envelope."""
        while True:
            frame = self.frame()
            if frame.get("event") in events:
                whole = msgspec.json.decode(frame["data"])
                assert whole["type"] == frame["event"]
                assert frame["id"]
                if whole["data"].get("job_id") == job_id:
                    return dict(whole["data"])


def test_an_sse_consumer(place: ServerProcess, cli: httpx.Client) -> None:
    with cli.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as answer, place.client() as other:
        assert answer.headers["Content-Type"].partition(";")[0] == "text/event-stream"
        stream = Consumer(answer)
        assert stream.frame() == {"event": "ping", "data": "connected"}
        job_id = submit(other)
        about = {"job_id": job_id, "type": "pdf-convert"}
        assert stream.about(job_id, "job_created") == about | {"status": "uploading"}
        assert stream.about(job_id, "job_updated") == about | {"status": "pending"}
        with an_existing_worker(place, other) as worker:
            ok(worker.post("/api/workers/register", json={"id": "worker-1", "type": "pdf-convert"}))
            mine = {"worker_id": "worker-1"}
            claim = mine | {"job_type": "pdf-convert"}
            ok(worker.post("/api/jobs/claim", json=claim))
            assert stream.about(job_id, "job_updated") == about | mine | {"status": "running"}
            ok(worker.post(f"/api/jobs/{job_id}/fail", json=mine | {"error": "no text"}))
            failed = about | mine | {"status": "failed", "error": "no text"}
            assert stream.about(job_id, "job_failed") == failed
            until(other, job_id, "pending")
            granted = ok(worker.post("/api/jobs/claim", json=claim))
            transfer("PUT", granted["upload_url"], content=b"# markdown", headers=OCTETS)
            ok(worker.post(f"/api/jobs/{job_id}/complete", json=mine | {"output_key": granted["output_key"]}))
            assert stream.about(job_id, "job_completed") == about | mine | {"status": "completed"}


async def test_an_sse_consumer_hears_that_the_stream_is_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `ping` that says `keepalive`, every 30 s; here sooner."""
    assert events.PING_SECONDS == 30
    monkeypatch.setattr(events, "PING_SECONDS", 0.05)
    async with open_server(tmp_path / "data") as (_, http), http.stream("GET", "/events") as answer:
        seen = b""
        with trio.fail_after(PATIENCE):
            async for chunk in answer.aiter_bytes():
                seen += chunk
                if seen.count(b"keepalive") == 3:
                    break
        assert seen.startswith(b"event: ping\ndata: connected\n\n")
        assert seen.count(b"event: ping\ndata: keepalive\n\n") == 3


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
