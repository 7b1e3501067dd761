"""Long polls: who is woken by what, in which order, and when they are told that there is nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.mailbox import Envelope, Mailbox, Reply, ask
from actors.messages import (
    Batch,
    Cancel,
    Claim,
    Complete,
    Drain,
    EnableWorker,
    Fail,
    Granted,
    Heartbeat,
    Register,
    Release,
    Retry,
    SourceArrived,
    Unregister,
)
from actors.scheduler import CLOSING, HOLD_BACK, Scheduler
from blobforge.events import JobReady, JobTaken
from blobforge.job import ReleaseCause
from blobforge.refusals import Refusal, RefusalCode
from tests.fixtures.local import EPOCH_MS, LocalServer, open_local
from tests.store.making import ADMIN, hash_of, submission

LONG = 60.0


class Poll:
    """One claim under way in a nursery of the test."""

    def __init__(self) -> None:
        self.outcome: Any = None
        self.at: float | None = None
        self.scope = trio.CancelScope()


@asynccontextmanager
async def polls(local: LocalServer) -> AsyncIterator[Callable[..., Poll]]:
    async with trio.open_nursery() as nursery:

        def start(worker_id: str = "w1", *types: str, wait: float = LONG, **fields: Any) -> Poll:
            poll = Poll()
            claim = Claim(ADMIN, worker_id, types or ("pdf",), wait=wait, **fields)

            async def run() -> None:
                with poll.scope:
                    poll.outcome = await ask(local.parts.scheduler.mailbox, claim)
                    poll.at = trio.current_time()

            nursery.start_soon(run)
            return poll

        yield start


async def ready(local: LocalServer, *worker_ids: str) -> None:
    for worker_id in worker_ids or ("w1", "w2", "w3"):
        await local.ask(Register(ADMIN, worker_id, "pdf"))


def ids(poll: Poll) -> list[int]:
    assert isinstance(poll.outcome, Granted), poll.outcome
    return [job.id for job in poll.outcome.jobs]


async def settle() -> None:
    """Let everything that is under way come to rest, a moment later."""
    await trio.sleep(0.001)


async def held(local: LocalServer, *names: object, worker_id: str = "w1") -> list[Any]:
    """Jobs that are running already."""
    for name in names:
        await local.ask(submission(name))
    granted = await local.ask(Claim(ADMIN, worker_id, ("pdf",), len(names)))
    assert len(granted.jobs) == len(names)
    return list(granted.jobs)


async def test_nothing_to_wait_for_answers_at_once(autojump_clock: Any, local: LocalServer) -> None:
    await ready(local)
    async with polls(local) as claim:
        started = trio.current_time()
        poll = claim(wait=0.0)
    assert (ids(poll), poll.at) == ([], started)
    async with polls(local) as claim:
        started = trio.current_time()
        poll = claim(wait=0.0)  # the type is known to be dry by now
    assert (ids(poll), poll.at) == ([], started)


async def test_who_may_not_ask_is_told_so_even_when_there_is_no_work(autojump_clock: Any, local: LocalServer) -> None:
    """Known to be dry or not: an unknown worker, or another's, gets the same answer."""
    await ready(local)
    async with polls(local) as claim:
        claim(wait=0.0)
    for _ in range(2):
        refusal = await ask(local.parts.scheduler.mailbox, Claim(ADMIN, "stranger", ("pdf",), wait=30.0))
        assert isinstance(refusal, Refusal)
        assert refusal.code is RefusalCode.NO_SUCH_WORKER


async def test_a_wait_ends_at_its_deadline_and_not_before(autojump_clock: Any, local: LocalServer) -> None:
    await ready(local)
    started = trio.current_time()
    async with polls(local) as claim:
        made = [claim(wait=seconds) for seconds in (30.0, 0.5, 10.0, 60.0)]
    assert [poll.at - started for poll in made if poll.at] == pytest.approx([30.0, 0.5, 10.0, 60.0], abs=0.01)
    assert all(poll.at - started >= wait for poll, wait in zip(made, (30.0, 0.5, 10.0, 60.0), strict=True) if poll.at)
    assert not any(ids(poll) for poll in made)


async def submitted(local: LocalServer, job: Any) -> None:
    await local.ask(submission("new"))


async def uploaded(local: LocalServer, job: Any) -> None:
    await local.ask(submission("later", ready=False))
    await trio.sleep(1)
    await local.ask(SourceArrived(hash_of("later"), 1, verified=True))


async def released(local: LocalServer, job: Any) -> None:
    await local.ask(Release(ADMIN, "w1", job.id, job.lease, cause=ReleaseCause.SHUTDOWN))


