"""Silence expires a lease; elapsed time, a restart, a wall clock that jumps and our own sleep do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from actors.effects import periodic
from actors.messages import (
    Claim,
    Complete,
    Completed,
    CreateWorker,
    Drain,
    ExpireLeases,
    Heartbeat,
    JobBeat,
    Purge,
    Register,
    Silent,
    SourceRejected,
)
from blobforge.config import Settings
from blobforge.machinery.hop import in_place
from blobforge.refusals import Refusal, RefusalCode
from blobforge.serve.server import running
from blobforge.store.errors import StoreUnavailable
from tests.fixtures.engines import looked_into
from tests.fixtures.local import LocalServer, open_local, virtual_now
from tests.store.making import ADMIN, hash_of, submission

TIMEOUT = 180.0
DAY = 86_400.0


async def job_of(local: LocalServer, job_id: int = 1) -> Any:
    return await local.parts.reads.run(lambda reader: reader.job(job_id))


async def worker_status(local: LocalServer, worker_id: str = "w1") -> str:
    worker = await local.parts.reads.run(lambda reader: reader.worker(worker_id))
    assert worker is not None
    return str(worker.status)


async def running_job(local: LocalServer, name: str = "one", worker_id: str = "w1") -> Any:
    await local.ask(Register(ADMIN, worker_id, "pdf"))
    await local.ask(submission(name))
    return (await local.ask(Claim(ADMIN, worker_id, ("pdf",)))).jobs[0]


def counted(local: LocalServer, table: str) -> int:
    with looked_into(local.parts.services.settings.database) as database:
        return database.probe.count(table)


async def test_silence_expires_a_lease_at_the_timeout_and_not_before(autojump_clock: Any, local: LocalServer) -> None:
    await running_job(local)
    await trio.sleep(TIMEOUT - 1)
    assert (await job_of(local)).status == "running"
    await trio.sleep(2)
    lost = await job_of(local)
    assert (lost.status, lost.attempts, lost.losses) == ("pending", 0, 1)
    assert "w1 was lost" in lost.last_error
    assert await worker_status(local) == "offline"
    _, (attempt,) = await local.parts.reads.run(lambda reader: reader.job_with_attempts(1))
    assert (attempt.outcome, attempt.kind) == ("lost", "WorkerSilent")
    assert "silent while it worked; raise BLOBFORGE_WORKER_TIMEOUT" in (attempt.error or "")


async def test_a_worker_that_has_beaten_before_it_fell_silent_is_lost(
    autojump_clock: Any, local: LocalServer
) -> None:
    job = await running_job(local)
    await trio.sleep(10)
    await local.ask(Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),)))
    await trio.sleep(TIMEOUT + 1)
    _, (attempt,) = await local.parts.reads.run(lambda reader: reader.job_with_attempts(1))
    assert (attempt.outcome, attempt.kind) == ("lost", "WorkerLost")
    assert "TIMEOUT" not in (attempt.error or "")


async def test_a_worker_that_was_given_its_lost_job_anew_keeps_it(autojump_clock: Any, local: LocalServer) -> None:
    """It may still work on it by the lease that has ended: what is to be abandoned are jobs, and this one is its."""
    before = await running_job(local)
    await trio.sleep(TIMEOUT + 1)
    again = (await local.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs[0]
    assert (again.id, again.attempt) == (before.id, 2)
    beats = (JobBeat(before.id, before.lease), JobBeat(again.id, again.lease))
    for named in (beats, beats[::-1]):
        await trio.sleep(TIMEOUT - 1)
        seen = await local.ask(Heartbeat(ADMIN, "w1", named))
        assert (seen.abandon, seen.late) == ((), ())
    assert (await job_of(local)).lease == again.lease
    seen = await local.ask(Heartbeat(ADMIN, "w1", beats[:1]))
    assert (seen.abandon, seen.late) == ((before.id,), ())


@pytest.mark.usefixtures("seldom")
async def test_a_worker_that_beats_keeps_its_job_for_a_day(autojump_clock: Any, local: LocalServer) -> None:
    job = await running_job(local)
    until = trio.current_time() + DAY
    while trio.current_time() < until:
        await trio.sleep(TIMEOUT - 1)
        seen = await local.ask(Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),)))
        assert seen.abandon == ()
    assert (await job_of(local)).attempt == 1
    assert await worker_status(local) == "online"


async def test_a_heartbeat_that_names_no_job_renews_no_lease(autojump_clock: Any, local: LocalServer) -> None:
    await running_job(local)
    for _ in range(4):
        await trio.sleep(TIMEOUT / 3)
        await local.ask(Heartbeat(ADMIN, "w1"))
    assert (await job_of(local)).status == "pending"
    assert await worker_status(local) == "online"


async def test_a_heartbeat_committed_just_before_wins(tmp_path: Path, autojump_clock: Any) -> None:
    """The reaper has asked for the expiry already; the heartbeat is before it in the same transaction."""
    held: list[float] = []

    async def gate(call: Any, /) -> Any:
        if held:
            await trio.sleep(held.pop())
        return await in_place(call)

    (tmp_path / "data").mkdir()
    async with running(Settings(data_dir=str(tmp_path / "data")), hop=gate, now=virtual_now) as parts:
        local = LocalServer(parts, tmp_path / "data")
        job = await running_job(local)
        await trio.sleep(TIMEOUT - 1)
        held.append(5.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(local.ask, Drain("w1"))  # busy: what comes now gathers behind it
            await trio.sleep(0.5)
            nursery.start_soon(local.ask, Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),)))
            await trio.sleep(2)
            assert len(parts.writer.mailbox) >= 2  # the heartbeat, and the reaper's ExpireLeases
        await trio.sleep(1)
        assert (await job_of(local)).status == "running"
        assert parts.reaper.expired_leases == 0
        await trio.sleep(TIMEOUT + 5)
        assert (await job_of(local)).status == "pending"  # and from that heartbeat on it runs anew


async def test_the_lease_of_a_draining_worker_expires_as_well(autojump_clock: Any, local: LocalServer) -> None:
    await running_job(local)
    await local.ask(Drain("w1"))
    await trio.sleep(TIMEOUT + 1)
    assert (await job_of(local)).status == "pending"
    assert await worker_status(local) == "offline"
    seen = await local.ask(Heartbeat(ADMIN, "w1"))
    assert seen.drain
    assert await worker_status(local) == "draining"  # a drain outlives the silence


async def test_registering_is_a_sign_of_life(autojump_clock: Any, local: LocalServer) -> None:
    await local.ask(Register(ADMIN, "w1", "pdf"))
    await trio.sleep(TIMEOUT - 1)
    await local.ask(Register(ADMIN, "w1", "pdf"))
    await trio.sleep(TIMEOUT - 1)
    assert await worker_status(local) == "online"
    await trio.sleep(2)
    assert await worker_status(local) == "offline"
    await local.ask(Heartbeat(ADMIN, "w1"))
    assert await worker_status(local) == "online"


@pytest.mark.usefixtures("seldom")
async def test_a_worker_that_never_called_is_no_silent_one(autojump_clock: Any, local: LocalServer) -> None:
    await local.ask(CreateWorker("w1", "pdf", "0" * 64))
    await trio.sleep(DAY)
    assert await worker_status(local) == "offline"


async def test_a_late_completion_is_taken_unless_somebody_started_since(
    autojump_clock: Any, local: LocalServer
) -> None:
    first, second = await running_job(local, "one"), await running_job(local, "two")
    await trio.sleep(TIMEOUT + 1)
    await local.ask(Register(ADMIN, "w2", "pdf"))
    again = (await local.ask(Claim(ADMIN, "w2", ("pdf",)))).jobs[0]
    assert (again.id, again.attempt) == (first.id, 2)
    refused = await local.ask(Complete(ADMIN, "w1", first.id, first.lease))
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.LEASE_LOST
    assert await local.ask(Complete(ADMIN, "w1", second.id, second.lease)) == Completed(second.id)
    assert (await job_of(local, second.id)).status == "completed"
    await trio.sleep(TIMEOUT * 3)  # and no deadline of that lease is left behind
    assert (await job_of(local, second.id)).status == "completed"


async def test_a_job_that_kills_its_workers_ends_dead(autojump_clock: Any, local: LocalServer) -> None:
    await local.ask(submission("deadly"))
    for number in range(3):
        await local.ask(Register(ADMIN, f"w{number}", "pdf"))
        (job,) = (await local.ask(Claim(ADMIN, f"w{number}", ("pdf",)))).jobs
        assert job.attempt == number + 1
        await trio.sleep(TIMEOUT + 1)
    dead = await job_of(local)
    assert dead.status == "dead"
    assert "3 workers were lost" in dead.last_error


async def test_a_restart_gives_every_lease_one_fresh_period(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data") as local:
        job = await running_job(local)
    await trio.sleep(10 * TIMEOUT)
    async with open_local(tmp_path / "data") as local:
        await trio.sleep(TIMEOUT - 1)
        assert (await job_of(local)).status == "running"
        assert await worker_status(local) == "online"
        await local.ask(Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),)))
        await trio.sleep(TIMEOUT - 1)
        assert (await job_of(local)).status == "running"
        await trio.sleep(2)
        assert (await job_of(local)).status == "pending"
        assert await worker_status(local) == "offline"


@pytest.mark.parametrize("jump", [3_600_000, -3_600_000])
async def test_a_wall_clock_that_jumps_expires_nothing(tmp_path: Path, autojump_clock: Any, jump: int) -> None:
    offset = [0]
    (tmp_path / "data").mkdir()
    settings = Settings(data_dir=str(tmp_path / "data"))
    async with running(settings, hop=in_place, now=lambda: virtual_now() + offset[0]) as parts:
        local = LocalServer(parts, tmp_path / "data")
        job = await running_job(local)
        await local.ask(submission("awaited", ready=False))
        for number in range(20):
            offset[0] = jump if number % 2 == 0 else 0
            await trio.sleep(TIMEOUT * 0.6)
            seen = await local.ask(Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),)))
            assert seen.abandon == ()
        assert (await job_of(local)).attempt == 1
        assert (await job_of(local, 2)).status == "uploading"
        assert await worker_status(local) == "online"
        offset[0] = jump
        await trio.sleep(TIMEOUT + 1)  # and what is silent still expires
        assert (await job_of(local)).status == "pending"


async def test_our_own_sleep_is_nobodys_silence(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with open_local(tmp_path / "data") as local:
        job = await running_job(local)
        mock_clock.jump(5 * TIMEOUT)  # SIGSTOP, a suspended laptop, a disk that hung
        await trio.testing.wait_all_tasks_blocked()
        assert (await job_of(local)).status == "running"
        assert await worker_status(local) == "online"
        mock_clock.jump(TIMEOUT - 1)
        await trio.testing.wait_all_tasks_blocked()
        seen = await local.ask(Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),)))
        assert seen.abandon == ()
        for _ in range(190):  # this time we are awake, and it is the worker that is silent
            mock_clock.jump(1)
            await trio.testing.wait_all_tasks_blocked()
        assert (await job_of(local)).status == "pending"


@pytest.mark.usefixtures("seldom")
async def test_a_source_that_never_comes_ends_its_job_with_the_reason(
    autojump_clock: Any, local: LocalServer
) -> None:
    await local.ask(submission("never", ready=False))
    await local.ask(submission("wrong", ready=False))
    await local.ask(SourceRejected(hash_of("wrong"), "what came has other bytes"))
    await trio.sleep(DAY - 1)
    assert (await job_of(local)).status == "uploading"
    await trio.sleep(2)
    never, wrong = await job_of(local, 1), await job_of(local, 2)
    assert (never.status, never.last_error) == ("dead", "the source was not uploaded within 86400 seconds")
    assert wrong.status == "dead"
    assert "what came has other bytes" in wrong.last_error
    revived = await local.ask(submission("never"))  # submitted again, with its source this time
    assert (revived.job_id, revived.status) == (1, "pending")


@pytest.mark.usefixtures("seldom")
async def test_the_wait_for_a_source_goes_on_over_a_restart(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data") as local:
        await local.ask(submission("awaited", ready=False))
        await trio.sleep(DAY / 2)
    async with open_local(tmp_path / "data") as local:
        await trio.sleep(DAY / 2 - 10)
        assert (await job_of(local)).status == "uploading"
        await trio.sleep(20)
        assert (await job_of(local)).status == "dead"


@pytest.mark.usefixtures("seldom")
async def test_old_records_are_purged_by_themselves(autojump_clock: Any, local: LocalServer) -> None:
    await local.ask(Register(ADMIN, "w1", "pdf"))
    await local.ask(submission("one"))
    claim = Claim(ADMIN, "w1", ("pdf",), claim_key="k")
    await local.ask(claim)

    await local.ask(Purge())
    assert counted(local, "claim_keys") == 1
    await trio.sleep(DAY + 2 * 3600)
    assert counted(local, "claim_keys") == 0


async def test_much_is_purged_in_many_transactions(
    autojump_clock: Any, local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day's million in one would keep every heartbeat waiting; all of it is gone soon all the same."""
    monkeypatch.setattr(periodic, "PURGED_AT_ONCE", 2)
    await local.ask(Register(ADMIN, "w1", "pdf"))
    for number in range(9):
        await local.ask(submission(number))
        await local.ask(Claim(ADMIN, "w1", ("pdf",), claim_key=str(number)))
    await trio.sleep(DAY + 10)
    assert [(await local.ask(Purge())).more for _ in range(2)] == [True, True]
    assert counted(local, "claim_keys") == 5
    await trio.sleep(3601)
    assert counted(local, "claim_keys") == 0


