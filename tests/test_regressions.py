"""Faults of our own that a review found by running them. Each has a test here that fails when it comes back."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
import trio
import trio.lowlevel

from actors.broadcaster import REPLAY_BYTES, Broadcaster
from actors.mailbox import ask
from actors.messages import (
    Cancel,
    Claim,
    Complete,
    DeleteToken,
    ExpireLeases,
    ExpireUploads,
    NewJob,
    ObjectSeen,
    Register,
    Retry,
    Seen,
    Silent,
    SourceArrived,
    SourceRejected,
    Submit,
)
from blobforge.config import Settings
from blobforge.events import JobProgress
from blobforge.refusals import Refusal, RefusalCode
from blobforge.serve.server import running
from blobforge.store.errors import StoreUnavailable
from tests.fixtures.house import House, open_house, virtual_now
from tests.fixtures.server import ServerProcess
from tests.store.making import ADMIN, Book, hash_of, submission
from web.decode import json_body


@pytest.mark.timeout(60)
def test_a_string_that_never_ends_does_not_freeze_the_server() -> None:
    """The depth check went back and tried again at every character: an hour for one body of 1 MiB."""
    body = b"[" + b"[]," * 65 + b'"' + b'\\"' * 500_000
    refusal = json_body(body, "application/json", msgspec.json.Decoder(Any))
    assert isinstance(refusal, Refusal)
    assert refusal.code is RefusalCode.MALFORMED


def test_depth_counts_brackets_and_not_what_strings_hold() -> None:
    decoder = msgspec.json.Decoder(Any)
    assert json_body(b'["' + b"[{" * 200 + b'"]', "application/json", decoder) == ["[{" * 200]
    deep = json_body(b"[" * 65 + b"]" * 65, "application/json", decoder)
    assert isinstance(deep, Refusal)
    assert json_body(b"[" * 64 + b"]" * 64 + b" ", "application/json", decoder) is not None
    assert json_body(b"[" + b"[]," * 100 + b"[]]", "application/json", decoder) == [[]] * 101


async def test_job_types_are_kinds_of_work_and_not_labels(tmp_path: Path, autojump_clock: Any) -> None:
    """16,000 of them made one list take 79 seconds."""
    async with open_house(tmp_path / "data", max_types=3) as house:
        for number in range(3):
            assert (await house.submit(str(number).encode(), type=f"t{number}")) == number + 1
        body = {"type": "one-more", "source_hash": "0" * 64}
        status, problem = await house.call("POST", "/api/jobs", body)
        assert (status, problem["field"]) == (422, "type")
        assert "BLOBFORGE_MAX_TYPES" in problem["error"]
        await house.submit(b"again", type="t0")  # those that are known go on


async def test_what_is_kept_of_progress_metadata_and_result_is_bounded(house: House, autojump_clock: Any) -> None:
    """300 heartbeats filled 270 MB of memory."""
    job_id = await house.submit()
    await house.register()
    grant = await house.claim()
    large = {"text": "x" * 100_000}
    beat = {"job_id": job_id, "progress": large}
    assert (await house.call("POST", "/api/workers/w1/heartbeat", beat))[0] == 200  # a sign of life all the same
    assert "100011 bytes" in (await house.job(job_id))["progress"]["message"]
    body = {"worker_id": "w1", "lease": grant["lease"], "result": large}
    assert (await house.call("POST", f"/api/jobs/{job_id}/complete", body))[0] == 200  # kept aside, out of every list
    listed = (await house.call("GET", "/api/jobs"))[1]["jobs"][0]
    assert "result" not in listed
    assert listed["result_size"] > 100_000
    submit = {"type": "pdf", "source_hash": "1" * 64, "metadata": large}
    status, problem = await house.call("POST", "/api/jobs", submit)
    assert (status, problem["field"]) == (422, "metadata")


async def test_the_replay_window_is_bounded_by_size_too(autojump_clock: Any) -> None:
    async def none() -> None:
        pass

    broadcaster = Broadcaster(replay=100_000, queue=10, stats=none)
    progress = msgspec.Raw(b'{"text":"' + b"x" * 100_000 + b'"}')
    for _ in range(1000):
        broadcaster._send("job_progress", 1, JobProgress(1, "pdf", "running", "w1", progress))
    assert sum(len(frame.data) for frame in broadcaster._window) <= REPLAY_BYTES


async def test_a_slow_read_of_statistics_holds_up_no_write(house: House, autojump_clock: Any) -> None:
    """The broadcaster waited for it, and the writer for the broadcaster."""

    async def never() -> None:
        await trio.sleep_forever()

    house.parts.broadcaster._stats = never
    subscription = house.parts.broadcaster.subscribe()
    await house.register()
    await trio.sleep(2)  # the statistics are being read
    with trio.fail_after(60):
        for _ in range(600):  # more commits than the broadcaster's mailbox holds
            await house.register()
    house.parts.broadcaster.unsubscribe(subscription)


async def test_a_server_that_cannot_write_is_not_ready(tmp_path: Path, autojump_clock: Any) -> None:
    """An empty transaction succeeds on a full disk: it said healthy while every heartbeat got 503."""
    full = False

    async def hop(call: Callable[[], Any], /) -> Any:
        await trio.lowlevel.checkpoint()
        return call()

    folder = tmp_path / "data"
    folder.mkdir()
    async with running(Settings(data_dir=str(folder)), hop=hop, now=virtual_now) as parts:
        house = House(parts, folder)
        real = parts.writer._store.pulse

        def pulse(*, now: int) -> None:
            if full:
                raise StoreUnavailable("the disk is full")
            real(now=now)

        parts.writer._store.pulse = pulse  # type: ignore[method-assign]
        assert (await house.call("GET", "/readyz"))[0] == 200
        full = True
        await trio.sleep(5)
        assert (await house.call("GET", "/readyz"))[0] == 503
        assert (await house.call("GET", "/api/health"))[0] == 503
        full = False
        await trio.sleep(5)
        assert (await house.call("GET", "/readyz"))[0] == 200


async def test_a_burst_for_claims_under_way_is_not_served_one_commit_at_a_time(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async def slow(call: Callable[[], Any], /) -> Any:
        await trio.sleep(0.01)
        return call()

    folder = tmp_path / "data"
    folder.mkdir()
    async with running(Settings(data_dir=str(folder)), hop=slow, now=virtual_now) as parts:
        await ask(parts.writer.mailbox, Register(ADMIN, "w1", "pdf"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, parts.writer.mailbox, Register(ADMIN, "w2", "pdf"))
            await trio.sleep(0.002)  # the writer is busy with that; what comes now goes into one transaction:
            for _ in range(50):
                nursery.start_soon(ask, parts.scheduler.mailbox, Claim(ADMIN, "w1", ("pdf",), 1, 60.0))
            await trio.sleep(0.002)  # first the claims, which find nothing, and then
            commits = parts.writer.commits
            for number in range(50):
                nursery.start_soon(ask, parts.writer.mailbox, submission(number))
        assert parts.writer.commits - commits < 25


async def test_types_that_clients_make_up_fill_no_memory(house: House, autojump_clock: Any) -> None:
    await house.register()
    for number in range(300):
        await house.claim(job_types=[f"made-up-{number}-{each}" for each in range(40)])
    scheduler = house.parts.scheduler
    assert not scheduler._woken
    assert len(scheduler._most) < 12_000
    assert not scheduler._queues


async def test_a_claim_is_a_sign_of_life_and_takes_a_registration(house: House, autojump_clock: Any) -> None:
    """A worker that was silent got jobs and stayed offline; one that had unregistered did, too."""
    await house.register()
    await trio.sleep(200)
    assert (await house.call("GET", "/api/workers/w1"))[1]["status"] == "offline"
    assert await house.claim() == {"job": None}
    assert (await house.call("GET", "/api/workers/w1"))[1]["status"] == "online"
    await house.call("POST", "/api/workers/w1/unregister")
    body = {"worker_id": "w1", "job_type": "pdf"}
    assert (await house.call("POST", "/api/jobs/claim", body))[0] == 404
    assert (await house.call("POST", "/api/workers/w1/heartbeat"))[0] == 404
    await house.register()
    assert await house.claim() == {"job": None}


async def test_a_configured_administrators_token_that_is_replaced_is_revoked(
    tmp_path: Path, autojump_clock: Any
) -> None:
    old, new = "bf_" + "o" * 43, "bf_" + "n" * 43
    async with open_house(tmp_path / "data") as house:
        made_at_first = house.parts.admin_token
    async with open_house(tmp_path / "data", admin_token=old) as house:
        assert (await house.call("GET", "/api/admin/tokens", token=old))[0] == 200
        assert (await house.call("GET", "/api/admin/tokens", token=made_at_first))[0] == 401
    async with open_house(tmp_path / "data", admin_token=new) as house:
        assert (await house.call("GET", "/api/admin/tokens", token=new))[0] == 200
        assert (await house.call("GET", "/api/admin/tokens", token=old))[0] == 401


async def test_workers_of_a_token_that_is_gone_can_be_registered_by_another(
    house: House, autojump_clock: Any
) -> None:
    made = []
    for name in ("old", "new"):
        status, token = await house.call("POST", "/api/admin/tokens", {"name": name, "scopes": ["work"]})
        assert status == 201
        made.append(token)
    old, new = made
    job_id = await house.submit()
    await house.register(token=old["token"])
    assert (await house.claim())["job"]["id"] == job_id  # as the administrator, who may act as any
    body = {"id": "w1", "type": "pdf"}
    assert (await house.call("POST", "/api/workers/register", body, token=new["token"]))[0] == 403
    await house.ask(DeleteToken(old["id"]))
    assert (await house.call("POST", "/api/workers/register", body, token=new["token"]))[0] == 200
    assert (await house.job(job_id))["status"] == "pending", "what the former holder ran went back"


async def test_one_odd_row_ends_neither_the_server_nor_the_other_leases(house: House, autojump_clock: Any) -> None:
    """A bug in one expiry took the reaper with it, and the server with the reaper."""
    await house.submit(b"1")
    await house.submit(b"2")
    await house.register()
    first, second = [(await house.claim())["job"] for _ in range(2)]
    store = house.parts.writer._store
    real = store.save_job

    def save(before: Any, after: Any) -> None:
        if before.id == first["id"] and after.status == "pending":
            raise apsw.ConstraintError("odd")
        real(before, after)

    store.save_job = save  # type: ignore[method-assign]
    await trio.sleep(200)
    assert (await house.job(second["id"]))["status"] == "pending"
    assert (await house.job(first["id"]))["status"] == "running"
    store.save_job = real  # type: ignore[method-assign]
    job = (await house.ask(ExpireLeases((Silent(first["id"], 1, 0),)))).count
    assert job == 0  # a stale beat expires nothing


async def test_a_repeated_completion_finds_the_next_job_it_was_given(house: House, autojump_clock: Any) -> None:
    """With nothing kept for it: the next lease is derived from this one."""
    for number in range(3):
        await house.submit(str(number).encode())
    await house.register()
    grant = await house.claim()
    body = {"worker_id": "w1", "lease": grant["lease"], "claim_next": True}
    path = f"/api/jobs/{grant['job']['id']}/complete"
    first = (await house.call("POST", path, body))[1]["next"]
    again = (await house.call("POST", path, body))[1]["next"]
    assert first["job"]["id"] == again["job"]["id"]
    assert first["lease"] == again["lease"] != grant["lease"]
    assert (await house.call("GET", "/api/stats"))[1]["running_jobs"] == 1


async def test_a_back_off_is_never_longer_than_one_can_be(tmp_path: Path, autojump_clock: Any) -> None:
    """The clock had been years ahead when it was written."""
    async with open_house(tmp_path / "data", retry_backoff=10.0) as house:
        job_id = await house.submit()
        await house.register()
        grant = await house.claim()
        body = {"worker_id": "w1", "lease": grant["lease"], "error": "boom"}
        assert (await house.call("POST", f"/api/jobs/{job_id}/fail", body))[1]["will_retry"] is True
    database = apsw.Connection(str(tmp_path / "data" / "blobforge.db"))
    database.execute("UPDATE jobs SET not_before = not_before + 157680000000")  # five years
    database.close()
    async with open_house(tmp_path / "data", retry_backoff=10.0) as house:
        await trio.sleep(2 * 3600)
        assert (await house.job(job_id))["status"] == "pending"


def test_a_source_that_vanished_is_awaited_again_whatever_the_job_has_been_through(tmp_path: Path) -> None:
    """Found by the model: submitting it again revived only a job that nobody had ever claimed."""
    book = Book(tmp_path / "blobforge.db")
    book.do(submission("a"))
    book.register("w1")
    lease = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs[0].lease
    book.do(Complete(ADMIN, "w1", 1, lease))
    book.do(SourceRejected(hash_of("a"), "somebody wrote over it"))
    assert book.do(Retry(1)).status == "uploading"
    book.do(ExpireUploads((1,), 60.0))
    again = book.do(submission("a", ready=False))
    assert (again.existing, again.status, again.upload) == (True, "uploading", True)
    book.close()


def test_a_source_that_nobody_read_serves_no_job_that_announced_another_size(tmp_path: Path) -> None:
    """Found by the model: its arrival was refused for the job that waited, and good for the next one."""
    book = Book(tmp_path / "blobforge.db")
    book.do(submission("a", ready=False, source_size=7))
    book.do(SourceArrived(hash_of("a"), 5, verified=False))
    present = ObjectSeen(Seen.PRESENT, size=5)
    assert book.do(Submit(NewJob("ocr", hash_of("a"), source_size=7), present)).status == "uploading"
    book.do(Cancel(1))
    assert book.do(Retry(1)).status == "uploading"
    assert book.do(Submit(NewJob("tiff", hash_of("a"), source_size=5), present)).status == "pending"
    book.close()


def test_a_lease_belongs_to_one_attempt_even_when_it_is_derived(tmp_path: Path) -> None:
    """Found by the model: a completion repeated after its next job was lost gave the lost attempt's lease again."""
    book = Book(tmp_path / "blobforge.db")
    book.register("w1")
    book.do(submission("a"), submission("b"))
    first = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs[0]
    complete = Complete(ADMIN, "w1", first.id, first.lease, claim_next=True)
    lost = book.do(complete).next.jobs[0]
    assert book.do(ExpireLeases((Silent(lost.id, lost.attempt, lost.heartbeat_at),))).count == 1
    anew = book.do(complete).next.jobs[0]
    assert (anew.id, anew.attempt) == (lost.id, 2)
    assert anew.lease != lost.lease
    assert book.do(complete).next.jobs[0].lease == anew.lease  # and is found again by who repeats it once more
    refused = book.do(Complete(ADMIN, "w1", lost.id, lost.lease))
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.LEASE_LOST
    book.close()