async def given_back_for_trouble(local: LocalServer, job: Any) -> None:
    await local.ask(Release(ADMIN, "w1", job.id, job.lease, "no space"))


async def unregistered(local: LocalServer, job: Any) -> None:
    await local.ask(Unregister(ADMIN, "w1"))


async def cancelled_and_retried(local: LocalServer, job: Any) -> None:
    await local.ask(Cancel(job.id))
    await local.ask(Retry(job.id))


async def failed(local: LocalServer, job: Any) -> None:
    await local.ask(Fail(ADMIN, "w1", job.id, "boom", job.lease))


async def nothing(local: LocalServer, job: Any) -> None:
    """The lease expires by itself."""


@pytest.mark.parametrize(
    ("cause", "earliest", "latest"),
    [
        (submitted, 0, 0.01), (uploaded, 1, 1.01), (released, 0, 0.01), (unregistered, 0, 0.01),
        (cancelled_and_retried, 0, 0.01), (failed, 24, 36.01), (nothing, 35, 40),
        (given_back_for_trouble, 24, 36.01),
    ],
)  # fmt: skip
async def test_what_makes_a_job_ready_wakes_who_waits(
    tmp_path: Path, autojump_clock: Any, cause: Any, earliest: float, latest: float
) -> None:
    async with open_local(tmp_path / "data", worker_timeout=40.0) as local:
        await ready(local)
        (job,) = await held(local, "first")
        await trio.sleep(1)
        async with polls(local) as claim:
            poll = claim("w2")
            await settle()
            started = trio.current_time()
            await cause(local, job)
        assert len(ids(poll)) == 1
        assert poll.at is not None
        assert earliest <= poll.at - started <= latest


async def test_the_one_who_waits_longest_is_first(autojump_clock: Any, local: LocalServer) -> None:
    workers = [f"w{number}" for number in range(10)]
    await ready(local, *workers)
    async with polls(local) as claim:
        waiting = []
        for worker in workers:
            waiting.append(claim(worker))
            await trio.sleep(0.1)
        for number in range(5):
            await local.ask(submission(number))
            await settle()
        assert [ids(poll) for poll in waiting[:5]] == [[1], [2], [3], [4], [5]]
        assert not any(poll.outcome for poll in waiting[5:])
        for number in range(5, 10):  # all at once
            await local.ask(submission(number))
        await settle()
        assert [ids(poll) for poll in waiting[5:]] == [[6], [7], [8], [9], [10]]


async def test_one_ready_job_wakes_one_who_waits(autojump_clock: Any, local: LocalServer) -> None:
    """A thousand idle workers must not cost a thousand claims for each job that comes."""
    await ready(local)
    async with polls(local) as claim:
        waiting = [claim(f"w{1 + number % 3}") for number in range(1000)]
        await settle()
        before = local.parts.writer.committed_messages
        await local.ask(submission("one"))
        await settle()
        sent = local.parts.writer.committed_messages - before - 1
        assert sum(poll.outcome is not None for poll in waiting) == 1
        assert sent == 1
        for poll in waiting:
            poll.scope.cancel()


@pytest.mark.parametrize("types", [("pdf",), ("pdf", "ocr", "thumb")])
async def test_what_a_job_costs_the_writer_among_many_who_wait(
    autojump_clock: Any, local: LocalServer, types: tuple[str, ...]
) -> None:
    """Four messages: it is submitted, claimed and completed, and who did that asks again."""
    workers = [f"w{number}" for number in range(40)]
    await ready(local, *workers)

    async def work(worker: str) -> None:
        while True:
            granted = await ask(local.parts.scheduler.mailbox, Claim(ADMIN, worker, types, wait=LONG))
            assert isinstance(granted, Granted)
            for job in granted.jobs:
                await local.ask(Complete(ADMIN, worker, job.id, job.lease))

    async with trio.open_nursery() as nursery:
        for worker in workers:
            nursery.start_soon(work, worker)
        await settle()
        before = local.parts.writer.committed_messages
        for number in range(10):  # one by one
            await local.ask(submission(number, type_=types[number % len(types)]))
            await settle()
        for number in range(10, 30, 10):  # ten at once
            await local.ask(
                Batch(tuple(submission(each, type_=types[each % len(types)]) for each in range(number, number + 10)))
            )
            await settle()
        needed = 10 * 4 + 2 * (1 + 10 * 3)
        # Who is woken for one type may be given a job of another that is older; then one more is woken, for nothing.
        spare = 2 * len(types) if len(types) > 1 else 0
        assert needed <= local.parts.writer.committed_messages - before <= needed + spare
        assert local.parts.scheduler.answered["granted"] == 30
        nursery.cancel_scope.cancel()