async def test_a_stop_shorter_than_the_lease_is_noticed_too(
    tmp_path: Path, mock_clock: trio.testing.MockClock
) -> None:
    """Stopped from just before the deadline until just after it: the heartbeats of that time are still unread."""
    async with open_local(tmp_path / "data") as local:
        job = await running_job(local)
        for _ in range(round(TIMEOUT) - 10):
            mock_clock.jump(1)
            await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(12)
        await trio.testing.wait_all_tasks_blocked()
        assert (await job_of(local)).status == "running"
        seen = await local.ask(Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),)))
        assert seen.abandon == ()


async def test_a_disk_that_takes_nothing_for_a_while_costs_nobody_a_lease(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """Every heartbeat of that time was answered 503; that was our doing."""
    failing = False

    async def hop(call: Callable[[], Any], /) -> Any:
        await trio.lowlevel.checkpoint()
        if failing and "Writer._transact" in repr(call):
            raise StoreUnavailable("the disk is full")
        return call()

    folder = tmp_path / "data"
    folder.mkdir()
    async with running(Settings(data_dir=str(folder)), hop=hop, now=virtual_now) as parts:
        local = LocalServer(parts, folder)
        job = await running_job(local)
        failing = True
        for _ in range(12):
            await trio.sleep(TIMEOUT / 6)
            refused = await local.ask(Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),)))
            assert isinstance(refused, Refusal)
        failing = False
        await trio.sleep(TIMEOUT / 6)  # time for anybody who would expire the lease before the next beat
        seen = await local.ask(Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),)))
        assert seen.abandon == ()
        assert (await job_of(local)).losses == 0


