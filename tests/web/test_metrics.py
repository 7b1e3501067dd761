"""`/metrics`: what is told, that its labels are bounded whatever clients send, and that asking harms nobody."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from actors.mailbox import Mailbox
from actors.messages import Ping
from blobforge.config import Settings
from blobforge.machinery.hop import in_place
from blobforge.refusals import RefusalCode
from blobforge.serve.parts import Parts
from blobforge.serve.server import running
from blobforge.store.errors import StoreUnavailable
from tests.fixtures.engines import looked_into
from tests.fixtures.local import LocalServer, open_local, virtual_now
from tests.fixtures.server import ServerProcess
from tests.web.calls import HEX, finish, stream
from web.app import routes
from web.metrics.requests import GONE, UNMATCHED

T = TypeVar("T")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scrape(local: LocalServer) -> str:
    status, text = await local.call("GET", "/metrics")
    assert status == 200
    return bytes(text).decode()


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Told:
    """One scrape: `told("blobforge_jobs", type="pdf", status="running")` is the sum of what matches, or None."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = samples(text)

    def __call__(self, name: str, **labels: str) -> float | None:
        found = [
            value
            for (at, having), value in self.samples.items()
            if at == name and labels.items() <= dict(having).items()
        ]
        return sum(found) if found else None

    def labels(self, name: str, label: str) -> set[str]:
        return {dict(having)[label] for at, having in self.samples if at == name}


async def told(local: LocalServer) -> Told:
    return Told(await scrape(local))


async def test_the_form_is_what_prometheus_asks_for(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await local.register()
    await finish(local)
    text = await scrape(local)
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families), "each family once"
    for family in families:
        assert family.documentation, family.name
        assert family.name.startswith(("blobforge_", "process_")), family.name
        assert family.type != "unknown", family.name
        # Base units: no milliseconds, no megabytes.
        assert not any(word in family.name for word in ("_ms", "_millis", "_minutes", "_mb", "_percent")), family.name
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples), family.name
        else:
            assert not family.name.endswith(("_total", "_count", "_sum")), family.name


async def test_jobs_by_type_status_and_priority(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"1")
    await local.submit(b"2", priority=1)
    await local.submit(b"3", type="png")
    await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX})
    await local.register("w1")
    await local.claim("w1")
    await trio.sleep(90)
    found = await told(local)
    assert found("blobforge_jobs", type="pdf", status="pending", priority="3") == 1
    assert found("blobforge_jobs", type="pdf", status="running", priority="1") == 1
    assert found("blobforge_jobs", type="pdf", status="pending", priority="1") == 0, "a zero stays, for rates"
    assert found("blobforge_jobs", status="uploading") == 1
    assert found("blobforge_sources_awaited") == 1
    assert found("blobforge_oldest_pending_age_seconds", type="pdf") == pytest.approx(90, abs=1)
    assert found("blobforge_oldest_pending_age_seconds", type="png") == pytest.approx(90, abs=1)
    assert found("blobforge_workers", status="online") == 1
    assert found("blobforge_workers", status="draining") == 0
    assert found("blobforge_database_readable") == 1
    assert (found("blobforge_database_size_bytes", file="main") or 0) > 0
    assert (found("blobforge_database_disk_free_bytes") or 0) > 0


