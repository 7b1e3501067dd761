"""Front processes as production runs them: real sockets, signals and kill -9."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.fixtures.server import ServerProcess, serving

PATIENCE = 60.0  # seconds on a busy machine; what is waited for takes a fraction of one


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two fronts, of which tests may end one: it comes back."""
    with serving(tmp_path_factory.mktemp("fronts") / "data", fronts=2) as process:
        yield process


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def coordinator(server: ServerProcess) -> psutil.Process:
    assert server.process is not None
    return psutil.Process(server.process.pid)


def fronts_of(server: ServerProcess) -> list[int]:
    found = []
    for each in coordinator(server).children():
        with suppress(psutil.Error):  # it ends just now
            if "blobforge.front" in each.cmdline():
                found.append(each.pid)
    return found


class At:
    """A client whose one connection leads to the front of this process."""

    def __init__(self, server: ServerProcess, pid: int) -> None:
        self.pid = pid
        self.http = reaching(server, pid)

    def post(self, path: str, body: Any) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()


def reaching(server: ServerProcess, pid: int) -> httpx.Client:
    """Connect until it is this process that has accepted."""
    deadline = time.monotonic() + PATIENCE
    held = []
    try:
        while True:
            client = server.client()
            assert client.get("/livez").status_code == 200
            if serves(pid, port_of(client)):
                return client
            held.append(client)  # kept open: who has the most leaves the next one to others
            assert time.monotonic() < deadline
    finally:
        for client in held:
            client.close()


def port_of(client: httpx.Client) -> int:
    """Our end of its one connection."""
    transport: Any = client._transport
    stream = transport._pool.connections[0]._connection._network_stream
    return int(stream.get_extra_info("client_addr")[1])


def serves(pid: int, port: int) -> bool:
    return any(each.raddr and each.raddr.port == port for each in psutil.Process(pid).net_connections("tcp"))


@contextmanager
def both(server: ServerProcess) -> Iterator[tuple[At, At]]:
    """A client at each front, once both are there."""
    pids = until(lambda: found if len(found := fronts_of(server)) == 2 else None)
    one, two = (At(server, pid) for pid in pids)
    with closing(one.http), closing(two.http):
        yield one, two


def submitted(at: At, content: bytes) -> int:
    digest = hashlib.sha256(content).hexdigest()
    made = at.post("/api/jobs", {"type": "pdf", "source_hash": digest})
    put = httpx.put(
        made["upload_url"],
        content=content,
        headers={"Content-Type": "application/octet-stream"},
        trust_env=False,
        timeout=60,
    )
    assert put.status_code == 200, put.text
    return int(made["job_id"])


def claims(at: At, got: list[Any], worker: str = "w1", wait: float = 30) -> threading.Thread:
    """A long poll, in a thread."""

    def claim() -> None:
        try:
            got.append(at.post("/api/jobs/claim", {"worker_id": worker, "job_type": "pdf", "wait": wait}))
        except httpx.HTTPError as error:
            got.append(error)

    thread = threading.Thread(target=claim)
    thread.start()
    return thread


def waiting(at: At) -> int:
    text = at.http.get("/metrics").text
    return int(float(next(line for line in text.splitlines() if line.startswith("blobforge_long_polls ")).split()[1]))


def test_a_job_from_one_front_to_a_worker_at_the_other_with_events_at_both(server: ServerProcess) -> None:
    with both(server) as (one, two):
        one.post("/api/workers/register", {"id": "w1", "type": "pdf"})
        got: list[Any] = []
        thread = claims(two, got)
        until(lambda: waiting(one) == 1)
        listening = reaching(server, one.pid)
        with closing(listening), listening.stream("GET", "/events?types=job_completed") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "event: ping"
            job_id = submitted(one, b"across")
            thread.join()
            assert got[0]["job"]["id"] == job_id
            two.post(f"/api/jobs/{job_id}/complete", {"worker_id": "w1", "lease": got[0]["lease"]})
            told = json.loads(next(line for line in lines if line.startswith("data: {"))[6:])
            assert told["job_id"] == job_id
        assert one.http.get(f"/api/jobs/{job_id}").json()["status"] == "completed"
        counted = [each.http.get("/metrics").text for each in (one, two)]
        assert all("blobforge_fronts 2.0" in text for text in counted)
        made = [
            [line for line in text.splitlines() if 'code="201",route="POST /api/jobs"}' in line] for text in counted
        ]
        assert made[0] == made[1] != []