async def test_a_batch_claim_takes_many_and_wakes_nobody_else(autojump_clock: Any, local: LocalServer) -> None:
    await ready(local)
    async with polls(local) as claim:
        first = claim("w1", limit=5)
        await settle()
        second = claim("w2", limit=5)
        await settle()
        before = local.parts.writer.committed_messages
        await local.ask(Batch(tuple(submission(number) for number in range(4))))
        await settle()
        assert ids(first) == [1, 2, 3, 4]
        assert local.parts.writer.committed_messages - before == 2
        await local.ask(Batch(tuple(submission(number) for number in range(4, 10))))
        await settle()
        assert ids(second) == [5, 6, 7, 8, 9]
        assert (await local.ask(Claim(ADMIN, "w3", ("pdf",)))).jobs[0].id == 10


async def test_waiters_whose_clients_have_gone_are_not_kept(
    autojump_clock: Any, local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.scheduler.LEAST_SWEPT", 20)
    monkeypatch.setattr(local.parts.scheduler, "_swept", 20)
    await ready(local)
    async with polls(local) as claim:
        stays = claim("w1")
        for _ in range(200):
            gone = claim("w2")
            await settle()
            gone.scope.cancel()
            await settle()
        assert len(local.parts.scheduler._waiting) <= 20
        assert local.parts.scheduler.waiting == 1
        await local.ask(submission("one"))
        await settle()
        assert ids(stays) == [1]


async def test_a_job_that_somebody_else_took_leaves_the_order_as_it_was(
    autojump_clock: Any, local: LocalServer
) -> None:
    await ready(local)
    async with polls(local) as claim:
        first = claim("w1")
        await settle()
        second = claim("w2")
        await settle()
        await local.ask(submission("one"))
        await local.ask(submission("two"))
        await settle()
        assert (ids(first), ids(second)) == ([1], [2])
    async with polls(local) as claim:
        first = claim("w1")
        await settle()
        second = claim("w2")
        await settle()
        # Readied and taken away again, before the one who was woken could have it.
        for name in ("three", "four"):
            await local.ask(Batch((submission(name), Cancel(3 if name == "three" else 4))))
            await settle()
        assert first.outcome is None
        assert local.parts.scheduler.waiting == 2  # each is counted once, however often it was woken in vain
        await local.ask(submission("five"))
        await settle()
        assert ids(first) == [5]
        second.scope.cancel()


async def test_several_types_and_a_limit(autojump_clock: Any, local: LocalServer) -> None:
    await ready(local)
    async with polls(local) as claim:
        both, other = claim("w1", "ocr", "pdf"), claim("w2", "thumb")
        await settle()
        await local.ask(submission(1, type_="ocr"))
        await settle()
        assert ids(both) == [1]
        assert other.outcome is None
        other.scope.cancel()
    for number in range(7):
        await local.ask(submission(number, type_=("a", "b")[number % 2], priority=1 + number % 3))
    async with polls(local) as claim:
        batch = claim("w1", "a", "b", limit=5)
        await settle()
        rest = claim("w2", "a", "b", limit=5)
    assert [len(ids(batch)), len(ids(rest))] == [5, 2]
    order = [(job.priority, job.id) for poll in (batch, rest) for job in poll.outcome.jobs]
    assert order == sorted(order)


@pytest.mark.parametrize("silent", [False, True])
async def test_a_draining_worker_waits_its_time_out_and_gets_nothing(
    autojump_clock: Any, local: LocalServer, silent: bool
) -> None:
    await ready(local)
    await local.ask(Drain("w1"))
    if silent:
        await trio.sleep(1000)  # offline by now; coming back by claiming does not end the drain
        assert (await local.call("GET", "/api/workers"))[1][0]["status"] == "offline"
    await local.ask(submission("one"))
    started, before = trio.current_time(), local.parts.writer.committed_messages
    async with polls(local) as claim:
        poll = claim("w1", wait=20.0)
    assert ids(poll) == []
    assert poll.at is not None
    assert poll.at - started == pytest.approx(20, abs=0.01)
    assert local.parts.writer.committed_messages - before <= 3  # it did not turn in circles
    await local.ask(Heartbeat(ADMIN, "w1"))
    await local.ask(EnableWorker("w1"))
    async with polls(local) as claim:
        poll = claim("w1")
    assert ids(poll) == [1]


async def test_a_worker_that_drains_no_more_gets_jobs_by_the_claim_that_waits(
    autojump_clock: Any, local: LocalServer
) -> None:
    await ready(local)
    await local.ask(Drain("w1"))
    await local.ask(submission("one"))
    async with polls(local) as claim:
        poll = claim("w1", wait=LONG)
        await trio.sleep(5)
        enabled = trio.current_time()
        await local.ask(EnableWorker("w1"))
        await settle()
        assert ids(poll) == [1]
        assert poll.at is not None
        assert poll.at - enabled < 1


async def test_closing_answers_all_and_refuses_the_next(autojump_clock: Any, local: LocalServer) -> None:
    await ready(local)
    async with polls(local) as claim:
        waiting = [claim(f"w{1 + number % 3}", wait=LONG) for number in range(50)]
        await settle()
        started = trio.current_time()
        local.parts.scheduler.close()
        await settle()
        assert all(ids(poll) == [] for poll in waiting)
        late = claim()
    assert late.outcome == CLOSING
    assert trio.current_time() - started < 1


async def test_back_offs_survive_a_restart(tmp_path: Path, autojump_clock: Any) -> None:
    folder = tmp_path / "data"
    async with open_local(folder, retry_jitter=0.0, retry_backoff=100.0) as local:
        await ready(local)
        (job,) = await held(local, "first")
        await local.ask(Fail(ADMIN, "w1", job.id, "boom", job.lease))
        failed_at = trio.current_time()
    await trio.sleep(60)
    async with open_local(folder) as local, polls(local) as claim:
        early, poll = claim("w1", wait=30.0), claim("w2", wait=LONG)
    assert ids(early) == []
    assert ids(poll) == [job.id]
    assert poll.at == pytest.approx(failed_at + 100, abs=0.1)


async def test_a_long_back_off_of_a_type_survives_a_restart(tmp_path: Path, autojump_clock: Any) -> None:
    """Longer than those of all other types may be."""
    folder = tmp_path / "data"
    async with open_local(folder, retry_jitter=0.0, retry_backoff_max=600.0) as local:
        await ready(local)
        await local.call("PATCH", "/api/types/pdf", {"retry_backoff": 3000})
        (job,) = await held(local, "first")
        await local.ask(Fail(ADMIN, "w1", job.id, "boom", job.lease))
        failed_at = trio.current_time()
    async with open_local(folder, retry_backoff_max=600.0) as local, polls(local) as claim:
        await trio.sleep(1000)
        early = claim("w2", wait=0.0)
        await trio.sleep(failed_at + 3000 - trio.current_time())
        late = claim("w2", wait=30.0)
    assert (ids(early), ids(late)) == ([], [job.id])


async def test_a_wait_is_no_longer_over_a_restart_with_a_clock_that_was_set_back(
    tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    async with open_local(folder, retry_jitter=0.0, retry_backoff=100.0) as local:
        await ready(local)
        (job,) = await held(local, "first")
        await local.ask(Fail(ADMIN, "w1", job.id, "boom", job.lease))
    monkeypatch.setattr("tests.fixtures.local.EPOCH_MS", EPOCH_MS - 3_600_000)
    started = trio.current_time()
    async with open_local(folder) as local, polls(local) as claim:
        poll = claim("w2", wait=2 * LONG)
    assert ids(poll) == [job.id]
    assert poll.at == pytest.approx(started + 100, abs=0.1)


async def test_who_repeats_a_claim_takes_the_place_of_the_first(local: LocalServer, autojump_clock: Any) -> None:
    await ready(local)
    async with polls(local) as poll:
        first = poll("w1", claim_key="k")
        await trio.sleep(5)
        other = poll("w1", claim_key="another")
        second = poll("w1", claim_key="k")  # the first connection is lost, and nobody has told us
        await trio.sleep(5)
        assert (ids(first), first.at) == ([], 5.0)
        assert second.outcome is None
        other.scope.cancel()
        await local.ask(submission("a"))
        await trio.sleep(5)
        assert ids(second) == [1]


async def test_claims_with_one_key_at_once_leave_one_that_waits(local: LocalServer, autojump_clock: Any) -> None:
    await ready(local)
    async with polls(local) as poll:
        several = [poll("w1", claim_key="k") for _ in range(5)]
        await trio.sleep(5)
        assert sum(each.outcome is None for each in several) == 1
        await local.ask(submission("a"))
        await trio.sleep(5)
        assert sorted(ids(each) for each in several) == [[], [], [], [], [1]]
        again = poll("w1", claim_key="k")
        await trio.sleep(1)
        assert ids(again) == [1]


class Asked:
    """A scheduler, and what it has sent to a writer that answers when it is told to."""

    def __init__(self) -> None:
        self.writer: Mailbox[Envelope[Any]] = Mailbox(100)
        self.scheduler = Scheduler(self.writer, holds=True)

    async def claim(self, worker_id: str, wait: float) -> Reply[Granted]:
        reply: Reply[Granted] = Reply()
        await self.scheduler.mailbox.put(Envelope(Claim(ADMIN, worker_id, ("pdf",), wait=wait), reply))
        return reply

    async def next(self, within: float = 20.0) -> Envelope[Any] | None:
        with trio.move_on_after(within):
            return await self.writer.take()
        return None


async def test_all_that_wait_ask_again_when_something_may_not_have_been_told(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    asked = Asked()
    nursery.start_soon(asked.scheduler.run)
    await asked.claim("w1", 50)
    sent = await asked.next()
    assert sent is not None
    sent.reply.settle(Granted())
    assert await asked.next() is None, "it waits"
    asked.scheduler.look_anew()
    again = await asked.next()
    assert again is not None
    assert again.message.worker_id == "w1"
    nursery.cancel_scope.cancel()


async def test_so_does_a_claim_that_was_with_the_writer_meanwhile(autojump_clock: Any, nursery: trio.Nursery) -> None:
    asked = Asked()
    nursery.start_soon(asked.scheduler.run)
    await asked.claim("w1", 50)
    sent = await asked.next()
    assert sent is not None
    asked.scheduler.look_anew()  # a job is ready by now, of which nothing is told
    sent.reply.settle(Granted())
    again = await asked.next()
    assert again is not None
    again.reply.settle(Granted())
    assert await asked.next() is None, "it waits"
    nursery.cancel_scope.cancel()


async def test_while_claims_wait_for_the_database_one_of_them_asks(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    """Also where the one that asked has ended meanwhile."""
    asked = Asked()
    nursery.start_soon(asked.scheduler.run)
    away = Refusal(RefusalCode.UNAVAILABLE, "away")
    for worker_id, wait in (("short", 3), ("long", 50)):
        await asked.claim(worker_id, wait)
        sent = await asked.next()
        assert sent is not None
        sent.reply.settle(away)
    probe = await asked.next()
    assert probe is not None
    await trio.sleep(5)  # the writer takes its time, and the claim's is over
    probe.reply.settle(away)
    again = await asked.next()
    assert again is not None, "the other one is not forgotten"
    assert again.message.worker_id == "long"
    nursery.cancel_scope.cancel()


async def test_waiters_that_were_woken_in_vain_leave_the_next_job_to_other_servers(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    """Each that asks in vain takes a turn of the whole database. A job that no other takes wakes a waiter a little
    later."""
    asked = Asked()
    scheduler = asked.scheduler
    nursery.start_soon(scheduler.run)

    def ready() -> None:
        scheduler.post_of_others([JobReady("pdf", 1, 0)])

    def taken() -> None:
        scheduler.post_of_others([JobTaken("pdf", "elsewhere")])

    async def woken(within: float) -> bool:
        """Whether the waiter asks; in vain."""
        sent = await asked.next(within)
        if sent is not None:
            sent.reply.settle(Granted())
        return sent is not None

    await asked.claim("w1", 50)
    assert await woken(1), "each asks when it comes"
    ready()
    assert await woken(0.001), "nothing is known of others"
    taken()
    for _ in range(3):
        ready()
        assert not await woken(HOLD_BACK / 2)
        taken()
        assert not await woken(HOLD_BACK * 2), "another was first, as before"
    ready()
    assert not await woken(HOLD_BACK / 2)
    assert await woken(HOLD_BACK), "none has taken it"
    nursery.cancel_scope.cancel()


async def test_waiters_that_are_alone_do_not_hold_back(autojump_clock: Any, nursery: trio.Nursery) -> None:
    """One was too late once; from the first job on that no other server takes, all are woken at once."""
    asked = Asked()
    scheduler = asked.scheduler
    nursery.start_soon(scheduler.run)

    async def asks(within: float, outcome: Granted | Refusal) -> bool:
        sent = await asked.next(within)
        if sent is not None:
            sent.reply.settle(outcome)
        return sent is not None

    for worker_id in ("w1", "w2", "w3"):
        await asked.claim(worker_id, 50)
        assert await asks(1, Granted())
    scheduler.post_of_others([JobReady("pdf", 1, 0)])
    assert await asks(0.001, Granted())
    for at_once in (False, True, True):
        scheduler.post_of_others([JobReady("pdf", 2, 0)])
        assert await asks(HOLD_BACK / 2, CLOSING) is at_once  # whatever it is given: not nothing
        if not at_once:
            assert await asks(HOLD_BACK, CLOSING)
        scheduler.post([JobTaken("pdf")])
    nursery.cancel_scope.cancel()
