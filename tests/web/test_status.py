"""Statistics, health and metrics."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel

from blobforge.config import Settings
from blobforge.serve.server import running
from blobforge.store.errors import StoreUnavailable
from blobforge.store.sql import sql as shared
from blobforge.store.sqlite import sql
from tests.fixtures.local import LocalServer, virtual_now
from tests.web.calls import HEX, finish

EXISTING = {
    "total_jobs", "pending_jobs", "running_jobs", "completed_jobs", "failed_jobs", "dead_jobs",
    "total_workers", "online_workers", "offline_workers",
}  # fmt: skip
ADDED = {
    "uploading_jobs", "cancelled_jobs", "draining_workers", "by_type", "by_priority", "oldest_pending_seconds",
    "jobs_per_minute", "eta_seconds", "eta_by_type", "bytes", "deferred_jobs",
}  # fmt: skip


async def stats(local: LocalServer) -> Any:
    status, answer = await local.call("GET", "/api/stats")
    assert status == 200
    return answer


async def test_statistics_of_nothing(local: LocalServer, autojump_clock: Any) -> None:
    answer = await stats(local)
    assert answer.keys() == EXISTING | ADDED
    assert answer.pop("bytes") == {"sources": 0, "outputs": 0, "by_type": {}, "by_status": {}}
    assert not any(answer.values())


async def test_statistics(local: LocalServer, autojump_clock: Any) -> None:
    for number in range(5):
        await local.submit(b"%d" % number, priority=2 if number else 3)
    await local.submit(b"png", type="png")
    await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX})
    for worker_id in ("w1", "w2", "w3"):
        await local.register(worker_id)
    await finish(local)
    await local.claim()
    failing = await local.claim()
    await local.call("POST", f"/api/jobs/{failing['job']['id']}/fail", {"worker_id": "w1", "error": "x"})
    dying = await local.claim()
    body = {"worker_id": "w1", "error": "x", "retryable": False}
    await local.call("POST", f"/api/jobs/{dying['job']['id']}/fail", body)
    await local.call("POST", "/api/jobs/6/cancel")
    await local.call("POST", "/api/workers/w2/drain")
    await local.call("POST", "/api/workers/w3/unregister")
    await trio.sleep(10)
    answer = await stats(local)
    counts = {name: answer[name] for name in answer if name.endswith(("_jobs", "_workers"))}
    assert counts == {
        "total_jobs": 7, "pending_jobs": 1, "running_jobs": 1, "completed_jobs": 1, "failed_jobs": 1, "dead_jobs": 1,
        "uploading_jobs": 1, "cancelled_jobs": 1, "total_workers": 3, "online_workers": 1, "offline_workers": 1,
        "draining_workers": 1, "deferred_jobs": 0,
    }  # fmt: skip
    assert answer["by_type"]["png"]["cancelled"] == 1
    assert sum(answer["by_type"]["pdf"].values()) == 6
    assert sum(sum(row.values()) for row in answer["by_priority"].values()) == 7
    assert answer["oldest_pending_seconds"] >= 10
    assert answer["jobs_per_minute"] > 0
    assert answer["eta_seconds"] == answer["eta_by_type"]["pdf"] > 0


async def test_no_time_is_foretold_with_no_worker_online_and_types_are_told_apart(
    local: LocalServer, autojump_clock: Any
) -> None:
    await local.register()
    await local.submit(b"done")
    await finish(local)
    await local.submit(b"waits")
    digest = await local.source(b"a scan")
    await local.call("POST", "/api/jobs", {"type": "scan", "source_hash": digest})
    answer = await stats(local)
    assert answer["eta_seconds"] is None
    assert answer["eta_by_type"]["scan"] is None
    assert answer["eta_by_type"]["pdf"] > 0
    await local.call("POST", "/api/workers/w1/unregister")
    answer = await stats(local)
    assert (answer["eta_seconds"], answer["eta_by_type"]) == (None, {"pdf": None, "scan": None})


async def test_health(local: LocalServer, autojump_clock: Any) -> None:
    for path in ("/api/health", "/health"):
        status, answer = await local.call("GET", path, headers={})
        assert (status, answer["status"]) == (200, "healthy")
        assert {part: answer[part]["status"] for part in ("database", "object_store", "backup")} == {
            "database": "healthy",
            "object_store": "healthy",
            "backup": "disabled",
        }
    assert await local.call("GET", "/livez", headers={}) == (200, {"status": "alive"})
    assert (await local.call("GET", "/readyz", headers={}))[0] == 200


async def test_a_server_that_cannot_write_is_not_ready(tmp_path: Path, autojump_clock: Any) -> None:
    """An empty transaction succeeds on a full disk: it said healthy while every heartbeat got 503."""
    full = False

    async def hop(call: Callable[[], Any], /) -> Any:
        await trio.lowlevel.checkpoint()
        return call()

    folder = tmp_path / "data"
    folder.mkdir()
    async with running(Settings(data_dir=str(folder)), hop=hop, now=virtual_now) as parts:
        local = LocalServer(parts, folder)
        real = parts.writer._store.pulse

        def pulse(*, now: int) -> None:
            if full:
                raise StoreUnavailable("the disk is full")
            real(now=now)

        parts.writer._store.pulse = pulse  # type: ignore[method-assign]
        assert (await local.call("GET", "/readyz"))[0] == 200
        full = True
        await trio.sleep(5)
        assert (await local.call("GET", "/readyz"))[0] == 503
        assert (await local.call("GET", "/api/health"))[0] == 503
        full = False
        await trio.sleep(5)
        assert (await local.call("GET", "/readyz"))[0] == 200


async def test_no_statement_counts_a_tables_rows(local: LocalServer, autojump_clock: Any) -> None:
    """The counts are kept by the writes: they say what the rows are, and no statement counts a table's rows."""
    for number in range(6):
        await local.submit(b"%d" % number)
    await local.register()
    await finish(local)
    _, stats = await local.call("GET", "/api/stats")
    _, page = await local.call("GET", "/api/jobs?limit=1")
    assert (stats["total_jobs"], stats["completed_jobs"], page["total"]) == (6, 1, 6)
    # The original's own database, which is read once when it is taken over, keeps no counts.
    ours = {name: text for name, text in (vars(shared) | vars(sql)).items() if not name.startswith("ORIGINAL_")}
    statements = [text for text in ours.values() if isinstance(text, str)]
    counting = [
        text for text in statements if re.search(r"count\(\*\)\s+from\s+(jobs|attempts|job_tags)\b", text, re.I)
    ]
    assert len(statements) > 100
    assert not counting