async def test_what_was_to_expire_before_a_slow_first_write_after_an_outage_does_not(
    tmp_path: Path, autojump_clock: Any
) -> None:
    """The reaper asked while that write was under way, and was served behind it, when writes were thought well: the
    lease of a worker that had spoken five seconds before was lost."""
    failing = slow = False

    async def hop(call: Callable[[], Any], /) -> Any:
        nonlocal slow
        await trio.lowlevel.checkpoint()
        if "Writer._transact" in repr(call):
            if failing:
                raise StoreUnavailable("the disk is full")
            if slow:
                slow = False
                await trio.sleep(10)
        return call()

    folder = tmp_path / "data"
    folder.mkdir()
    async with running(Settings(data_dir=str(folder)), hop=hop, now=virtual_now) as parts:
        local = LocalServer(parts, folder)
        job = await running_job(local)
        failing = True
        await trio.sleep(TIMEOUT - 5)
        assert isinstance(await local.ask(Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),))), Refusal)
        failing, slow = False, True
        await local.submit(b"the first that is written")
        await trio.sleep(1)
        assert (await job_of(local)).losses == 0
        seen = await local.ask(Heartbeat(ADMIN, "w1", (JobBeat(job.id, job.lease),)))
        assert seen.abandon == ()


async def test_one_odd_row_ends_neither_the_server_nor_the_other_leases(
    local: LocalServer, autojump_clock: Any
) -> None:
    """A bug in one expiry took the reaper with it, and the server with the reaper."""
    await local.submit(b"1")
    await local.submit(b"2")
    await local.register()
    first, second = [(await local.claim())["job"] for _ in range(2)]
    store = local.parts.writer._store
    real = store.save_job

    def save(before: Any, after: Any) -> None:
        if before.id == first["id"] and after.status == "pending":
            raise ValueError("odd")
        real(before, after)

    store.save_job = save  # type: ignore[method-assign]
    await trio.sleep(200)
    assert (await local.job(second["id"]))["status"] == "pending"
    assert (await local.job(first["id"]))["status"] == "running"
    store.save_job = real  # type: ignore[method-assign]
    job = (await local.ask(ExpireLeases((Silent(first["id"], 1, 0),)))).count
    assert job == 0  # a stale beat expires nothing


