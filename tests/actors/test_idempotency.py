"""A request that is repeated with its key: the effect happens once, and the answer is the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio

from actors.mailbox import ask
from actors.messages import (
    Batch,
    Cancel,
    Claim,
    Granted,
    JobChanged,
    Purge,
    Register,
    Repeatable,
    Submitted,
)
from blobforge.refusals import Refusal, RefusalCode
from tests.actors.alone import writer_alone
from tests.fixtures.local import LocalServer
from tests.store.making import ADMIN, submission

KEY = Repeatable("token:1", "k1", b"a fingerprint")
DAY = 86_400


async def test_the_same_answer_and_one_effect(tmp_path: Path, autojump_clock: Any) -> None:
    async with writer_alone(tmp_path) as alone:
        first = await alone.ask(Batch((submission(1), submission(2))), KEY)
        events = len(alone.events)
        assert await alone.ask(Batch((submission(1), submission(2))), KEY) == first
        assert not first.items[0].existing  # said again, although the job exists by now: it is the same answer
        assert len(alone.events) == events
        assert alone.book.probe.count("jobs") == 2


async def test_twice_in_one_transaction(tmp_path: Path, autojump_clock: Any) -> None:
    """A client that repeats at once: both requests gather in the same batch."""
    async with writer_alone(tmp_path) as alone:
        answers: list[Any] = []

        async def one() -> None:
            answers.append(await alone.ask(submission(1), KEY))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)
            nursery.start_soon(one)
        assert alone.writer.commits == 1
        assert answers[0] == answers[1]
        assert isinstance(answers[0], Submitted)


async def test_a_refusal_is_repeated_too(tmp_path: Path, autojump_clock: Any) -> None:
    async with writer_alone(tmp_path) as alone:
        refused = await alone.ask(Cancel(1), KEY)
        assert isinstance(refused, Refusal)
        await alone.ask(submission(1))  # now there is a job 1
        assert await alone.ask(Cancel(1), KEY) == refused
        assert isinstance(await alone.ask(Cancel(1)), JobChanged)


async def test_another_request_under_the_same_key_is_refused(tmp_path: Path, autojump_clock: Any) -> None:
    async with writer_alone(tmp_path) as alone:
        await alone.ask(submission(1), KEY)
        other = await alone.ask(submission(2), Repeatable(KEY.subject, KEY.key, b"another"))
        assert isinstance(other, Refusal)
        assert other.code is RefusalCode.IDEMPOTENCY_MISMATCH
        theirs = await alone.ask(submission(2), Repeatable("token:2", KEY.key, b"another"))
        assert isinstance(theirs, Submitted)  # a key is its subject's own
        assert alone.book.probe.count("jobs") == 2


async def test_it_is_forgotten_after_a_day(tmp_path: Path, autojump_clock: Any) -> None:
    async with writer_alone(tmp_path) as alone:
        await alone.ask(submission(1), KEY)
        await trio.sleep(DAY - 1)
        await alone.ask(Purge())
        assert not (await alone.ask(submission(1), KEY)).existing
        await trio.sleep(2)
        assert (await alone.ask(submission(1), KEY)).existing  # a new request, to which the job is an old one
        await trio.sleep(DAY + 1)
        await alone.ask(Purge())
        assert alone.book.probe.count("idempotency") == 0


async def test_what_was_not_written_is_not_remembered(tmp_path: Path, autojump_clock: Any) -> None:
    async with writer_alone(tmp_path) as alone:
        await alone.ask(submission("before"))
        many = Batch(tuple(submission(number, metadata="x" * 2000) for number in range(100)))
        with alone.book.database.full():
            assert (await alone.ask(many, KEY)).code is RefusalCode.UNAVAILABLE
        done = await alone.ask(many, KEY)
        assert len(done.items) == 100


async def test_an_effect_whose_answer_cannot_be_kept_is_undone(tmp_path: Path, autojump_clock: Any) -> None:
    """Effect and record are one: a key that SQLite does not take must not leave the effect behind."""
    async with writer_alone(tmp_path) as alone:
        answers = []
        for key in (Repeatable("s", "\ud800", b"x"), KEY):
            try:
                answers.append(await alone.ask(submission(1), key))
            except UnicodeEncodeError as error:
                answers.append(error)
        assert isinstance(answers[0], UnicodeEncodeError)
        assert not answers[1].existing
        alone.book.counts_are_right()


async def test_a_claim_that_waits_is_repeatable_as_well(autojump_clock: Any, local: LocalServer) -> None:
    """Whether its job was there at once or came while it waited: the repetition gets that job, not a second one."""
    await local.register()
    for number in range(3):
        await local.submit(b"%d" % number)
    scheduler = local.parts.scheduler.mailbox
    claim = Claim(ADMIN, "w1", ("pdf",), wait=10.0)
    first = await ask(scheduler, claim, KEY)
    again = await ask(scheduler, claim, KEY)
    assert isinstance(first, Granted)
    assert [job.id for job in first.jobs] == [1]
    assert again == first


async def test_no_job_is_an_answer_once_the_wait_is_over(autojump_clock: Any, local: LocalServer) -> None:
    await local.register()
    scheduler = local.parts.scheduler.mailbox
    claim = Claim(ADMIN, "w1", ("pdf",), wait=10.0)
    started = trio.current_time()
    assert await ask(scheduler, claim, KEY) == Granted()
    assert trio.current_time() - started >= 10
    await local.submit()
    old = await ask(scheduler, claim, KEY)
    assert isinstance(old, Granted)
    assert not old.jobs  # the same request has the same answer
    assert len((await ask(scheduler, claim)).jobs) == 1


@pytest.mark.parametrize("wait", [0.0, 10.0])
async def test_an_old_answer_is_no_news(autojump_clock: Any, local: LocalServer, wait: float) -> None:
    """ "No job" from the record says nothing about now: it must not make the scheduler believe that there is none."""
    await local.register()
    scheduler = local.parts.scheduler.mailbox
    await ask(scheduler, Claim(ADMIN, "w1", ("pdf",), wait=wait), KEY)
    await local.submit()
    await ask(scheduler, Claim(ADMIN, "w1", ("pdf",), wait=wait), KEY)
    granted = await ask(scheduler, Claim(ADMIN, "w1", ("pdf",)))
    assert isinstance(granted, Granted)
    assert len(granted.jobs) == 1


async def test_answers_survive_their_encoding(tmp_path: Path, autojump_clock: Any) -> None:
    """The record is decoded by the union of all answers: what comes back has the type that it had."""
    async with writer_alone(tmp_path) as alone:
        await alone.ask(Register(ADMIN, "w", "pdf"))
        await alone.ask(submission(1, tags=("t",), metadata='{"a":1}'))
        claim = Claim(ADMIN, "w", ("pdf",))
        granted = await alone.ask(claim, KEY)
        assert len(granted.jobs) == 1
        assert await alone.ask(claim, KEY) == granted
