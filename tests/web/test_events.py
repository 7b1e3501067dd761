"""`GET /events`: names and fields that existing clients know, ids and replay, and limits."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from blobforge.store.errors import DatabaseError
from tests.fixtures.local import LocalServer, open_local
from tests.fixtures.server import ServerProcess
from tests.web.calls import HEX, Frame, assert_problem, finish, stream, token

KNOWN = {"job_id", "type", "status", "error", "worker_id"}  # fields that existing clients read


async def test_names_and_fields(local: LocalServer, autojump_clock: Any) -> None:
    async with stream(local) as events:

        async def expect(name: str, **fields: Any) -> None:
            frame = await events.next()
            assert (frame.event, frame.data) == (name, fields)
            assert frame.id, "every event has an id"

        await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": HEX})
        await expect("job_created", job_id=1, type="pdf", status="uploading")
        job_id = await local.submit()
        await expect("job_created", job_id=job_id, type="pdf", status="pending")
        await local.register()
        await expect("worker_online", worker_id="w1", type="pdf", status="online")
        grant = await local.claim()
        running = {"job_id": job_id, "type": "pdf", "status": "running", "worker_id": "w1"}
        await expect("job_updated", **running)
        beat = {"job_id": job_id, "progress": {"stage": "ocr", "percent": 5}}
        await local.call("POST", "/api/workers/w1/heartbeat", beat)
        await expect("job_progress", **running, progress=beat["progress"])
        failure = {"worker_id": "w1", "error": "boom", "lease": grant["lease"]}
        await local.call("POST", f"/api/jobs/{job_id}/fail", failure)
        await expect("job_failed", **(running | {"status": "failed"}), error="boom")
        await local.call("POST", f"/api/jobs/{job_id}/retry")
        await expect("job_updated", job_id=job_id, type="pdf", status="pending")
        await finish(local)
        await expect("job_updated", **running)
        await expect("job_completed", **(running | {"status": "completed"}))
        await local.call("POST", "/api/workers/w1/drain")
        await expect("worker_draining", worker_id="w1", type="pdf", status="draining")
        await local.call("POST", "/api/workers/w1/unregister")
        await expect("worker_offline", worker_id="w1", type="pdf", status="offline")
        await local.call("DELETE", "/api/workers/w1")
        await expect("worker_removed", worker_id="w1", type="pdf")


async def test_what_is_refused_is_no_event(local: LocalServer, autojump_clock: Any) -> None:
    job_id = await local.submit()
    await local.register()
    await local.claim()
    await local.call("POST", f"/api/jobs/{job_id}/cancel")
    async with stream(local) as events:
        late = {"worker_id": "w1"}
        assert_problem(await local.call("POST", f"/api/jobs/{job_id}/complete", late), 409, "lease-lost")
        assert_problem(await local.call("POST", f"/api/jobs/{job_id}/cancel"), 409, "job-ended")
        assert await events.rest() == []


async def test_statistics_come_at_most_once_a_second(local: LocalServer, autojump_clock: Any) -> None:
    async with stream(local, "?types=stats_updated") as events:
        for number in range(20):
            await local.submit(b"%d" % number)
        frames = []
        with trio.move_on_after(5):
            while True:
                frames.append(await events.block())
        stats = [frame for frame in frames if isinstance(frame, Frame) and frame.event == "stats_updated"]
        assert 1 <= len(stats) <= 2
        assert stats[-1].data["total_jobs"] == 20


async def test_statistics_come_after_what_was_done_by_hand(local: LocalServer, autojump_clock: Any) -> None:
    """A token that is made is no event. A record in the audit log tells of it."""
    async with stream(local, "?types=stats_updated") as events:
        assert (await local.call("POST", "/api/admin/tokens", {"name": "ci", "scopes": ["read"]}))[0] == 201
        with trio.fail_after(5):
            while (frame := await events.block()) is None or not is_stats(frame):
                pass
    assert isinstance(frame, Frame)


def is_stats(frame: object) -> bool:
    return isinstance(frame, Frame) and frame.event == "stats_updated"


async def test_filters(local: LocalServer, autojump_clock: Any) -> None:
    await local.submit(b"1")
    await local.submit(b"2")
    await local.register()
    async with stream(local, "?types=job_updated,job_completed") as by_type, stream(local, "?job=2") as by_job:
        await finish(local)
        await finish(local)
        assert [frame.event for frame in await by_type.rest()] == ["job_updated", "job_completed"] * 2
        frames = await by_job.rest()
        assert {frame.data["job_id"] for frame in frames} == {2}
        assert [frame.event for frame in frames] == ["job_updated", "job_completed"]


async def test_the_events_of_some_jobs_come_beside_those_of_some_types(
    local: LocalServer, autojump_clock: Any
) -> None:
    for content in (b"1", b"2", b"3"):
        await local.submit(content)
    await local.register()
    async with stream(local, "?types=job_completed&jobs=2,3") as both, stream(local, "?jobs=3,1") as jobs:
        for _ in range(3):
            await finish(local)
        seen = [(frame.event, frame.data["job_id"]) for frame in await both.rest()]
        assert seen == [("job_completed", 1), ("job_updated", 2), ("job_completed", 2), ("job_updated", 3),
                        ("job_completed", 3)]  # fmt: skip
        assert [frame.data["job_id"] for frame in await jobs.rest()] == [1, 1, 3, 3]


@pytest.mark.parametrize("query", ["?types=job_made", "?types=job_created,x", "?job=0", "?job=x", "?job=1.5",
                                   "?job=9999999999999999999", "?types=%00", "?types=" + "a" * 501, "?jobs=1,x",
                                   "?jobs=,1", "?jobs=" + "0" * 20,
                                   "?jobs=" + ",".join(map(str, range(101)))])  # fmt: skip
async def test_bad_filters(local: LocalServer, autojump_clock: Any, query: str) -> None:
    assert_problem(await local.call("GET", f"/events{query}"), 422, "invalid")
    assert local.parts.services.streams.used == 0


# ------------------------------------------------------------------ coming back


@pytest.mark.parametrize("way", ["header", "query"])
async def test_who_comes_back_gets_what_it_missed(local: LocalServer, autojump_clock: Any, way: str) -> None:
    async with stream(local) as events:
        await local.submit(b"1")
        seen = str((await events.next()).id)
    await local.submit(b"2")
    await local.submit(b"3")
    query, headers = (f"?last_event_id={seen}", {}) if way == "query" else ("", {"Last-Event-ID": seen})
    async with stream(local, query, headers) as again:
        assert [frame.data["job_id"] for frame in await again.rest()] == [2, 3]
        await local.call("POST", "/api/jobs/1/cancel")
        assert (await again.next()).data["status"] == "cancelled", "and then what happens from now on"


@pytest.mark.parametrize("last", ["0-1", "nonsense", "-", "12345678-99", "x" * 90, "ab-%D9%A1"])
async def test_an_id_that_is_not_known_any_more_means_resync(
    local: LocalServer, autojump_clock: Any, last: str
) -> None:
    async with stream(local, f"?last_event_id={last}") as events:
        frame = await events.next()
        assert frame.event == "resync"
        assert frame.id


async def test_what_has_left_the_window_means_resync(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", event_replay=3) as local:
        async with stream(local) as events:
            await local.submit(b"1")
            seen = (await events.next()).id
        for number in range(5):
            await local.submit(b"more %d" % number)
        async with stream(local, headers={"Last-Event-ID": str(seen)}) as again:
            assert (await again.next()).event == "resync"
            await local.call("POST", "/api/jobs/1/cancel")
            assert (await again.next()).event == "job_updated", "it goes on from here"


async def test_a_slow_reader_is_cut_short_and_told_so(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", event_queue=5) as local, stream(local) as events:
        for number in range(200):  # the test's own connection holds ten more
            await local.submit(b"%d" % number)
        frames = await events.rest()
        assert frames[-1].event == "resync"
        assert len(frames) < 50
        assert local.parts.broadcaster.dropped == 1
        await local.call("POST", "/api/jobs/1/cancel")
        assert (await events.next()).data["status"] == "cancelled"


async def test_silence_is_kept_alive(local: LocalServer, autojump_clock: Any) -> None:
    async with stream(local) as events:
        began = trio.current_time()
        assert (await events.block()).event == "connected"
        for number in range(1, 11):
            assert await events.block() == ": still here"
            assert await events.block() == Frame("ping", "keepalive")
            assert trio.current_time() - began == 30 * number
        assert trio.current_time() - began >= 120, "longer than any time limit of a request"


async def test_a_stream_with_much_to_tell_is_pinged_all_the_same(local: LocalServer, autojump_clock: Any) -> None:
    """Existing clients wait for a ping, and events are none."""
    async with stream(local, "?types=job_created") as events, trio.open_nursery() as nursery:
        pings: list[float] = []

        async def tell() -> None:
            number = 0
            while len(pings) < 2:  # and is not cancelled: Quart's test client leaves its nurseries open then
                await local.submit(b"%d" % number)
                await trio.sleep(2)
                number += 1

        nursery.start_soon(tell)
        began = trio.current_time()
        while len(pings) < 2:
            if await events.block() == Frame("ping", "keepalive"):
                pings.append(trio.current_time() - began)
    assert pings == pytest.approx([30, 60], abs=1)  # the broadcaster gives turns, some ms each


async def test_an_event_in_its_envelope(local: LocalServer, autojump_clock: Any) -> None:
    """As the bytes stand: the envelope of existing clients, and for one release the members beside it."""
    async with stream(local) as events:
        job_id = await local.submit()
        text = ""
        while "event: job_created" not in text:
            text = (await events.connection.receive()).decode()
    name, data = next(block for block in text.split("\n\n") if "job_created" in block).split("\n")[1:]
    assert name == "event: job_created"
    inner = {"job_id": job_id, "type": "pdf", "status": "pending"}
    assert msgspec.json.decode(data.removeprefix("data: ")) == {
        "type": "job_created", "data": inner, "job_id": job_id, "status": "pending",
    }  # fmt: skip


async def test_a_client_without_an_id_is_given_one_to_come_back_with(local: LocalServer, autojump_clock: Any) -> None:
    """What happens after it connected and before its first event is not missed."""
    async with stream(local, "?types=job_updated") as events:
        first = await events.block()
        assert isinstance(first, Frame)
        assert (first.event, first.data) == ("connected", {})
    job_id = await local.submit()
    async with stream(local, headers={"Last-Event-ID": first.id or ""}) as events:
        again = await events.block()
        assert isinstance(again, Frame)
        assert (again.event, again.data["job_id"]) == ("job_created", job_id)


# ------------------------------------------------------------------ limits


async def test_streams_are_limited_per_address_and_in_total(tmp_path: Path, autojump_clock: Any) -> None:
    for limits in ({"max_streams": 2}, {"max_streams_per_address": 2}):
        async with open_local(tmp_path / next(iter(limits)), **limits) as local:
            async with stream(local), stream(local):
                assert_problem(await local.call("GET", "/events"), 429, "slow-down")
            await trio.sleep(1)
            assert local.parts.services.streams.used == local.parts.broadcaster.subscribers == 0
            async with stream(local):
                pass


async def test_head_opens_no_stream(local: LocalServer, autojump_clock: Any) -> None:
    with trio.fail_after(1):
        status, body = await local.call("HEAD", "/events")
    assert (status, body) == (200, b"")
    assert local.parts.services.streams.used == 0


def test_clients_that_vanish_leave_nothing_behind(server: ServerProcess) -> None:
    """Hundreds that go away in every moment of the request: none keeps its place."""
    host, port = server.url.removeprefix("http://").split(":")
    request = f"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n\r\n".encode()
    for number in range(300):
        with socket.create_connection((host, int(port))) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # close with a reset
            client.sendall(request)
            if number % 3 == 1:
                client.recv(1)
            elif number % 3 == 2:
                time.sleep(0.001)
    with server.client() as http:
        while b"blobforge_event_streams 0.0" not in http.get("/metrics").content:
            time.sleep(0.05)  # pytest-timeout is the deadline
        with http.stream("GET", "/events") as answer:
            assert next(answer.iter_lines()) == "event: ping"


def test_over_a_real_connection(server: ServerProcess) -> None:
    with server.client() as http, http.stream("GET", "/events", headers={"Accept": "text/event-stream"}) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert answer.headers["Cache-Control"] == "no-store"
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(3)] == ["event: ping", "data: connected", ""]
        httpx.post(
            f"{server.url}/api/jobs",
            json={"type": "pdf", "source_hash": HEX},
            headers={"Authorization": f"Bearer {server.token}"},
            trust_env=False,
        )
        assert [next(lines) for _ in range(4)][1] == "event: connected"
        frame = [next(lines) for _ in range(4)]
        assert frame[0].startswith("id: ")
        inner = '{"job_id":1,"type":"pdf","status":"uploading"}'
        data = f'data: {{"type":"job_created","data":{inner},"job_id":1,"status":"uploading"}}'
        assert frame[1:] == ["event: job_created", data, ""]


async def test_a_stream_is_held_while_the_database_cannot_be_asked_whose_it_is(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen before: it ended at its next look, with a traceback in the log."""
    reading = await token(local, "read")
    services = local.parts.services

    def away(*_: Any) -> Any:
        raise DatabaseError("the database is away")

    async with stream(local, headers={"Authorization": f"Bearer {reading}"}) as events:
        assert isinstance(await events.block(), Frame)
        with monkeypatch.context() as patched:
            patched.setattr(services.keyring, "_is_fresh", lambda: False)
            patched.setattr(services.reads, "run", away)
            assert await events.block() == ": still here"
            assert await events.block() == Frame("ping", "keepalive")
        job_id = await local.submit()
        assert (await events.next()).data["job_id"] == job_id


async def test_a_stream_ends_when_its_token_is_revoked(local: LocalServer, autojump_clock: Any) -> None:
    """It may live for days: who was let in is asked for again while it does, busy or quiet."""
    made = (await local.call("POST", "/api/admin/tokens", {"name": "wall", "scopes": ["read"]}))[1]
    bearer = {"Authorization": f"Bearer {made['token']}"}
    ended = trio.Event()
    async with stream(local, headers=bearer) as events, trio.open_nursery() as nursery:

        async def read() -> None:
            with contextlib.suppress(trio.EndOfChannel):
                while True:
                    await events.block()
            ended.set()

        nursery.start_soon(read)
        await trio.sleep(60)
        assert not ended.is_set()
        assert (await local.call("DELETE", f"/api/admin/tokens/{made['id']}"))[0] == 200
        for number in range(10):
            await local.submit(str(number).encode())  # something happens all the time
            await trio.sleep(4)
        nursery.cancel_scope.cancel()
    assert ended.is_set()
    assert local.parts.broadcaster.subscribers == 0
