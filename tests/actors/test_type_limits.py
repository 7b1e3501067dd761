"""How many jobs of a type run at once, and how many are started in how long: never more, and no waiter forgotten."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors.messages import (
    Batch,
    Cancel,
    ChangeType,
    Claim,
    Complete,
    Fail,
    Release,
    RemoveWorker,
)
from blobforge.job import ReleaseCause
from blobforge.jobtype import TypeChanges
from tests.actors.test_scheduler import ids, polls, ready, settle
from tests.fixtures.local import LocalServer
from tests.store.making import ADMIN, submission

MANY = 30


async def limit(local: LocalServer, **changes: Any) -> None:
    await local.ask(ChangeType("pdf", "token:1", TypeChanges(**changes)))


async def submit(local: LocalServer, n: int, **fields: Any) -> None:
    await local.ask(Batch(tuple(submission(("job", each, str(fields)), **fields) for each in range(n))))


async def test_no_claim_goes_beyond_what_may_run_at_once(autojump_clock: Any, local: LocalServer) -> None:
    await ready(local)
    await submit(local, MANY)
    await submit(local, 2, type_="ocr", priority=5)
    await limit(local, max_running=3)
    answer = await local.ask(Claim(ADMIN, "w1", ("pdf",), 10))
    assert ([job.id for job in answer.jobs], answer.rooms[0].room) == ([1, 2, 3], 0)
    assert (await local.ask(Claim(ADMIN, "w2", ("pdf",), 1))).jobs == ()
    mixed = await local.ask(Claim(ADMIN, "w2", ("pdf", "ocr"), 10))
    assert {job.type for job in mixed.jobs} == {"ocr"}, "it takes from the other"
    first, second, third = answer.jobs
    done = await local.ask(Complete(ADMIN, "w1", first.id, lease=first.lease, claim_next=True))
    assert [job.id for job in done.next.jobs] == [4], "its own place is free for the next"
    await limit(local, max_running=2)  # less than run now
    done = await local.ask(Complete(ADMIN, "w1", second.id, lease=second.lease, claim_next=True))
    assert done.next.jobs == ()
    await local.ask(Complete(ADMIN, "w1", third.id, lease=third.lease))
    assert [job.id for job in (await local.ask(Claim(ADMIN, "w2", ("pdf",), 9))).jobs] == [5]
    await limit(local, max_running=None)
    assert len((await local.ask(Claim(ADMIN, "w2", ("pdf",), 9))).jobs) == 9


@pytest.mark.parametrize("how", ["complete", "fail", "release", "cancel", "remove", "lose"])
async def test_whatever_ends_a_job_gives_its_place_to_one_that_waits(
    autojump_clock: Any, local: LocalServer, how: str
) -> None:
    await ready(local, *(f"w{number}" for number in range(6)))
    await submit(local, MANY)
    await limit(local, max_running=1)
    (job,) = (await local.ask(Claim(ADMIN, "w0", ("pdf",)))).jobs
    async with trio.open_nursery() as nursery, polls(local) as claim:
        made = [claim(f"w{number}", wait=600.0) for number in range(1, 6)]
        await trio.sleep(5)
        assert not any(poll.outcome for poll in made)
        before = local.parts.writer.committed_messages
        match how:
            case "complete":
                await local.ask(Complete(ADMIN, "w0", job.id, lease=job.lease))
            case "fail":
                await local.ask(Fail(ADMIN, "w0", job.id, lease=job.lease, error="x"))
            case "release":
                await local.ask(Release(ADMIN, "w0", job.id, job.lease, cause=ReleaseCause.SHUTDOWN))
            case "cancel":
                await local.ask(Cancel(job.id))
            case "remove":
                await local.ask(RemoveWorker("w0"))
            case _:
                await trio.sleep(local.parts.services.settings.worker_timeout * 1.5)
        await settle()
        assert len([poll for poll in made if poll.outcome]) == 1
        if how != "lose":
            assert local.parts.writer.committed_messages <= before + 3, "one was woken, and one in vain at most"
        nursery.cancel_scope.cancel()


async def test_a_limit_that_is_raised_or_lifted_wakes_as_many_as_it_leaves(
    autojump_clock: Any, local: LocalServer
) -> None:
    await ready(local, *(f"w{number}" for number in range(9)))
    await submit(local, MANY)
    await limit(local, max_running=0)
    async with trio.open_nursery() as nursery, polls(local) as claim:
        made = [claim(f"w{number}") for number in range(9)]
        for most, woken in ((0, 0), (2, 2), (5, 5), (None, 9)):
            await limit(local, max_running=most)
            await settle()
            assert len([poll for poll in made if poll.outcome]) == woken, most
        assert sorted(job for poll in made for job in ids(poll)) == list(range(1, 10))
        nursery.cancel_scope.cancel()


async def test_jobs_are_started_at_the_rate_and_those_that_wait_are_woken_by_time(
    autojump_clock: Any, local: LocalServer
) -> None:
    """Ten at once, and from then on one each six seconds."""
    await ready(local, *(f"w{number}" for number in range(16)))
    await submit(local, MANY)
    await limit(local, rate=(10, 60_000))
    began = trio.current_time()
    async with polls(local) as claim:
        made = [claim(f"w{number}") for number in range(16)]
    times = sorted(round(poll.at - began) for poll in made if poll.at is not None)
    assert times == [0] * 10 + [6, 12, 18, 24, 30, 36]
    await trio.sleep(61 - 36)
    answer = await local.ask(Claim(ADMIN, "w1", ("pdf",), 20))
    assert len(answer.jobs) == 4, "it fills while nobody asks, and what was given is out"
    assert local.parts.writer.committed_messages < 70, "nobody polls"


async def test_a_rate_and_a_number_hold_together(autojump_clock: Any, local: LocalServer) -> None:
    await ready(local)
    await submit(local, MANY)
    await limit(local, rate=(4, 40_000), max_running=3)
    first = (await local.ask(Claim(ADMIN, "w1", ("pdf",), 20))).jobs
    assert len(first) == 3
    for job in first:
        await local.ask(Complete(ADMIN, "w1", job.id, lease=job.lease))
    assert len((await local.ask(Claim(ADMIN, "w1", ("pdf",), 20))).jobs) == 1
    await trio.sleep(100)
    assert len((await local.ask(Claim(ADMIN, "w1", ("pdf",), 20))).jobs) == 2