def test_a_token_that_was_revoked_is_refused_at_both_at_once(server: ServerProcess) -> None:
    with both(server) as (one, two):
        made = one.post("/api/admin/tokens", {"name": "short-lived", "scopes": ["read"]})
        theirs = {"Authorization": f"Bearer {made['token']}"}
        assert [each.http.get("/api/stats", headers=theirs).status_code for each in (one, two)] == [200, 200]
        one.http.delete(f"/api/admin/tokens/{made['id']}")
        assert [each.http.get("/api/stats", headers=theirs).status_code for each in (two, one)] == [401, 401]


def test_a_front_that_is_killed_in_long_polls_loses_nothing_and_comes_back(server: ServerProcess) -> None:
    with both(server) as (one, two):
        one.post("/api/workers/register", {"id": "w2", "type": "pdf"})
        got: list[Any] = []
        threads = [claims(two, got, "w2")]
        until(lambda: waiting(one) == 1)
        os.kill(two.pid, signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert isinstance(got[0], httpx.HTTPError), "its connection broke"
        job_id = submitted(one, b"not lost")
        given = one.post("/api/jobs/claim", {"worker_id": "w2", "job_type": "pdf", "wait": 30})
        assert given["job"]["id"] == job_id
        assert given["job"]["attempts"] == 1
        until(lambda: "blobforge_front_restarts_total 1.0" in one.http.get("/metrics").text)
    with both(server) as (one, two):
        assert two.http.get("/api/jobs").status_code == 200
    said = [json.loads(line) for line in server.logged().splitlines()]
    assert [line["number"] for line in said if line["event"] == "a front ended; it is started again"]
    assert {line["front"] for line in said if line["event"] == "request"} == {1, 2}


def test_a_front_that_is_stopped_holds_up_nobody_for_long_and_is_replaced(server: ServerProcess) -> None:
    with both(server) as (one, two):
        made = one.post("/api/admin/tokens", {"name": "to be revoked", "scopes": ["read"]})
        os.kill(two.pid, signal.SIGSTOP)
        job_id = submitted(one, b"goes on")
        assert one.http.get(f"/api/jobs/{job_id}").json()["status"] == "pending"
        # The other one cannot say that it has forgotten whose token it was: it is ended, and knows nobody any more.
        assert one.http.delete(f"/api/admin/tokens/{made['id']}").status_code < 300
        until(lambda: two.pid not in fronts_of(server) and len(fronts_of(server)) == 2)
    assert "it does not forget whose rights have changed" in server.logged()


def test_sigterm_ends_all_of_them_in_good_order(tmp_path: Path) -> None:
    with serving(tmp_path / "data", fronts=2, shutdown_grace=3600) as server:
        with both(server) as (one, two):
            for pid in (one.pid, two.pid):
                os.kill(pid, signal.SIGTERM)  # as a service manager that means the whole group
            one.post("/api/workers/register", {"id": "w1", "type": "pdf"})
            got: list[Any] = []
            thread = claims(two, got, wait=60)
            until(lambda: waiting(one) == 1)
            with one.http.stream("GET", "/events") as stream:
                lines = stream.iter_lines()
                assert next(lines) == "event: ping"
                family = [coordinator(server), *coordinator(server).children()]
                assert server.stop() == 0
                assert list(lines)[-1] == "", "the stream ends by itself"
            thread.join()
            assert got == [{"job": None}]
            assert not any(each.is_running() for each in family)
        assert json.loads(server.logged().splitlines()[-1])["event"] == "stopped"


def test_kill_9_of_the_server_ends_its_fronts_and_the_next_one_gets_the_port(tmp_path: Path) -> None:
    with serving(tmp_path / "data", fronts=2) as server:
        pids = fronts_of(server)
        server.kill()
        server.variables["BLOBFORGE_PORT"] = server.url.rpartition(":")[2]
        server.start()
        assert len(fronts_of(server)) == 2
        until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
        assert server.logged().count("the server is gone") == 2


def test_one_process_is_the_default(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        assert coordinator(server).children() == []
        with server.client() as http:
            assert "blobforge_front" not in http.get("/metrics").text


def test_a_front_that_cannot_start_is_told_in_one_line(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data", fronts=2)
    server.folder.mkdir()
    server.variables["PYTHONHOME"] = str(tmp_path)  # an interpreter that finds nothing of its own
    with pytest.raises(AssertionError, match="did not start"):
        server.start()
    assert server.process is not None
    assert server.process.poll() == 1
    last = json.loads(server.logged().splitlines()[-1])
    assert (last["event"], last["level"]) == ("cannot start", "error")
    assert "BLOBFORGE_FRONTS" in last["reason"]
