"""A paused type gives no job to anybody; a resume wakes those that wait, and nothing else does."""

from __future__ import annotations

from typing import Any

import trio

from actors.messages import Batch, ChangeType, Claim, Complete, Register
from blobforge.jobtype import TypeChanges
from tests.actors.test_scheduler import ids, polls, ready, settle
from tests.fixtures.local import LocalServer
from tests.store.making import ADMIN, submission


async def pause(local: LocalServer, type_: str = "pdf") -> None:
    await local.ask(ChangeType(type_, "token:1", TypeChanges(paused=True, reason="broken")))


async def resume(local: LocalServer, type_: str = "pdf") -> None:
    await local.ask(ChangeType(type_, "token:1", TypeChanges(paused=False)))


async def test_no_claim_of_any_kind_gets_a_job_of_a_paused_type(autojump_clock: Any, local: LocalServer) -> None:
    await ready(local)
    await local.ask(Batch(tuple(submission(number) for number in range(4))))
    (first,) = (await local.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs
    await pause(local)
    for claim in (Claim(ADMIN, "w2", ("pdf",)), Claim(ADMIN, "w2", ("pdf", "ocr"), 5), Claim(ADMIN, "w2", ("pdf",),
                  claim_key="k")):  # fmt: skip
        assert (await local.ask(claim)).jobs == ()
    done = await local.ask(Complete(ADMIN, "w1", first.id, lease=first.lease, claim_next=True))
    assert done.next is not None
    assert done.next.jobs == (), "what ran went on; nothing follows it"
    await local.ask(submission("accepted all the same"))
    await resume(local)
    assert len((await local.ask(Claim(ADMIN, "w2", ("pdf",), 10))).jobs) == 4


async def test_a_claim_over_several_types_takes_from_the_others(autojump_clock: Any, local: LocalServer) -> None:
    await ready(local, "w1")
    await local.ask(submission("urgent", priority=1))
    await local.ask(submission("other", type_="ocr", priority=5))
    await pause(local)
    async with polls(local) as claim:
        poll = claim("w1", "pdf", "ocr")
    assert ids(poll) == [2]


async def test_a_resume_wakes_as_many_as_there_are_jobs_and_submissions_wake_nobody(
    autojump_clock: Any, local: LocalServer
) -> None:
    await ready(local, *(f"w{number}" for number in range(8)))
    await pause(local)
    began = trio.current_time()
    async with polls(local) as claim:
        made = [claim(f"w{number}") for number in range(8)]
        await settle()
        before = local.parts.writer.committed_messages
        for number in range(5):
            await local.ask(submission(number))
        await settle()
        assert local.parts.writer.committed_messages == before + 5, "no claim was sent for a job that none may have"
        await resume(local)
        await settle()
        given = [poll for poll in made if poll.outcome is not None]
        assert sorted(job_id for poll in given for job_id in ids(poll)) == [1, 2, 3, 4, 5]
        assert all(poll.at is not None and poll.at - began < 1 for poll in given)
        assert local.parts.writer.committed_messages <= before + 5 + 1 + 6, (
            "one waiter a job, and one at most in vain"
        )
        await pause(local)
        await local.ask(submission("later"))
        await trio.sleep(5)
        await resume(local)
        await settle()
        assert len([poll for poll in made if poll.outcome is not None]) == 6, "a second pause ends, too"


async def test_a_poll_that_came_in_the_transaction_of_the_resume_is_not_forgotten(
    autojump_clock: Any, local: LocalServer
) -> None:
    """Its answer was made before the resume, and comes after it."""
    await ready(local, "w1")
    await local.ask(submission(1))
    await pause(local)
    async with trio.open_nursery() as nursery, polls(local) as claim:
        poll = claim("w1")
        nursery.start_soon(resume, local)
        await trio.sleep(5)
        assert ids(poll) == [1]


async def test_what_is_set_for_a_type_is_for_its_jobs_alone(autojump_clock: Any, local: LocalServer) -> None:
    await local.ask(Register(ADMIN, "w1", "pdf"))
    await local.ask(ChangeType("pdf", "token:1", TypeChanges(max_attempts=1, retry_backoff=7000)))
    await local.ask(submission(1))
    await local.ask(submission(2, type_="ocr"))
    await local.ask(submission(3, max_attempts=9))
    assert [(await local.job(number))["max_attempts"] for number in (1, 2, 3)] == [1, 3, 9]
    claimed = await local.claim("w1", limit=2)
    for each in claimed["jobs"]:
        number = each["job"]["id"]
        await local.call("POST", f"/api/jobs/{number}/fail", {"worker_id": "w1", "error": "x"})
    assert (await local.job(1))["status"] == "dead"
    again = await local.job(3)
    assert again["status"] == "failed"
    await trio.sleep(7 * 1.21)  # spread by a fifth
    assert (await local.job(3))["status"] == "pending"