async def test_claims_attempts_and_leases(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", max_losses=5) as local:
        for number in range(3):
            await local.submit(b"%d" % number)
        await local.register()
        grant = await local.claim()
        await trio.sleep(40)
        await local.call("POST", "/api/workers/w1/heartbeat", {"job_id": grant["job"]["id"]})
        body = {"worker_id": "w1", "error": "x", "retryable": False}
        await local.call("POST", f"/api/jobs/{grant['job']['id']}/fail", body)
        await finish(local)
        await local.claim()
        await trio.sleep(300)  # it stays silent
        await local.claim(job_type="tiff")
        await local.call("POST", "/api/jobs/claim", {"worker_id": "nobody", "job_type": "pdf"})
        found = await told(local)
        assert found("blobforge_claims_total", result="granted") == 3
        assert found("blobforge_claims_total", result="empty") == 1
        assert found("blobforge_claims_total", result="refused") == 1
        assert found("blobforge_lease_expirations_total") == 1
        for outcome, n in {"completed": 1, "failed": 1, "lost": 1, "released": 0}.items():
            assert found("blobforge_attempts_total", type="pdf", outcome=outcome) == n
        assert found("blobforge_attempt_duration_seconds_count", type="pdf") == 2, "not that of the lost one"
        assert found("blobforge_attempt_duration_seconds_sum", type="pdf") == pytest.approx(40, abs=0.5)
        assert found("blobforge_attempt_duration_seconds_bucket", type="pdf", le="15.0") == 1
        assert found("blobforge_attempt_duration_seconds_bucket", type="pdf", le="60.0") == 2
        assert found.labels("blobforge_attempts_total", "type") == {"pdf"}, "a type that was only claimed is none"


async def test_commits(local: LocalServer, autojump_clock: Any) -> None:
    before = await told(local)
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(local.ask, Ping())
    after = await told(local)

    def grown(name: str, **labels: str) -> float:
        return (after(name, **labels) or 0) - (before(name, **labels) or 0)

    commits = grown("blobforge_writer_batch_messages_count")
    assert 1 <= commits < 20, "they shared transactions"
    assert grown("blobforge_writer_batch_messages_sum") == grown("blobforge_writer_messages_total") >= 20
    assert grown("blobforge_writer_transaction_seconds_count") == commits
    assert grown("blobforge_writer_commit_seconds_count") == commits
    assert 0 < grown("blobforge_writer_commit_seconds_sum") <= grown("blobforge_writer_transaction_seconds_sum")
    assert after("blobforge_writer_failing") == 0


async def test_clients(local: LocalServer, autojump_clock: Any) -> None:
    async with stream(local) as events:
        await local.submit()
        await events.next()
        found = await told(local)
        assert found("blobforge_event_streams") == 1
        assert found("blobforge_limit_used", limit="event_streams") == 1
        assert (found("blobforge_events_total") or 0) >= 1
        assert found("blobforge_event_stream_drops_total") == 0
    await local.register()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(local.claim, job_type="tiff", wait=30))
        await trio.sleep(1)
        found = await told(local)
        assert found("blobforge_long_polls") == 1
        assert found("blobforge_limit_used", limit="long_polls") == 1
        nursery.cancel_scope.cancel()
    await trio.sleep(1)
    found = await told(local)
    assert found("blobforge_http_requests_total", route="POST /api/jobs/claim", code=str(GONE)) == 1
    assert found("blobforge_long_polls") == 0


async def test_refusals_and_wrong_credentials(local: LocalServer, autojump_clock: Any) -> None:
    for _ in range(23):
        await local.call("GET", "/api/jobs", token="bf_wrong")
    await local.call("GET", "/api/jobs", headers={})  # no credential is no wrong one
    await local.call("GET", "/api/jobs/7")
    await local.call("POST", "/api/jobs", b"{", headers={"Authorization": f"Bearer {local.parts.admin_token}"})
    await local.call("POST", "/api/jobs", b" " * (1 << 21))
    found = await told(local)
    assert found("blobforge_auth_failures_total") == 23
    assert found("blobforge_auth_throttled_total") == 3
    assert found("blobforge_refusals_total", code="slow-down") == 3
    assert found("blobforge_refusals_total", code="unauthenticated") == 21
    assert found("blobforge_refusals_total", code="no-such-job") == 1
    assert found("blobforge_refusals_total", code="malformed") == 1
    assert found("blobforge_refusals_total", code="too-large") == 1
    assert found("blobforge_refusals_total", code="lease-lost") == 0, "known before it happens, for rates"
    assert found.labels("blobforge_refusals_total", "code") == set(RefusalCode)


HOSTILE = [
    "/wp-admin.php", "/api/jobs/1/", "/api/jobs/999999999999999999999", "/%0a%22%7d%20evil%20%7b", "/api//jobs",
    '/"}\\n', "/api/jobs/1/nonsense", "/objects/../../etc/passwd", "/objects/sources/00", "/api/workers/\u202e/drain",
]  # fmt: skip