def test_a_request_without_a_path_is_no_fault_of_ours(server: ServerProcess) -> None:
    """Found by the corpus: `GET ?x` was an unhandled exception, and 500."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(b"GET ?x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")  # a target begins with a slash, or is a whole URL


async def test_null_in_a_query_is_no_filter_that_lets_all_through(house: House, autojump_clock: Any) -> None:
    """Found by schemathesis: `?status=null` listed every job."""
    await house.submit()
    assert (await house.call("GET", "/api/jobs?status=null"))[1]["jobs"] == []  # as any status that there is none of
    for query in ("failure=null", "created_since=NULL"):
        status, problem = await house.call("GET", f"/api/jobs?{query}")
        assert (status, problem["field"]) == (422, query.partition("=")[0])
    assert (await house.call("GET", "/api/jobs?tag=null&q=null"))[1]["jobs"] == []


def test_a_refusal_before_the_body_cost_the_next_request_its_answer(server: ServerProcess) -> None:
    """The server was done with a request (401) whose body had not come yet, and closed the connection behind it."""
    host, port = server.url.removeprefix("http://").split(":")
    head = b"POST /api/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        for _ in range(3):
            connection.sendall(head)
            time.sleep(0.05)  # the body comes in a packet of its own
            connection.sendall(b"{}")
            answer = b""
            while not answer.endswith(b"}"):
                data = connection.recv(65536)
                assert data, f"closed after {answer!r}"
                answer += data
            assert answer.startswith(b"HTTP/1.1 401"), answer
