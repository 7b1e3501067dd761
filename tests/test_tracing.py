"""Traces as a collector gets them: a real OTLP/HTTP receiver on the loopback, which decodes what the server sends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from blobforge.config import ConfigError
from blobforge.environment import load
from tests.fixtures.local import LocalServer
from tests.fixtures.server import serving
from tests.web.calls import HEX

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT_ID = "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
UNSAMPLED = f"00-{TRACE_ID}-{PARENT_ID}-00"


class Collector:
    """What has arrived. `spans` is in the order of arrival."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.url = ""

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def below(self, parent: Span) -> list[Span]:
        return [span for span in self.spans if span.parent_span_id == parent.span_id]


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            request = ExportTraceServiceRequest()
            request.ParseFromString(body)
            found.requests.append(request)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=receiver.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{receiver.server_address[1]}"
    yield found
    receiver.shutdown()
    receiver.server_close()
    thread.join()


def test_a_request_is_a_span_and_so_is_what_it_waits_for(tmp_path: Path, collector: Collector) -> None:
    with serving(tmp_path / "data", log_format="json", otel_endpoint=collector.url) as server:
        with server.client() as http:
            job = {"type": "pdf", "source_hash": HEX}
            sent = {"traceparent": PARENT}
            submitted = http.post("/api/jobs", json=job, headers=sent)
            assert submitted.status_code == 201
            http.get(f"/api/jobs/{submitted.json()['job_id']}?token=secret-in-a-query", headers=sent)
            http.get("/api/jobs/999", headers=sent)
            http.post("/api/workers/register", json={"id": "w", "type": "pdf"}, headers={"traceparent": UNSAMPLED})
            http.post("/api/jobs/claim", json={"worker_id": "w", "job_type": "pdf"}, headers={"traceparent": "x"})
        assert server.stop() == 0, "the end sends what is left"
        token = server.token

    (submit,) = collector.named("POST /api/jobs")
    assert submit.kind == Span.SPAN_KIND_SERVER
    assert (submit.trace_id.hex(), submit.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    said = attributes(submit)
    assert (said["http.request.method"], said["http.route"]) == ("POST", "/api/jobs")
    assert said["http.response.status_code"] == 201
    assert said["blobforge.request_id"] == submitted.headers["X-Request-ID"]
    assert f'"trace_id":"{TRACE_ID}"' in server.logged(), "the log names the trace"

    children = {span.name: span for span in collector.below(submit)}
    assert children.keys() == {"object store head", "writer wait", "writer commit"}
    assert {span.trace_id.hex() for span in children.values()} == {TRACE_ID}
    wait, commit = children["writer wait"], children["writer commit"]
    told = dict(attributes(commit))
    assert told.pop("batch") >= 1, "the use of the token may be noted in the same transaction"
    assert told == {"message": "Submit", "committed": True}
    assert submit.start_time_unix_nano <= wait.start_time_unix_nano <= wait.end_time_unix_nano
    assert wait.end_time_unix_nano == commit.start_time_unix_nano <= commit.end_time_unix_nano

    (found, missing) = collector.named("GET /api/jobs/<id:job_id>")
    assert (attributes(found)["url.path"], attributes(found)["http.response.status_code"]) == ("/api/jobs/1", 200)
    assert attributes(missing)["http.response.status_code"] == 404
    assert missing.status.code != Status.STATUS_CODE_ERROR, "a refusal is no error of ours"

    (claim,) = collector.named("POST /api/jobs/claim")
    assert claim.trace_id.hex() != TRACE_ID, "who sends nonsense begins a trace of its own"
    assert {span.name for span in collector.below(claim)} == {"writer wait", "writer commit"}, "by the scheduler, too"

    assert not collector.named("POST /api/workers/register"), "not sampled by the caller"
    (resource,) = {
        json.dumps(attributes(each.resource)) for request in collector.requests for each in request.resource_spans
    }
    assert json.loads(resource)["service.name"] == "blobforge-server"
    told = "".join(map(str, collector.requests))
    assert token not in told
    assert "secret-in-a-query" not in told


def test_a_collector_that_is_away_disturbs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    with socket.socket() as nobody:  # bound, and nobody listens
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with serving(tmp_path / "data", log_format="json", otel_endpoint=url) as server:
            with server.client() as http:
                while 'result="lost"} 0.0' in (text := http.get("/metrics").text):
                    assert http.get("/api/jobs").status_code == 200
                assert 'blobforge_trace_spans_total{result="sent"} 0.0' in text
            assert server.stop() == 0
        warnings = [line for line in server.logged().splitlines() if "cannot send traces" in line]
        assert len(warnings) == 1, "once, not for every batch"
        assert "Traceback" not in server.logged()


def test_a_collector_that_hangs_does_not_hold_up_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with serving(tmp_path / "data", log_format="json", otel_endpoint=url) as server:
            with server.client() as http:
                assert http.get("/api/jobs").status_code == 200
            assert server.stop() == 0
        assert "cannot send traces" not in server.logged(), "it did not wait until the exporter gives up"


async def test_without_an_endpoint_there_is_no_tracer(local: LocalServer, autojump_clock: Any) -> None:
    assert local.parts.services.tracer is None
    assert "blobforge_trace" not in str((await local.call("GET", "/metrics"))[1])


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


def test_without_an_endpoint_nothing_is_imported() -> None:
    seen = run("import blobforge.serve.server, sys; print([m for m in sys.modules if m.startswith('opentelemetry')])")
    assert seen.stdout.strip() == "[]", seen.stderr


def test_without_the_extra_the_start_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None\n"
        "from blobforge.config import Settings\n"
        "from blobforge.serve.server import run\n"
        f"sys.exit(run(Settings(data_dir={str(tmp_path)!r}, port=0, otel_endpoint='http://127.0.0.1:9')))"
    )
    ended = run(script)
    assert ended.returncode == 1
    assert "pip install 'blobforge-server[otel]'" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("value", ["collector:4318", "ftp://x", "http://user:secret@collector", "http://x?token=1"])
def test_an_endpoint_is_a_plain_url(value: str) -> None:
    with pytest.raises(ConfigError, match="BLOBFORGE_OTEL_ENDPOINT"):
        load({"BLOBFORGE_OTEL_ENDPOINT": value})
