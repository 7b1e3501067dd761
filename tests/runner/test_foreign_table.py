"""The table: each status from 300 to 599 and each odd body, on each call of a whole attempt, before the real answer.

A worker and a real server, with something in between that answers in the server's place. Not one of the answers costs
the job a try, the worker its life, or the result its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from tenacity.wait import wait_none

from blobforge.runner import JobFailed, RunEnd, Worker
from tests.fixtures.server import ServerProcess, serving
from tests.runner.scripted import Answer, Request, Scripted
from tests.runner.test_foreign_answers import HTML, NOT_OF_STORES, ODD, PAGE

NOT_PASSED_ON = {"connection", "content-encoding", "content-length", "transfer-encoding"}
CALLS = {
    "claim": "/api/jobs/claim",
    "heartbeat": "/api/workers/w/heartbeat",
    "complete": "/complete",
    "fail": "/fail",
    "upload": "PUT",
    "download": "GET",
}
SOURCE = b"the source"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("table") / "data", heartbeat_interval=0.05, max_attempts=1) as running:
        yield running


class Between(Scripted):
    """Answers in the server's place while it has `lies` for a request, and passes on every other one."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.lies: list[Answer] = []
        self.call = ""
        self._http = httpx.AsyncClient(base_url=target, timeout=60, trust_env=False)

    def script(self, request: Request) -> Any:
        meant = request.method == self.call or request.path.endswith(self.call)
        if self.lies and meant:
            return lambda _request: self.lies.pop(0)
        return self._passed_on

    async def _passed_on(self, request: Request) -> Answer:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_PASSED_ON}
        there = await self._http.request(request.method, request.path, headers=headers, content=request.body)
        kept = {name: value for name, value in there.headers.items() if name.lower() not in NOT_PASSED_ON}
        return Answer(there.content, there.status_code, kept, foreign=True)


def every_lie(call: str) -> list[Answer]:
    page, gateway = (PAGE, HTML), (b'{"error": "gateway"}', {})
    statuses = []
    for status in range(300, 600):
        body, headers = page if status % 2 else gateway
        statuses.append(Answer(b"" if status == 304 else body, status, headers, foreign=True))
    store = call in ("upload", "download")
    return statuses + [answer for name, answer in ODD.items() if not (store and name in NOT_OF_STORES)]


@pytest.mark.parametrize("call", CALLS)
async def test_no_foreign_answer_changes_what_becomes_of_a_job(
    server: ServerProcess, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr("blobforge.client.transport._back_off", wait_none())
    monkeypatch.setattr("blobforge.runner.heartbeat._SOON", 0.001)
    between = Between(server.url)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    between.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    nursery.start_soon(trio.serve_listeners, between.serve, listeners)
    content = SOURCE + call.encode()
    with server.client() as http:
        asked = {"type": call, "source_hash": hashlib.sha256(content).hexdigest()}
        job = http.post("/api/jobs", json=asked).json()
        http.put(job["upload_url"], content=content).raise_for_status()
        http.post(f"/api/jobs/{job['job_id']}/uploaded").raise_for_status()
    worker = Worker(between.url, token=server.token, worker_id="w", max_jobs=1, min_free=0, poll_wait=0)
    heard = trio.Event()

    @worker.handler(call, isolation="thread")
    def convert(job: Any) -> None:
        trio.from_thread.run(heard.wait) if call == "heartbeat" else None
        if call == "fail":
            raise JobFailed("unreadable")
        job.output.write_bytes(Path(job.source).read_bytes().upper())

    between.call, between.lies = CALLS[call], every_lie(call)
    async with trio.open_nursery() as beside:

        async def until_all_were_told() -> None:
            while between.lies:
                await trio.sleep(0.01)
            heard.set()

        beside.start_soon(until_all_were_told)
        tally = await worker.run_async()
    assert between.lies == []
    assert tally == {RunEnd.FAILED if call == "fail" else RunEnd.COMPLETED: 1}
    with server.client() as http:
        (attempt,) = http.get(f"/api/jobs/{job['job_id']}").json()["attempt_history"]
        assert attempt["outcome"] == ("failed" if call == "fail" else "completed")
        if call == "fail":
            assert attempt["error"] == "unreadable"
        else:
            url = http.get(f"/api/files/{job['job_id']}/output/url").json()["url"]
            assert http.get(url).content == content.upper()
