"""A worker that behaves, at work beside whatever the server has to bear: what it is promised, it gets."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.fixtures.server import ServerProcess

ANNOUNCED = {429, 503, 507}  # "come again": the answers of a server that cannot do it now
PAUSE = 0.05  # seconds until it comes again; it would be told more, and the test has not the time
PATIENCE = 60.0  # seconds for one phase of a test on the slowest machine


class Steady(threading.Thread):
    """Submits a job with its source, claims, beats, uploads and completes it, over one connection, again and again.

    `faults` are answers that nobody should get; `refused` counts the announced ones; `submitted` and `completed`
    hold what was acknowledged. Read them from outside, write them from here alone.
    """

    def __init__(self, server: ServerProcess, name: str) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._name = name
        self._over = threading.Event()
        self.cycles = 0
        self.refused: Counter[int] = Counter()
        self.faults: list[str] = []
        self.submitted: dict[int, str] = {}
        self.completed: dict[int, str] = {}

    def run(self) -> None:
        try:
            with self._server.client() as http:
                self._ask(http, "POST", "/api/workers/register", {"id": self._name, "type": self._name})
                while not self._over.is_set():
                    self._cycle(http)
                    self.cycles += 1
        except _Over:
            return
        except Exception as error:
            self.faults.append(repr(error))

    def does(self, cycles: int) -> None:
        """Wait until it has done so many more."""
        goal, deadline = self.cycles + cycles, time.monotonic() + PATIENCE
        while self.cycles < goal and not self.faults:
            assert time.monotonic() < deadline, f"no progress beside it; refused: {self.refused}"
            time.sleep(0.01)
        assert self.faults == [], self.faults

    def is_refused(self, times: int) -> None:
        """Wait until it was told to come again so many times more."""
        goal, deadline = self.refused.total() + times, time.monotonic() + PATIENCE
        while self.refused.total() < goal and not self.faults:
            assert time.monotonic() < deadline, "nothing was refused"
            time.sleep(0.01)
        assert self.faults == [], self.faults

    def stop(self) -> None:
        self._over.set()
        self.join(PATIENCE)
        assert not self.is_alive(), "a request got no answer"

    def check_kept(self) -> None:
        """Everything that was acknowledged is there."""
        with self._server.client() as http:
            for job_id, source in self.submitted.items():
                assert http.get(f"/api/jobs/{job_id}").json()["source_hash"] == source
            for job_id, sha256 in self.completed.items():
                assert http.get(f"/api/jobs/{job_id}").json()["status"] == "completed"
                output = http.get(http.get(f"/api/files/{job_id}/output/url").json()["url"]).content
                assert hashlib.sha256(output).hexdigest() == sha256

    def _cycle(self, http: httpx.Client) -> None:
        content = f"{self._name} {self.cycles}".encode()
        source = hashlib.sha256(content).hexdigest()
        job = self._ask(http, "POST", "/api/jobs", {"type": self._name, "source_hash": source})
        self.submitted[job["job_id"]] = source
        if "upload_url" in job:
            self._ask(http, "PUT", job["upload_url"], content)
        claim = {"worker_id": self._name, "job_type": self._name, "wait": 5, "claim_key": f"{self.cycles}"}
        given = self._ask(http, "POST", "/api/jobs/claim", claim)
        if given["job"] is None:
            return
        job_id, lease = given["job"]["id"], given["lease"]
        beat = {"jobs": [{"job_id": job_id, "lease": lease, "progress": {"stage": "convert"}}]}
        seen = self._ask(http, "POST", f"/api/workers/{self._name}/heartbeat", beat)
        if seen["abandon"]:
            self.faults.append(f"job {job_id} was taken away")
        sha256 = hashlib.sha256(content[::-1]).hexdigest()
        self._ask(http, "PUT", given["upload_url"], content[::-1])
        done = {"worker_id": self._name, "lease": lease, "output_key": given["output_key"], "checksum": sha256}
        self._ask(http, "POST", f"/api/jobs/{job_id}/complete", done)
        self.completed[job_id] = sha256

    def _ask(self, http: httpx.Client, method: str, url: str, body: Any) -> Any:
        """The answer; asked again for as long as it is "come again"."""
        while True:
            sent = {"content": body} if isinstance(body, bytes) else {"json": body}
            answer = http.request(method, url, **sent)
            if answer.status_code < 300:
                return answer.json() if answer.content else None
            if answer.status_code not in ANNOUNCED:
                raise AssertionError(f"{method} {url[:80]}: {answer.status_code} {answer.text[:300]}")
            if answer.status_code != 507 and "Retry-After" not in answer.headers:
                raise AssertionError(f"{method} {url[:80]}: {answer.status_code} does not say when to come again")
            self.refused[answer.status_code] += 1
            if self._over.wait(PAUSE):
                raise _Over


class _Over(Exception):
    """It was stopped while it was refused."""


@contextmanager
def steady(server: ServerProcess, name: str) -> Iterator[Steady]:
    """At work during the block; behind it everything acknowledged must be there, and nothing have gone wrong."""
    beside = Steady(server, name)
    beside.start()
    try:
        yield beside
    finally:
        beside.stop()
    assert beside.faults == []
    assert beside.completed
    beside.check_kept()
