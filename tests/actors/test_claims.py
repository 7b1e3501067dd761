"""Claims whose asker goes away, and claims that are repeated: no job is held by nobody, and none is given twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from actors.mailbox import ask
from actors.messages import (
    Cancel,
    Claim,
    Complete,
    ExpireLeases,
    Fail,
    Granted,
    Ping,
    Register,
    Release,
    Retry,
    Silent,
)
from blobforge.config import Settings
from blobforge.job import JobStatus, ReleaseCause
from blobforge.machinery.hop import in_place
from blobforge.refusals import Refusal, RefusalCode
from blobforge.serve.server import running
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor
from blobforge.store.sqlite.reader import Reader
from tests.fixtures.local import LocalServer, open_local, virtual_now
from tests.store.making import ADMIN, Book, submission


async def status(local: LocalServer, job_id: int) -> tuple[str, int, int]:
    job = await local.parts.reads.run(lambda reader: reader.job(job_id))
    assert job is not None
    return job.status, job.attempts, job.attempt


async def register(local: LocalServer, *worker_ids: str) -> None:
    for worker_id in worker_ids:
        await local.ask(Register(ADMIN, worker_id, "pdf"))


@pytest.mark.parametrize("claim_key", [None, "k"])
async def test_a_client_that_left_before_the_grant_holds_nothing(
    autojump_clock: Any, local: LocalServer, claim_key: str | None
) -> None:
    await register(local, "w1", "w2")
    scheduler = local.parts.scheduler.mailbox
    with trio.move_on_after(5):
        await ask(scheduler, Claim(ADMIN, "w1", ("pdf",), wait=60.0, claim_key=claim_key))
    await local.ask(submission("one"))
    await trio.sleep(1)
    assert await status(local, 1) == ("pending", 0, 0)
    granted = await ask(scheduler, Claim(ADMIN, "w2", ("pdf",)))
    assert isinstance(granted, Granted)
    assert len(granted.jobs) == 1


@pytest.mark.parametrize("claim_key", [None, "k"])
async def test_a_client_that_left_during_the_commit(
    tmp_path: Path, autojump_clock: Any, claim_key: str | None
) -> None:
    """The jobs go back at no cost; with a claim key they stay, for it will come and ask again."""
    gate = Gate()
    async with local_with_hop(tmp_path / "data", gate) as parts:
        writer, scheduler = parts.writer.mailbox, parts.scheduler.mailbox
        await ask(writer, Register(ADMIN, "w1", "pdf"))
        for number in range(3):
            await ask(writer, submission(number))
        claim = Claim(ADMIN, "w1", ("pdf",), 2, claim_key=claim_key)
        gate.after = 10.0
        with trio.move_on_after(5) as left:
            await ask(scheduler, claim)
        assert left.cancelled_caught
        gate.after = 0.0
        await trio.sleep(20)
        jobs = [await parts.reads.run(lambda reader, n=n: reader.job(n)) for n in (1, 2, 3)]
        if claim_key is None:
            assert [(job.status, job.attempts, job.attempt) for job in jobs if job] == [
                ("pending", 0, 1),
                ("pending", 0, 1),
                ("pending", 0, 0),
            ]
            assert len((await ask(scheduler, Claim(ADMIN, "w1", ("pdf",), 5))).jobs) == 3
        else:
            again = await ask(scheduler, claim)
            assert [(job.id, job.attempt) for job in again.jobs] == [(1, 1), (2, 1)]


class Gate:
    """A hop in place that can be held up on its way in, so that messages gather behind it, and on its way back:
    then the commit is made, and nobody has heard of it yet."""

    before = 0.0
    after = 0.0

    async def __call__(self, call: Callable[[], Any], /) -> Any:
        if self.before:
            await trio.sleep(self.before)
        result = await in_place(call)
        if self.after:
            await trio.sleep(self.after)
        return result


def local_with_hop(folder: Path, hop: Any) -> Any:
    folder.mkdir()
    return running(Settings(data_dir=str(folder)), hop=hop, now=virtual_now)


async def test_a_claim_that_is_repeated_gets_the_same_job_and_lease(autojump_clock: Any, local: LocalServer) -> None:
    await register(local, "w1", "w2")
    for number in range(4):
        await local.ask(submission(number))
    scheduler = local.parts.scheduler.mailbox
    claim = Claim(ADMIN, "w1", ("pdf",), claim_key="k")
    first: Any = await ask(scheduler, claim)
    again: Any = await ask(scheduler, claim)
    assert [(job.id, job.lease, job.attempt) for job in first.jobs] == [
        (job.id, job.lease, job.attempt) for job in again.jobs
    ]
    theirs: Any = await ask(scheduler, Claim(ADMIN, "w2", ("pdf",), claim_key="k"))
    assert theirs.jobs[0].id != first.jobs[0].id  # a key is its worker's own
    await local.ask(Complete(ADMIN, "w1", first.jobs[0].id, first.jobs[0].lease))
    later: Any = await ask(scheduler, claim)
    assert later.jobs[0].id not in {first.jobs[0].id, theirs.jobs[0].id}  # it holds that job no more


async def test_a_repeated_claim_renews_the_lease(tmp_path: Path, autojump_clock: Any) -> None:
    async with open_local(tmp_path / "data", worker_timeout=100.0) as local:
        await register(local, "w1")
        await local.ask(submission("one"))
        claim = Claim(ADMIN, "w1", ("pdf",), claim_key="k")
        for _ in range(5):
            await ask(local.parts.scheduler.mailbox, claim)
            await trio.sleep(90)
        assert await status(local, 1) == ("running", 1, 1)


async def test_complete_and_claim_next_are_repeatable(autojump_clock: Any, local: LocalServer) -> None:
    await register(local, "w1")
    for number in range(3):
        await local.ask(submission(number))
    first = (await local.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs[0]
    complete = Complete(ADMIN, "w1", first.id, first.lease, claim_next=True)
    done = await local.ask(complete)
    again = await local.ask(complete)
    assert done.next is not None
    assert again.next is not None
    assert [(job.id, job.lease) for job in again.next.jobs] == [(2, done.next.jobs[0].lease)]
    assert await status(local, 3) == ("pending", 0, 0)


async def test_a_claim_and_a_submission_that_share_a_transaction(tmp_path: Path, autojump_clock: Any) -> None:
    """The claim comes first and finds nothing, the job comes right behind it: the empty answer is stale when it
    arrives, and must not put the claim to sleep."""
    gate = Gate()
    async with local_with_hop(tmp_path / "data", gate) as parts:
        writer, scheduler = parts.writer.mailbox, parts.scheduler.mailbox
        await ask(writer, Register(ADMIN, "w1", "pdf"))
        await trio.sleep(1)  # what is done at the start is done
        for number in range(3):
            gate.before = 1.0
            got: list[Any] = []
            async with trio.open_nursery() as nursery:

                async def poll(got: list[Any] = got) -> None:
                    got.append(await ask(scheduler, Claim(ADMIN, "w1", ("pdf",), wait=60.0)))

                nursery.start_soon(ask, writer, Ping())
                await trio.sleep(0.1)  # the writer is in its hop now
                nursery.start_soon(poll)
                await trio.sleep(0.1)
                nursery.start_soon(ask, writer, submission(number))
                await trio.sleep(0.1)
                assert len(writer) == 2  # they will share the next one
                gate.before = 0.0
                started = trio.current_time()
            assert len(got[0].jobs) == 1
            assert trio.current_time() - started < 2


def pending_jobs(reader: Reader) -> list[tuple[int, int, str]]:
    page = reader.list_jobs(JobFilter(JobStatus.PENDING), limit=1000, cursor=Cursor())
    return [(job.id, job.attempt, job.type) for job in page.jobs if job.not_before is None]


@pytest.mark.parametrize("seed", range(12))
async def test_nobody_sleeps_while_there_is_work(tmp_path: Path, autojump_clock: Any, seed: int) -> None:
    """A hammer of submissions, claims, give-backs, failures and people who leave, on a writer that takes its time.

    A claim that waits beside a pending job of its type, over many commits, has been forgotten. And no attempt was
    ever given twice.
    """
    dice = random.Random(seed)
    types = ("a", "b", "c")

    async def hesitant(call: Callable[[], Any], /) -> Any:
        if dice.random() < 0.5:
            await trio.sleep(dice.random() / 100)
        result = call()
        if dice.random() < 0.5:
            await trio.sleep(dice.random() / 100)
        return result

    async with local_with_hop(tmp_path / "data", hesitant) as parts:
        writer = parts.writer.mailbox
        for number in range(6):
            await ask(writer, Register(ADMIN, f"w{number}", "a"))
        given: Counter[tuple[int, int]] = Counter()
        ended: set[int] = set()

        async def worker(name: str) -> None:
            while True:
                wanted = tuple(dice.sample(types, dice.randint(1, 3)))
                key = str(dice.random()) if dice.random() < 0.3 else None
                wait = dice.choice([0.0, 0.05, 5.0, 60.0])
                outcome: Any = None
                with trio.move_on_after(dice.choice([0.01, 0.1, 90, 90, 90])):
                    claim = Claim(ADMIN, name, wanted, dice.randint(1, 3), wait, key)
                    outcome = await ask(parts.scheduler.mailbox, claim)
                for job in outcome.jobs if outcome is not None else ():
                    given[job.id, job.attempt] += 1
                    await trio.sleep(dice.random() / 10)
                    await end(name, job)
                if outcome is None or not outcome.jobs:
                    await trio.sleep(dice.random() / 10)

        async def end(name: str, job: Any) -> None:
            match dice.randrange(5):
                case 0:
                    await ask(writer, Release(ADMIN, name, job.id, job.lease, cause=dice.choice(list(ReleaseCause))))
                case 1:
                    await ask(writer, Fail(ADMIN, name, job.id, "boom", job.lease))
                    await ask(writer, Retry(job.id, reset_attempts=True))
                case 2:
                    await ask(writer, Cancel(job.id))
                    await ask(writer, Retry(job.id))
                case _:
                    await ask(writer, Complete(ADMIN, name, job.id, job.lease))
                    ended.add(job.id)

        def idle_beside_work(pending: list[tuple[int, int, str]]) -> set[tuple[int, int, int]]:
            """(job, attempt, waiter) where the waiter stands in the queue of a pending job's type."""
            queues = parts.scheduler._queues
            return {
                (job, attempt, id(waiter))
                for job, attempt, type_ in pending
                for waiter in queues.get(type_, {}).values()
                if not waiter.reply.abandoned
            }

        async def watch() -> None:
            before: set[tuple[int, int, int]] = set()
            while True:
                await trio.sleep(0.3)  # a dozen commits and more
                now = idle_beside_work(await parts.reads.run(pending_jobs))
                assert not before & now, "somebody sleeps while a job of its type is pending"
                before = now

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            for number in range(6):
                nursery.start_soon(worker, f"w{number}")
            for number in range(60):
                await ask(writer, submission(number, type_=dice.choice(types), priority=dice.randint(1, 5)))
                await trio.sleep(dice.random() / 10)
            # Those who left during a commit give back by a message of their own, and a lease ends with a claim key
            # that never came back: all of it within minutes, none of it ever.
            with trio.move_on_after(3600):
                while len(ended) < 60:
                    await trio.sleep(1)
            nursery.cancel_scope.cancel()
        assert len(ended) == 60
        assert set(given.values()) == {1}


async def test_a_repeated_completion_finds_the_next_job_it_was_given(local: LocalServer, autojump_clock: Any) -> None:
    """With nothing kept for it: the next lease is derived from this one."""
    for number in range(3):
        await local.submit(str(number).encode())
    await local.register()
    grant = await local.claim()
    body = {"worker_id": "w1", "lease": grant["lease"], "claim_next": True}
    path = f"/api/jobs/{grant['job']['id']}/complete"
    first = (await local.call("POST", path, body))[1]["next"]
    again = (await local.call("POST", path, body))[1]["next"]
    assert first["job"]["id"] == again["job"]["id"]
    assert first["lease"] == again["lease"] != grant["lease"]
    assert (await local.call("GET", "/api/stats"))[1]["running_jobs"] == 1


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
