"""kill -9 anywhere between a completion, what it starts, and what endpoints are told: by real processes, on both
engines. Never is a job lost or made twice, and never is an event unsent.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import random
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from blobforge.store.postgres.check import check as check_postgres
from blobforge.store.sqlite.check import check as check_sqlite
from tests.fixtures.forked import Forked
from tests.fixtures.postgres import Cluster
from tests.fixtures.seaweed import Seaweed, free_ports
from tests.fixtures.server import ServerProcess
from tests.system.dying import MOMENTS, VARIABLE

SOAK = bool(os.environ.get("SOAK"))
SEED = int(os.environ.get("SEED") or (time.time() if SOAK else 20261129))
NAMED = {"sqlite": [*MOMENTS][::2], "postgresql": [*MOMENTS][1::2]}  # each on one of them; on both in the long form
ROUNDS = 10 if SOAK else 1  # of all named moments
BLIND = {"sqlite": 100 if SOAK else 1, "postgresql": 100 if SOAK else 0}  # kills at a moment that is drawn
PATIENCE = 3600 if SOAK else 120  # seconds
TOLD_WITHIN = 60  # seconds, on the slowest machine
PAGES = 5
THEN = [{"type": "ocr", "outputs": "*.png", "join": {"type": "book"}}]
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OCTETS = {"Content-Type": "application/octet-stream"}


class Dying(ServerProcess):
    """`moment`: when the process that is started next kills itself."""

    moment = ""

    def spawn(self, environment: dict[str, str], log: IO[bytes]) -> Forked | subprocess.Popen[bytes]:
        if self.moment:
            environment = environment | {VARIABLE: self.moment}
        return Forked(["serve"], environment=environment, output=log, errors=log, program="tests.system.dying")


class Endpoint(ThreadingHTTPServer):
    """Takes what it is sent. `told`: by path, event and what it is of, the ids that it came under."""

    daemon_threads = True

    def __init__(self) -> None:
        self.told: defaultdict[tuple[str, str, int], list[str]] = defaultdict(list)
        super().__init__(("127.0.0.1", 0), _Told)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{path}"


class _Told(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        of = told["data"].get("job_id", told["data"].get("batch"))
        self.server.told[self.path, told["type"], of].append(self.headers["webhook-id"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Story:
    """A client and a worker that go on whatever becomes of the server, which is started again when it has died."""

    def __init__(self, server: Dying, endpoint: Endpoint) -> None:
        self.server = server
        self.endpoint = endpoint
        self.deaths = 0
        self._keys = itertools.count()
        self._http: httpx.Client | None = None

    def up(self, moment: str = "") -> None:
        self.server.moment = moment
        self.server.start()
        self._http = self.server.client()

    def down(self) -> None:
        self.close()
        self.server.kill()

    def close(self) -> None:
        if self._http is not None:
            self._http.close()

    def put(self, url: str, content: bytes, headers: dict[str, str] | None) -> None:
        """Until it is there; it may have come before."""
        self.ask("PUT", url, content=content, headers=OCTETS | (headers or {}))

    def ask(
        self, method: str, path: str, body: Any = None, *, content: bytes = b"", headers: dict[str, str] | None = None
    ) -> Any:
        """Until it is answered. What was asked for may have been done before."""
        while True:
            try:
                assert self._http is not None
                if headers is not None:
                    answer = httpx.put(path, content=content, headers=headers, timeout=60, trust_env=False)
                else:
                    answer = self._http.request(method, path, json=body)
            except httpx.TransportError:
                assert self.server.process is not None
                if self.server.process.wait(20) == -9:
                    self.deaths += 1
                    self.close()
                    self.up()
                continue
            if answer.status_code == 503:
                time.sleep(0.05)
                continue
            assert answer.status_code < 300 or (headers and answer.status_code == 412), answer.text
            return None if headers is not None else answer.json()

    def begin(self, name: str) -> int:
        """One document of a batch of its own, which calls back when it ends; its number."""
        callback = {"url": self.endpoint.url("callback"), "secret": SECRET}
        made = self._once("/api/batches", {"name": name, "callback": callback})
        content = name.encode()
        body = {
            "type": "split",
            "source_hash": hashlib.sha256(content).hexdigest(),
            "then": THEN,
            "batch": made["id"],
        }
        job = self.ask("POST", "/api/jobs", body)
        if "upload_url" in job:
            self.put(job["upload_url"], content, job.get("upload_headers"))
            self.ask("POST", f"/api/jobs/{job['job_id']}/uploaded")
        self.ask("POST", f"/api/batches/{made['id']}/close")
        return int(made["id"])

    def _once(self, path: str, body: Any) -> Any:
        assert self._http is not None
        self._http.headers["Idempotency-Key"] = f"{path} {next(self._keys)}"
        try:
            return self.ask("POST", path, body)
        finally:
            self._http.headers.pop("Idempotency-Key", None)

    def work(self, batches: Sequence[int]) -> None:
        """Until these have ended."""
        left = set(batches)
        while left:
            asked = {"worker_id": "w", "job_types": ["split", "ocr", "book"], "claim_key": f"key {next(self._keys)}"}
            grant = self.ask("POST", "/api/jobs/claim", asked | {"wait": 0.2})
            if grant["job"] is not None:
                self._convert(grant)
            else:
                left = {each for each in left if self.ask("GET", f"/api/batches/{each}")["state"] != "ended"}

    def _convert(self, grant: Any) -> None:
        job = grant["job"]
        done: dict[str, Any] = {"worker_id": "w", "lease": grant["lease"]}
        if job["type"] == "split":
            names = [f"{number}.png" for number in range(PAGES)]
            named = {"job_id": job["id"], "names": names}
            for each in self.ask("POST", "/api/files/upload-url", done | named)["urls"]:
                self.put(each["url"], f"{job['id']} {each['name']}".encode(), each.get("headers"))
            done["outputs"] = "all"
        else:
            if job["type"] == "book":
                assert [each["name"][:5] for each in grant["inputs"]] == [f"{number}.png" for number in range(PAGES)]
            self.put(grant["upload_url"], f"made of {job['id']}".encode(), grant.get("upload_headers"))
            done["output_key"] = grant["output_key"]
        self.ask("POST", f"/api/jobs/{job['id']}/complete", done)

    def judge(self, batch: int) -> None:
        """It has what it is to have, once, and all of it was told, under one id."""
        wanted: set[tuple[str, str, int]] = {("/callback", "batch.ended", batch), ("/hook", "batch.ended", batch)}
        jobs = self.ask("GET", f"/api/jobs?batch={batch}&limit=100")["jobs"]
        assert sorted(job["type"] for job in jobs) == ["book", *["ocr"] * PAGES, "split"]
        assert {job["status"] for job in jobs} == {"completed"}
        (parent,) = (job for job in jobs if job["type"] == "split")
        children = self.ask("GET", f"/api/jobs/{parent['id']}/children")["children"]
        outputs = sorted(each.get("output", "") for each in children)
        assert outputs == ["", *(f"{number}.png" for number in range(PAGES))]
        assert {each["job_id"] for each in children} == {job["id"] for job in jobs} - {parent["id"]}
        assert "then_stopped" not in parent
        assert "children_to_come" not in parent
        wanted |= {("/hook", "job.completed", job["id"]) for job in jobs}
        until = time.monotonic() + TOLD_WITHIN
        while missing := wanted - self.endpoint.told.keys():
            self.ask("GET", "/api/stats")  # starts the server again where that died of a delivery
            assert time.monotonic() < until, missing
            time.sleep(0.05)
        assert {len(set(self.endpoint.told[each])) for each in wanted} == {1}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    running = Endpoint()
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@contextmanager
def story(server: Dying, endpoint: Endpoint) -> Iterator[Story]:
    told = Story(server, endpoint)
    try:
        told.up()
        told.ask("POST", "/api/workers/register", {"id": "w", "type": "split"})
        hook = {"url": endpoint.url("hook"), "events": ["job.completed", "batch.ended"]}
        told.ask("POST", "/api/admin/webhooks", hook)
        yield told
    finally:
        told.close()
        server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Any], Callable[[Dying], list[str]]]:
    """The engine, what a server is told of it, and what says what is wrong with its database."""
    if request.param == "sqlite":
        return "sqlite", {}, lambda server: check_sqlite(server.database)
    cluster: Cluster = request.getfixturevalue("postgres")
    seaweed: Seaweed = request.getfixturevalue("seaweed")
    url = cluster.url(cluster.database())
    return (
        "postgresql",
        {"database_url": url} | seaweed.settings(f"system/{tmp_path.name}"),
        lambda _: check_postgres(url),
    )


@pytest.mark.timeout(PATIENCE)
def test_nothing_of_a_chain_is_lost_or_doubled_or_unsent(
    place: tuple[str, dict[str, Any], Callable[[Dying], list[str]]], endpoint: Endpoint, tmp_path: Path
) -> None:
    engine, settings, wrong = place
    dice = random.Random(SEED)
    (port,) = free_ports(1)
    (tmp_path / "data").mkdir()
    server = Dying(
        tmp_path / "data", port=port, webhook_allow="loopback", callback_hosts="127.0.0.1",
        litestream_disabled=True, **settings,
    )  # fmt: skip
    with story(server, endpoint) as told:
        for number, moment in enumerate([*MOMENTS] * ROUNDS if SOAK else NAMED[engine]):
            told.down()
            told.up(moment)
            told.deaths = 0
            batch = told.begin(f"batch {number}")
            told.work([batch])
            told.judge(batch)
            assert told.deaths == 1, moment
        for number in range(BLIND[engine]):
            batch = told.begin(f"blind {number}")
            killer = threading.Timer(dice.uniform(0, 1), server.kill)
            killer.start()
            told.work([batch])
            killer.join()
            told.judge(batch)
        assert server.stop() == 0
    assert wrong(server) == []
    assert '"unhandled' not in server.logged()