async def test_no_path_and_no_id_becomes_a_label(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    await local.register("a-worker-with-a-name")
    await finish(local, "a-worker-with-a-name")
    await scrape(local)
    before = {(name, labels) for name, labels in (await told(local)).samples if "route" not in dict(labels)}
    for number in range(40):
        for path in [*HOSTILE, f"/scan/{number}", f"/api/jobs/{1000 + number}", f"/objects/x/{number}"]:
            await local.call("GET", path)
        await local.call("DELETE", "/api/jobs")
        await local.call("POST", "/metrics")
    found = await told(local)
    ours = {route.name for route in routes()}
    objects = {"GET /objects/<path:key>", "PUT /objects/<path:key>", "HEAD /objects/<path:key>"}
    assert found.labels("blobforge_http_requests_total", "route") <= ours | objects | {UNMATCHED}
    assert (found("blobforge_http_requests_total", route=UNMATCHED, code="404") or 0) >= 200
    assert found("blobforge_http_requests_total", route=UNMATCHED, code="405") == 120
    assert (found("blobforge_http_requests_total", route="GET /objects/<path:key>", code="403") or 0) >= 40
    after = {(name, labels) for name, labels in found.samples if "route" not in dict(labels)}
    assert after == before, "no other series has come into being"
    assert "a-worker-with-a-name" not in found.text


async def test_types_that_clients_make_up_are_bounded(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", max_types=3) as local:
        await local.register()
        for number in range(50):
            await local.call("POST", "/api/jobs", {"type": f"t{number}", "source_hash": HEX})
            await local.claim(job_types=[f"u{number}", f"v{number}"])
        found = await told(local)
        types = {value for _, labels in found.samples for name, value in labels if name == "type"}
        assert types == {"t0", "t1", "t2"}


async def test_an_unreadable_database_spoils_nothing_else(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit()
    with looked_into(local.parts.services.settings.database) as database:
        database.probe.hide("job_counts")
    found = await told(local)
    assert found("blobforge_database_readable") == 0
    assert found("blobforge_jobs") is None
    assert (found("blobforge_writer_messages_total") or 0) > 0
    assert found("blobforge_writer_failing") == 0


async def test_an_unreadable_database_is_an_outage_and_no_bug(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit()
    with looked_into(local.parts.services.settings.database) as database:
        database.probe.hide("job_counts")
    status, said = await local.call("GET", "/api/stats")
    assert (status, said["type"].rpartition(":")[2]) == (503, "unavailable")
    response = await local.http.get("/", headers={"Authorization": f"Bearer {local.parts.admin_token}"})
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    assert "cannot read its database now" in await response.get_data(as_text=True)
    assert (await local.call("GET", f"/api/jobs/{job_id}/attempts"))[0] == 200, "what can be read is answered"


# ------------------------------------------------------------------ what health says when a part is stuck


class Gate:
    """A hop that lets others through, and the writer only while it is open; or its disk is full."""

    full = False

    def __init__(self) -> None:
        self.open = trio.Event()
        self.open.set()

    async def __call__(self, call: Callable[[], T], /) -> T:
        if isinstance(call, partial) and call.func.__name__ == "_transact":  # the writer's transaction
            await self.open.wait()
            if self.full:
                raise StoreUnavailable("database or disk is full")
        return await in_place(call)


@asynccontextmanager
async def gated(folder: Path) -> AsyncIterator[tuple[LocalServer, Gate]]:
    folder.mkdir()
    gate = Gate()
    async with running(Settings(data_dir=str(folder)), hop=gate, now=virtual_now) as parts:
        parts.url = "http://blobforge.test"
        yield LocalServer(parts, folder), gate


async def test_a_stuck_writer(tmp_path: Path, autojump_clock: Any) -> None:
    async with gated(tmp_path / "data") as (local, gate), trio.open_nursery() as nursery:
        assert (await local.call("GET", "/readyz", headers={}))[0] == 200
        await trio.sleep(5)
        await local.call("GET", "/metrics")  # notes the token's use, which is a write of its own
        gate.open = trio.Event()
        for _ in range(10):
            nursery.start_soon(local.ask, Ping())
            await trio.sleep(0.1)
        found = await told(local)
        assert found("blobforge_mailbox_messages", actor="writer") == 9, "one is in the open transaction"
        assert found("blobforge_mailbox_capacity", actor="writer") == 4096
        assert found.labels("blobforge_mailbox_messages", "actor") >= {"scheduler", "reaper", "intake", "broadcaster"}
        assert (await local.call("GET", "/livez", headers={})) == (200, {"status": "alive"})
        status, answer = await local.call("GET", "/readyz", headers={})
        assert (status, answer["status"]) == (503, "unhealthy")
        gate.open.set()
        await trio.sleep(5)
        assert (await local.call("GET", "/readyz", headers={}))[0] == 200
        assert (await told(local))("blobforge_mailbox_messages", actor="writer") == 0


async def test_a_disk_that_is_full(tmp_path: Path, autojump_clock: Any) -> None:
    async with gated(tmp_path / "data") as (local, gate):
        await local.call("GET", "/metrics")
        await trio.sleep(5)  # the token's use is noted, and what a start has to do is done: writes of their own
        gate.full = True
        assert (await local.call("GET", "/readyz", headers={}))[0] == 503
        assert (await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX}))[0] == 503
        found = await told(local)
        assert found("blobforge_writer_failing") == 1
        assert found("blobforge_writer_failed_commits_total") == 2
        assert found("blobforge_refusals_total", code="unavailable") == 1
        assert found("blobforge_http_requests_total", route="POST /api/jobs", code="503") == 1
        gate.full = False
        await trio.sleep(5)
        assert (await local.call("GET", "/readyz", headers={}))[0] == 200
        found = await told(local)
        assert found("blobforge_writer_failing") == 0
        assert found("blobforge_writer_failed_commits_total") == 2


@contextmanager
def silent_store() -> Iterator[str]:
    """The URL of what accepts connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_object_store_that_hangs_degrades_and_fails_no_readiness(tmp_path: Path) -> None:
    with silent_store() as url:
        server = ServerProcess(
            tmp_path / "data",
            s3_endpoint=url,
            s3_bucket="b",
            s3_access_key="a",
            s3_secret_key="s",
            s3_timeout=0.2,
            litestream_disabled="true",
        )
        server.folder.mkdir()
        try:
            server.start()
            with server.client() as http:
                health = http.get("/health")
                assert (health.status_code, health.json()["status"]) == (200, "degraded")
                assert health.json()["object_store"]["status"] == "unhealthy"
                assert http.get("/readyz").status_code == 200
                assert http.get("/livez").status_code == 200
                submitted = http.post("/api/jobs", json={"type": "pdf", "source_hash": HEX})
                assert submitted.status_code == 201
                found = Told(http.get("/metrics").text)
                assert found("blobforge_object_store_answering") == 0
                # The one that waits is the first question, be it the health's or the look of a new database.
                assert (found("blobforge_object_store_errors_total", reason="silent") or 0) >= 1
                assert (found("blobforge_object_store_errors_total", operation="check") or 0) >= 1
                failed = found("blobforge_object_store_errors_total", operation="head") or 0
                assert failed >= 1
                assert (found("blobforge_event_loop_lag_seconds_count") or 0) >= 0
                # The same while the questions hang: asked by the clients, not by each other.
                assert httpx.get(f"{server.url}/readyz", trust_env=False).status_code == 200
        finally:
            server.close()


# ------------------------------------------------------------------ the backup


class Replicated:
    """What a replicator tells."""

    def __init__(self) -> None:
        self.mailbox: Mailbox[Any] = Mailbox(1)

    lag_seconds: float | None = None
    proven_until_ms: int | None = None
    last_drill_ok: bool | None = None
    restarts = 0
    running = True


async def test_a_backup_that_is_not_there_is_not_told(local: LocalServer, autojump_clock: Any) -> None:
    assert "blobforge_backup" not in await scrape(local)


def with_backup(parts: Parts, backup: Replicated) -> None:
    parts.services.metrics.parts.backup = lambda: backup


async def test_a_backup(local: LocalServer, autojump_clock: Any) -> None:
    backup = Replicated()
    with_backup(local.parts, backup)
    found = await told(local)
    assert found("blobforge_backup_running") == 1
    assert found("blobforge_mailbox_messages", actor="replicator") == 0
    assert found("blobforge_backup_restarts_total") == 0
    assert found("blobforge_backup_lag_seconds") is None, "not known is not zero"
    assert found("blobforge_backup_drill_ok") is None
    backup.lag_seconds, backup.proven_until_ms, backup.last_drill_ok, backup.restarts = (
        2.5,
        1_795_000_000_000,
        False,
        3,
    )
    found = await told(local)
    assert found("blobforge_backup_lag_seconds") == 2.5
    assert found("blobforge_backup_proven_until_timestamp_seconds") == 1_795_000_000
    assert found("blobforge_backup_drill_ok") == 0
    assert found("blobforge_backup_restarts_total") == 3
