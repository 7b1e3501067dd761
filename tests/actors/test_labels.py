"""Labels: a worker is given no job that requires what it has not; whoever may have one is woken for it, and nobody
else is."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from msgspec.structs import replace

from actors.messages import Batch, ChangeType, Claim, Complete, Granted, Register, SetRequirements
from blobforge.events import JobReady, RequirementSetMade, RequirementSetsForgotten, WorkerLabelled
from blobforge.jobtype import TypeChanges
from blobforge.options import QueueLine
from tests.actors.test_scheduler import Asked, ids, polls, settle
from tests.fixtures.local import LocalServer
from tests.store.making import ADMIN, submission

GPU, LARGE = '["gpu"]', '["memory_gib>=32"]'


async def workers(local: LocalServer, **labels: str | None) -> None:
    for name, of in labels.items():
        await local.ask(Register(ADMIN, name, "pdf", labels=of))


async def test_no_claim_of_any_kind_gets_what_its_labels_do_not_hold(autojump_clock: Any, local: LocalServer) -> None:
    await workers(local, plain=None, gpu=GPU)
    await local.ask(submission(1))
    (first,) = (await local.ask(Claim(ADMIN, "plain", ("pdf",)))).jobs
    await local.ask(Batch(tuple(submission(number, requires=GPU) for number in range(2, 6))))
    for claim in (Claim(ADMIN, "plain", ("pdf",)), Claim(ADMIN, "plain", ("pdf", "ocr"), 5),
                  Claim(ADMIN, "plain", ("pdf",), claim_key="k")):  # fmt: skip
        assert (await local.ask(claim)).jobs == ()
    done = await local.ask(Complete(ADMIN, "plain", first.id, lease=first.lease, claim_next=True))
    assert done.next is not None
    assert done.next.jobs == ()
    (second,) = (await local.ask(Claim(ADMIN, "gpu", ("pdf",)))).jobs
    done = await local.ask(Complete(ADMIN, "gpu", second.id, lease=second.lease, claim_next=True))
    assert done.next is not None
    assert [job.id for job in done.next.jobs] == [3]
    assert [job.id for job in (await local.ask(Claim(ADMIN, "gpu", ("pdf",), 9))).jobs] == [4, 5]


async def test_lanes_are_one_queue_by_priority_and_age(autojump_clock: Any, local: LocalServer) -> None:
    await workers(local, all='{"gpu":true,"memory_gib":64}')
    wanted = [(3, None), (3, GPU), (1, LARGE), (3, None), (2, GPU), (3, LARGE)]
    await local.ask(Batch(tuple(
        submission(number, priority=priority, requires=requires) for number, (priority, requires) in enumerate(wanted)
    )))  # fmt: skip
    order = [3, 5, 1, 2, 4, 6]
    one = [job.id for job in (await local.ask(Claim(ADMIN, "all", ("pdf",)))).jobs]
    some = [job.id for job in (await local.ask(Claim(ADMIN, "all", ("pdf",), 3))).jobs]
    rest = [job.id for job in (await local.ask(Claim(ADMIN, "all", ("pdf",), 9))).jobs]
    assert one + some + rest == order


async def test_a_waiter_is_woken_for_what_it_may_have_and_for_nothing_else(
    autojump_clock: Any, local: LocalServer
) -> None:
    """Also where no job has required that before; the older waiter, which may not have it, sleeps on."""
    await workers(local, plain=None, large='["memory_gib=64"]', gpu=GPU)
    async with polls(local) as claim:
        plain = claim("plain")
        await settle()  # what starts together may arrive in any order
        large, gpu = claim("large"), claim("gpu")
        await settle()
        before = local.parts.writer.committed_messages
        await local.ask(submission("new", requires=GPU))
        await settle()
        assert (ids(gpu), plain.outcome, large.outcome) == ([1], None, None)
        assert local.parts.writer.committed_messages == before + 2, "the submission, and the one claim"
        gpu = claim("gpu")
        await settle()
        before = local.parts.writer.committed_messages
        for number in range(3):
            await local.ask(submission(number, requires=GPU))
            await settle()
        assert ids(gpu) == [2]
        assert local.parts.writer.committed_messages == before + 4
        await local.ask(submission("for all"))
        await settle()
        assert (ids(plain), large.outcome) == ([5], None), "the one that has waited longest"
        await local.ask(submission("large", requires=LARGE))
        await settle()
        assert ids(large) == [6]


async def test_a_poll_that_is_on_its_way_while_a_set_is_made_is_not_forgotten(
    autojump_clock: Any, local: LocalServer
) -> None:
    """Its answer was made before the submission, and comes after what is told of that."""
    await workers(local, gpu=GPU, plain=None)
    async with trio.open_nursery() as nursery, polls(local) as claim:
        poll = claim("gpu")
        nursery.start_soon(local.ask, submission(1, requires=GPU))
        await trio.sleep(5)
        assert ids(poll) == [1]


LINE = QueueLine("pdf", 2)
MADE = (RequirementSetMade("pdf", 1, GPU), JobReady("pdf", 7, 3, LINE.lane))
UNSEEN = Granted(labels=GPU)  # decided before there was the set
SEEN = Granted(labels=GPU, group=(LINE,))


@pytest.mark.parametrize(("facts", "answer", "again"), [
    (MADE, UNSEEN, True),
    (MADE[1:], SEEN, True),  # it was not known that the claim was for this line, so any job may have been for it
    ((), SEEN, False),
    (MADE, replace(SEEN, labels=None, group=()), True),  # once, and no more
    ((WorkerLabelled("w1"),), UNSEEN, True),
    ((WorkerLabelled("another"),), UNSEEN, True),
])  # fmt: skip
async def test_what_is_told_while_a_claim_is_with_the_writer_is_not_missed(
    autojump_clock: Any, nursery: trio.Nursery, facts: tuple[Any, ...], answer: Granted, again: bool
) -> None:
    asked = Asked()
    nursery.start_soon(asked.scheduler.run)
    await asked.claim("w1", 50)
    sent = await asked.next()
    assert sent is not None
    asked.scheduler.post(facts)
    sent.reply.settle(answer)
    then = await asked.next()
    assert (then is not None) == again
    if then is not None:
        then.reply.settle(replace(answer, group=SEEN.group if answer.labels else ()))
        assert await asked.next() is None, "it waits, and is woken in vain no more"
        asked.scheduler.post([JobReady("pdf", 8, 3, LINE.lane)])
        assert (await asked.next() is not None) == (answer.labels is not None)
    nursery.cancel_scope.cancel()


async def test_a_worker_that_registers_with_other_labels_waits_for_other_jobs(
    autojump_clock: Any, local: LocalServer
) -> None:
    await workers(local, w1=None, w2=GPU)
    await local.ask(submission(1, requires=GPU))
    await local.ask(submission(2, requires=LARGE))
    assert [job.id for job in (await local.ask(Claim(ADMIN, "w2", ("pdf",)))).jobs] == [1]
    async with polls(local) as claim:
        poll, other = claim("w1"), claim("w2")
        await settle()
        assert (poll.outcome, other.outcome) == (None, None)
        await workers(local, w1='{"memory_gib":32}')
        await settle()
        assert ids(poll) == [2], "the claim that waited, too"
        await workers(local, w2=None)
        await settle()
        await local.ask(submission(3, requires=GPU))
        await trio.sleep(5)
        assert other.outcome is None, "it has no label any more"
        await workers(local, w1=GPU)
        assert len((await local.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs) == 1


async def test_what_a_waiting_job_requires_can_be_changed(autojump_clock: Any, local: LocalServer) -> None:
    await workers(local, plain=None, gpu=GPU)
    await local.ask(submission(1, requires=LARGE))
    async with polls(local) as claim:
        plain, gpu = claim("plain"), claim("gpu")
        await settle()
        await local.ask(SetRequirements(1, GPU))
        await settle()
        assert (plain.outcome, ids(gpu)) == (None, [1])
        await local.ask(submission(2, requires=LARGE))
        await settle()
        assert plain.outcome is None
        await local.ask(SetRequirements(2, None))
        await settle()
        assert ids(plain) == [2]


async def test_limits_of_types_hold_over_all_lanes(autojump_clock: Any, local: LocalServer) -> None:
    await workers(local, gpu=GPU, w2=GPU)
    await local.ask(ChangeType("pdf", "token:1", TypeChanges(max_running=1)))
    await local.ask(Batch((submission(1, requires=GPU), submission(2), submission(3, requires=GPU))))
    (first,) = (await local.ask(Claim(ADMIN, "gpu", ("pdf",), 5))).jobs
    async with polls(local) as claim:
        poll = claim("w2")
        await trio.sleep(5)
        assert poll.outcome is None
        await local.ask(Complete(ADMIN, "gpu", first.id, lease=first.lease))
        await settle()
        assert ids(poll) == [2]
        await local.ask(ChangeType("pdf", "token:1", TypeChanges(paused=True)))
        poll = claim("w2")
        await trio.sleep(5)
        assert poll.outcome is None
        await local.ask(ChangeType("pdf", "token:1", TypeChanges(paused=False, max_running=None)))
        await settle()
        assert ids(poll) == [3], "a resume wakes those in the lanes, too"


async def test_when_sets_are_forgotten_all_ask_again(autojump_clock: Any, local: LocalServer) -> None:
    """Another set may have the number of one: nobody waits in its lane who may not have it."""
    await workers(local, gpu=GPU, plain=None)
    await local.ask(submission(1, requires=GPU))
    await local.ask(Claim(ADMIN, "gpu", ("pdf",)))
    async with polls(local) as claim:
        poll, plain = claim("gpu"), claim("plain")
        await settle()
        before = local.parts.writer.committed_messages
        local.parts.scheduler.post([RequirementSetsForgotten()])
        await settle()
        assert local.parts.writer.committed_messages == before + 2
        await local.ask(submission(2, requires=GPU))
        await settle()
        assert (ids(poll), plain.outcome) == ([2], None)
