"""The client of revision 27f53d8 is an existing one: its `jobs watch` and `--wait` hear today's events.

What it reads with is a replica (`tests/fixtures/client_27f53d8.py`), driven against a server on a real socket.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from blobforge.config import Settings
from blobforge.serve.server import serve
from tests.fixtures.client_27f53d8 import Job, Transport, wait, watch
from web import events

Heard = list[tuple[str, Job | None]]


@pytest.fixture(autouse=True)
def pings_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pings in the time of a test, and not one every 30 s."""
    monkeypatch.setattr(events, "PING_SECONDS", 0.05)


@asynccontextmanager
async def open_server(folder: Path) -> AsyncIterator[tuple[Transport, httpx.AsyncClient]]:
    """A server in this process: what the released client asks it by, and all others."""
    folder.mkdir()
    settings = Settings(data_dir=str(folder), host="127.0.0.1", port=0, retry_backoff=0)
    async with trio.open_nursery() as nursery:
        url = await nursery.start(serve, settings)
        token = (folder / "admin-token").read_text().strip()
        own = {"Authorization": f"Bearer {token}"}
        transport = Transport(url, token)
        async with transport.http, httpx.AsyncClient(base_url=url, headers=own, timeout=60, trust_env=False) as http:
            yield transport, http
        nursery.cancel_scope.cancel()


async def ok(http: httpx.AsyncClient, path: str, body: Any = None) -> Any:
    answer = await http.post(path, json=body)
    assert answer.is_success, answer.text
    return answer.json()


async def submitted(http: httpx.AsyncClient, name: str) -> int:
    """A job whose source has been sent."""
    content = name.encode()
    made = await ok(http, "/api/jobs", {"type": "pdf", "source_hash": hashlib.sha256(content).hexdigest()})
    sent = await http.put(made["upload_url"], content=content, headers={"Content-Type": "application/octet-stream"})
    assert sent.status_code == 200
    return int(made["job_id"])


async def until(told: Any) -> None:
    """Until `told()` says so."""
    with trio.fail_after(60):
        while not told():
            await trio.sleep(0.01)


async def converted(http: httpx.AsyncClient, heard: Heard, *, dies: bool = False) -> None:
    """A worker claims a job, tells of its progress, and ends it: each step when the watcher has heard of the last."""
    worker = {"worker_id": "w"}
    claimed = await ok(http, "/api/jobs/claim", worker | {"job_type": "pdf"})
    job_id = claimed["job"]["id"]
    await until(lambda: any(job and (job.id, job.status) == (job_id, "running") for _, job in heard))
    beat = {"job_id": job_id, "progress": {"type": "page", "stage": "ocr", "percent": 40}}
    await ok(http, "/api/workers/w/heartbeat", beat)
    await until(lambda: any(job and job.id == job_id and job.progress for _, job in heard))
    if dies:
        failed = worker | {"error": "no text", "retryable": False}
        await ok(http, f"/api/jobs/{job_id}/fail", failed)
    else:
        await ok(http, f"/api/jobs/{job_id}/complete", worker)


def statuses(heard: Heard, job_id: int) -> list[tuple[str, str]]:
    """What was understood of one job: event and status, each once."""
    return list(dict.fromkeys((name, job.status) for name, job in heard if job is not None and job.id == job_id))


@pytest.mark.parametrize("many", [False, True])
async def test_its_watch_follows_jobs_to_their_ends(tmp_path: Path, many: bool) -> None:
    """By the events alone: it has fetched each job once, at the start, though the server has pinged all the time."""
    async with open_server(tmp_path / "data") as (transport, http):
        await ok(http, "/api/workers/register", {"id": "w", "type": "pdf"})
        ids = [await submitted(http, name) for name in (("good", "bad") if many else ("good",))]
        heard: Heard = []
        boards: list[Any] = []

        async def watching() -> None:
            boards.append(await watch(transport, ids, heard))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watching)
                await until(lambda: transport.asked == len(ids) and heard)
                await trio.sleep(0.3)  # pings alone
                for number in range(len(ids)):
                    await converted(http, heard, dies=number == 1)
                    await trio.sleep(0.2)
        (board,) = boards
        assert [job.status for job in board.jobs.values()] == ["completed", "dead"][: len(ids)]
        assert transport.asked == len(ids), "fetched once, at the start"
        assert [name for name, _ in heard].count("resync") == 1
        assert statuses(heard, ids[0]) == [
            ("job_updated", "running"), ("job_progress", "running"), ("job_completed", "completed"),
        ]  # fmt: skip
        assert ("w", "pdf") in {(job.worker_id, job.type) for _, job in heard if job is not None}
        assert {"type": "page", "stage": "ocr", "percent": 40} in [
            job.progress for _, job in heard if job is not None
        ]
        if many:
            assert statuses(heard, ids[1])[-1] == ("job_failed", "dead")
            assert board.jobs[ids[1]].last_error == "no text"


async def test_its_endless_watch_adopts_what_it_hears_of(tmp_path: Path) -> None:
    async with open_server(tmp_path / "data") as (transport, http):
        await ok(http, "/api/workers/register", {"id": "w", "type": "pdf"})
        heard: Heard = []
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: watch(transport, [], heard, endless=True))
                await until(lambda: heard)
                job_id = await submitted(http, "good")
                await until(lambda: any(job and job.status == "pending" for _, job in heard))
                await converted(http, heard)
                await until(lambda: heard[-1][0] == "job_completed")
                assert (await http.delete(f"/api/jobs/{job_id}")).is_success
                await until(lambda: heard[-1][0] == "job_removed")
                nursery.cancel_scope.cancel()
        assert statuses(heard, job_id)[0] == ("job_created", "uploading")
        assert [name for name, _ in heard].count("resync") == 1


async def test_its_wait_sees_the_ends(tmp_path: Path) -> None:
    async with open_server(tmp_path / "data") as (transport, http):
        await ok(http, "/api/workers/register", {"id": "w", "type": "pdf"})
        ids = [await submitted(http, name) for name in ("good", "bad")]
        found: dict[int, Job] = {}

        async def waiting() -> None:
            found.update(await wait(transport, ids))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(waiting)
                for job_id, end in ((ids[0], {}), (ids[1], {"error": "no text", "retryable": False})):
                    await ok(http, "/api/jobs/claim", {"worker_id": "w", "job_type": "pdf"})
                    await ok(http, f"/api/jobs/{job_id}/{'fail' if end else 'complete'}", {"worker_id": "w"} | end)
        assert [found[job_id].status for job_id in ids] == ["completed", "dead"]
