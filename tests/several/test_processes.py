"""What is promised of several servers on one database, asked of three processes: told at one, known at all; done by
one, and by no other as well; and the database may be away for a while.

No test looks at a clock: a client that was not told has waited in vain, and fails by its own time-out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import trio

from tests.fixtures.seaweed import Seaweed
from tests.several.streams import LogReader, Reader, as_told
from tests.several.three import PATIENCE, Asking, Three, asking, hash_of, three_servers

LEASE = 1.5  # seconds
WAIT = 55  # seconds that claims are held, longer than any client's patience
A, B, C = range(3)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, seaweed: Seaweed) -> Iterator[Three]:
    limits = {"worker_timeout": LEASE, "retry_backoff": 0.5, "retry_jitter": 0}
    with three_servers(tmp_path_factory.mktemp("three"), seaweed, **limits) as running:
        yield running


@pytest.fixture
async def ask(three: Three) -> AsyncIterator[Asking]:
    async with asking(three) as opened:
        yield opened


# ------------------------------------------------------------------ told at one, known at all


async def test_a_claim_that_waits_is_woken_by_a_submission_at_another_server(ask: Asking) -> None:
    for number, (waits, submits) in enumerate([(B, A), (C, B), (A, C)]):
        worker, type_ = f"w-wake-{number}", f"wake-{number}"
        await ask.register(submits, worker, type_)
        given: list[Any] = []

        async def claim(
            server: int = waits, worker: str = worker, type_: str = type_, given: list[Any] = given
        ) -> None:
            given.append(await ask.claim(server, worker, type_, wait=WAIT))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim)
            await ask.waiting(waits, 1)
            job_id = await ask.submit(submits, type_, b"wake %d" % number)
        assert given[0]["job"]["id"] == job_id


async def test_a_claim_that_is_repeated_at_another_server_gets_the_same_job(ask: Asking) -> None:
    await ask.register(A, "w-same", "same")
    for number in range(4):
        await ask.submit(number % 3, "same", b"same %d" % number)
    first, *again = [await ask.claim(server, "w-same", "same", claim_key="k") for server in (A, B, C)]
    for each in again:
        assert (each["job"]["id"], each["lease"]) == (first["job"]["id"], first["lease"])
    # Side by side, while there is nothing to do.
    await ask.register(A, "w-beside", "beside")
    given: list[Any] = []

    async def claim(server: int) -> None:
        given.append(await ask.claim(server, "w-beside", "beside", claim_key="k", wait=WAIT))

    async with trio.open_nursery() as nursery:
        for server in (A, B, C):
            nursery.start_soon(claim, server)
        for server in (A, B, C):
            await ask.waiting(server, 1)
        job_id = await ask.submit(B, "beside", b"beside")
        await ask.submit(C, "beside", b"another")
    assert {each["job"]["id"] for each in given} == {job_id}
    assert len({each["lease"] for each in given}) == 1


async def test_a_token_that_was_revoked_at_one_server_is_good_at_none(ask: Asking) -> None:
    for number in range(6):
        here, *others = [(number + each) % 3 for each in range(3)]
        made = await ask.done(here, "POST", "/api/tokens", {"name": "t", "scopes": ["read", "work"]})
        worker = {"id": f"w-revoked-{number}", "type": "revoked"}
        for server in range(3):
            assert (await ask.call(server, "GET", "/api/jobs", token=made["token"])).status_code == 200
        registered = await ask.call(here, "POST", "/api/workers/register", worker, token=made["token"])
        assert registered.status_code == 200
        body = {"worker_id": worker["id"], "job_type": "revoked", "wait": WAIT}
        held: list[int] = []

        async def claim(server: int, body: Any = body, token: str = made["token"], held: list[int] = held) -> None:
            held.append((await ask.call(server, "POST", "/api/jobs/claim", body, token=token)).status_code)

        async with trio.open_nursery() as nursery:
            for server in others:
                nursery.start_soon(claim, server)
            for server in others:
                await ask.waiting(server, 1)
            await ask.call(here, "DELETE", f"/api/tokens/{made['id']}")
            async with trio.open_nursery() as asked:
                for server in range(3):
                    asked.start_soon(refused, ask, server, made["token"])
        assert held == [401, 401]


async def refused(ask: Asking, server: int, token: str) -> None:
    assert (await ask.call(server, "GET", "/api/jobs", token=token)).status_code == 401


# ------------------------------------------------------------------ done by one


async def test_a_heartbeat_at_any_server_renews_and_silence_ends_a_lease_once(ask: Asking) -> None:
    """The server that heard the worker last is killed, so that the two others are left with its deadline."""
    await ask.register(A, "w-beats", "beats")
    job_id = await ask.submit(A, "beats", b"beats")
    given = await ask.claim(A, "w-beats", "beats")
    beat = {"jobs": [{"job_id": job_id, "lease": given["lease"]}]}
    for number in range(12):  # twice as long as a lease lasts
        answer = await ask.done((B, C)[number % 2], "POST", "/api/workers/w-beats/heartbeat", beat)
        assert answer["abandon"] == []
        await trio.sleep(LEASE / 6)
    await ask.done(B, "POST", "/api/workers/w-beats/heartbeat", beat)
    ask.three.servers[B].kill()
    while (job := await ask.done(A, "GET", f"/api/jobs/{job_id}"))["status"] == "running":
        await trio.sleep(0.1)
    await trio.to_thread.run_sync(ask.three.servers[B].start)
    await trio.sleep(2 * LEASE)  # the others' deadlines have passed, too
    job = await ask.done(C, "GET", f"/api/jobs/{job_id}")
    assert (job["status"], job["attempts"]) == ("pending", 0)
    assert [each["outcome"] for each in job["attempt_history"]] == ["lost"]
    told = [status for _, status in await ask.told(job_id)]
    assert told[told.index("running") :] == ["running", "pending"]


async def test_a_retry_wakes_once(ask: Asking) -> None:
    for name in ("w-a", "w-b", "w-c", "w-d"):
        await ask.register(A, name, "again")
    job_id = await ask.submit(A, "again", b"again")
    given = await ask.claim(B, "w-d", "again")
    failed = {"worker_id": "w-d", "lease": given["lease"], "error": "cannot"}
    assert (await ask.done(C, "POST", f"/api/jobs/{job_id}/fail", failed))["will_retry"]
    got: list[int] = []

    async def claim(server: int) -> None:
        worker = f"w-{'abc'[server]}"
        answer = await ask.claim(server, worker, "again", wait=WAIT)
        got.append(answer["job"]["id"])
        # Beside a busy neighbour the others may come later than a lease lasts.
        beat = {"jobs": [{"job_id": got[-1], "lease": answer["lease"]}]}
        while len(got) < 3:
            await ask.done(server, "POST", f"/api/workers/{worker}/heartbeat", beat)
            await trio.sleep(LEASE / 5)

    async with trio.open_nursery() as nursery:
        for server in (A, B, C):
            nursery.start_soon(claim, server)
        while not got:
            await trio.sleep(0.05)
        await trio.sleep(LEASE / 3)  # for the other servers' clocks
        assert got == [job_id]
        for content in (b"one more", b"and another"):
            await ask.submit(A, "again", content)
    assert len(set(got)) == 3
    told = [status for _, status in await ask.told(job_id)]
    assert told.count("failed") == 1
    assert told[: told.index("failed") + 3].count("running") == 2


async def test_a_source_is_verified_by_one_of_them(ask: Asking) -> None:
    jobs = []
    for number in range(6):
        content = b"to be verified %d" % number
        digest = hash_of(content)
        job = await ask.done(number % 3, "POST", "/api/jobs", {"type": "verify", "source_hash": digest})
        headers = {"Content-Type": "application/octet-stream"}
        answer = await ask.http.put(job["upload_url"], content=content, headers=headers)
        answer.raise_for_status()
        jobs.append((job["job_id"], digest))
    for number, (job_id, _) in enumerate(jobs):
        while (await ask.done(number % 3, "GET", f"/api/jobs/{job_id}"))["status"] != "pending":
            await trio.sleep(0.1)
    assert [ask.three.line.count("GET", f"incoming/{digest}/") for _, digest in jobs] == [1] * len(jobs)
    for job_id, _ in jobs:
        assert [status for _, status in await ask.told(job_id)] == ["uploading", "pending"]


async def test_the_shares_of_a_server_that_is_killed_go_over_to_the_others(ask: Asking) -> None:
    """It looked for a third of the sources, searched for orphans, and kept house. Nobody tells the others of it: that
    they hear no more of it has to be enough."""
    three, line = ask.three, ask.three.line
    first = await longest_there(ask)
    second, third = sorted({A, B, C} - {first})
    contents = [b"left behind %d" % number for number in range(12)]
    jobs = []
    for content in contents:
        source = {"type": "left", "source_hash": hash_of(content)}
        jobs.append((await ask.done(third, "POST", "/api/jobs", source))["job_id"])
    goes = await ask.submit(second, "left", b"goes with its job")
    line.swallows = True
    begun = await ask.done(first, "POST", "/api/admin/orphans", {"dry_run": True})
    assert begun == {"status": "searching"}
    three.servers[first].kill()
    line.cut()
    line.swallows = False
    # As if the two minutes were over in which it may be slow.
    three.cluster.execute("UPDATE searches SET heard_at = heard_at - 120000", database=three.database)
    answer = await ask.call(second, "DELETE", f"/api/jobs/{goes}")
    assert answer.is_success, answer.text
    await ask.done(second, "POST", "/api/admin/orphans", {"dry_run": True})
    for content in contents:
        await trio.to_thread.run_sync(three.put_source, content)
    for job_id in jobs:
        while (await ask.done(third, "GET", f"/api/jobs/{job_id}"))["status"] != "pending":
            await trio.sleep(0.1)
    while (found := await ask.done(third, "GET", "/api/admin/orphans"))["state"] == "running":
        await trio.sleep(0.1)
    assert found["state"] == "done"
    while await trio.to_thread.run_sync(three.has_source, hash_of(b"goes with its job")):
        await trio.sleep(0.1)
    await trio.to_thread.run_sync(three.servers[first].start)


async def longest_there(ask: Asking) -> int:
    """The server that keeps house."""
    found = []
    for server in (A, B, C):
        listed = await ask.done(server, "GET", "/api/servers")
        found += [(each["since"], each["id"], server) for each in listed["servers"] if each["this"]]
    return min(found)[2]


async def test_an_object_is_deleted_by_one_of_them(ask: Asking) -> None:
    contents = [b"to be deleted %d" % number for number in range(9)]
    jobs = []

    async def submit(number: int, content: bytes) -> None:
        jobs.append(await ask.submit(number % 3, "delete", content))

    async with trio.open_nursery() as nursery:
        for number, content in enumerate(contents):
            nursery.start_soon(submit, number, content)
    for number, job_id in enumerate(jobs):
        answer = await ask.call((number + 1) % 3, "DELETE", f"/api/jobs/{job_id}")
        assert answer.is_success, answer.text
    for content in contents:
        while await trio.to_thread.run_sync(ask.three.has_source, hash_of(content)):
            await trio.sleep(0.1)
    await trio.sleep(0.5)
    assert [ask.three.line.count("DELETE", f"sources/{hash_of(content)}") for content in contents] == [1] * 9
    for job_id in jobs:
        assert [name for name, _ in await ask.told(job_id)].count("job_removed") == 1


# ------------------------------------------------------------------ the database is away


async def test_while_the_database_is_away_all_wait_and_none_is_silent(ask: Asking) -> None:
    for worker in ("w-holds", "w-waits"):
        await ask.register(A, worker, "away")
    held = await ask.submit(A, "away", b"held")
    lease = (await ask.claim(A, "w-holds", "away"))["lease"]
    beat = {"jobs": [{"job_id": held, "lease": lease}]}
    readers = [Reader([place], ask.three.token) for place in ask.three.places()]
    given: list[Any] = []

    async def claim() -> None:
        given.append(await ask.claim(B, "w-waits", "away", wait=WAIT))

    async def keep_beating() -> None:
        """On a busy machine a submission may take longer than a lease lasts."""
        while True:
            await ask.call(A, "POST", "/api/workers/w-holds/heartbeat", beat)
            await trio.sleep(LEASE / 5)

    async def may_not_write(server: int) -> None:
        source = {"type": "away", "source_hash": "ab" * 32}
        for path, body in (("/api/jobs", source), ("/api/workers/w-holds/heartbeat", beat)):
            answer = await ask.call(server, "POST", path, body)
            assert answer.status_code == 503, (path, answer.text)
            assert int(answer.headers["Retry-After"]) > 0

    async with trio.open_nursery() as streams:
        for reader in readers:
            streams.start_soon(reader.run)
        for reader in readers:
            await reader.began.wait()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim)
            await ask.waiting(B, 1)
            await ask.done(A, "POST", "/api/workers/w-holds/heartbeat", beat)
            ask.three.cluster.stop()
            for _ in range(10):  # longer than a lease lasts
                for server in (A, B, C):
                    await may_not_write(server)
                await trio.sleep(LEASE / 5)
            assert given == []
            ask.three.cluster.start()
            for server in (A, B, C):
                while (answer := await ask.call(server, "POST", "/api/workers/w-holds/heartbeat", beat)).is_error:
                    assert answer.status_code == 503
                    await trio.sleep(0.1)
                assert answer.json()["abandon"] == [], "its lease is what it was"
            streams.start_soon(keep_beating)
            next_ = await ask.submit(C, "away", b"next")
        assert given[0]["job"]["id"] == next_
        job = await ask.done(C, "GET", f"/api/jobs/{held}")
        assert (job["status"], len(job["attempt_history"])) == ("running", 1)
        with trio.fail_after(PATIENCE):
            for reader in readers:
                while not any(each.data.get("job_id") == next_ for each in reader.told):
                    await trio.sleep(0.05)
        streams.cancel_scope.cancel()
    assert [(reader.streams, reader.resyncs) for reader in readers] == [(1, 0)] * 3


# ------------------------------------------------------------------ events


async def test_events_are_the_same_at_all_servers_and_over_a_restart_of_all(ask: Asking) -> None:
    three = ask.three
    log = LogReader(three.database_url)
    places = three.places()
    stays = [Reader([place], three.token) for place in places]
    goes = [Reader([*places[number:], *places[:number]], three.token, leaves_after=3) for number in range(3)]
    readers = [*stays, *goes]
    async with trio.open_nursery() as nursery:
        for reader in readers:
            nursery.start_soon(reader.run)
        for reader in readers:
            await reader.began.wait()
        began = max(reader.position for reader in readers)
        for number in range(30):
            source = {"type": "told", "source_hash": hash_of(b"told %d" % number)}
            await ask.done(number % 3, "POST", "/api/jobs", source)
        async with trio.open_nursery() as stopping:
            for server in three.servers:
                stopping.start_soon(trio.to_thread.run_sync, server.stop)
        async with trio.open_nursery() as starting:
            for server in three.servers:
                starting.start_soon(trio.to_thread.run_sync, server.start)
        for number in range(30, 60):
            source = {"type": "told", "source_hash": hash_of(b"told %d" % number)}
            await ask.done(number % 3, "POST", "/api/jobs", source)
        log.read()
        with trio.move_on_after(PATIENCE):
            while any(reader.position < log.told()[-1].place for reader in readers):
                await trio.sleep(0.05)
        nursery.cancel_scope.cancel()
    log.read()
    end = min(reader.position for reader in readers)
    log.close()
    assert sum(each.name == "job_created" and each.place > began for each in log.told()) == 60
    assert as_told(readers, log, after=began, until=end) == []
    assert all(reader.streams > 10 for reader in goes)


async def test_a_stream_by_a_revoked_token_ends_at_another_server(ask: Asking) -> None:
    made = await ask.done(A, "POST", "/api/tokens", {"name": "t", "scopes": ["read"]})
    headers = {"Authorization": f"Bearer {made['token']}"}
    async with ask.http.stream("GET", ask.three.servers[B].url + "/events", headers=headers) as response:
        lines = response.aiter_lines()
        await anext(lines)
        assert (await ask.call(A, "DELETE", f"/api/tokens/{made['id']}")).status_code in (200, 204)
        with suppress(httpx.RemoteProtocolError):
            async for _ in lines:
                pass
    # Here it has ended: with one that stays open the client's patience, or the test's, would have been too short.