async def test_the_first_write_after_an_outage_expires_nobody(local: LocalServer, autojump_clock: Any) -> None:
    """A worker's heartbeat came, and could not be written. When the disk had room again, the first to write was the
    reaper: the lease of a worker that had spoken four seconds before was lost, and charged as a loss."""
    job_id = await local.submit()
    await local.register()
    grant = await local.claim()
    timeout = local.parts.services.settings.worker_timeout
    beat = {"jobs": [{"job_id": job_id, "lease": grant["lease"]}]}
    full = True

    store: Any = local.parts.writer._store
    real = store.transaction

    @contextmanager
    def transaction(*needs: Any, now: int) -> Iterator[None]:
        with real(*needs, now=now):
            yield
            if full:
                raise StoreUnavailable("the disk is full")

    store.transaction = transaction
    await trio.sleep(timeout - 5)
    assert (await local.call("POST", "/api/workers/w1/heartbeat", beat))[0] == 503
    full = False
    await trio.sleep(30)  # its time is over, and nobody else has written anything
    assert (await local.job(job_id))["status"] == "running"
    assert (await local.call("POST", "/api/workers/w1/heartbeat", beat))[1]["abandon"] == []
    await trio.sleep(3 * timeout)  # now it is silent
    assert (await local.job(job_id))["status"] == "pending"
