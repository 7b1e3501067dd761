"""Claims that wait of a worker in quarantine: woken for a trial at its time, and when the quarantine ends."""

from __future__ import annotations

from typing import Any

import trio

from actors.messages import Claim, Complete, Fail, QuarantineWorker, ReadmitWorker, Register
from blobforge.job import Job
from blobforge.quarantine import FIRST_PAUSE_MS
from tests.actors.test_scheduler import ids, polls, settle
from tests.fixtures.local import LocalServer
from tests.store.making import ADMIN, submission

PAUSE = FIRST_PAUSE_MS / 1000


async def end(local: LocalServer, worker_id: str, job: Job) -> None:
    await local.ask(Complete(ADMIN, worker_id, job.id, lease=job.lease))


async def quarantined(local: LocalServer) -> None:
    """Worker x has failed four of four, where a and b have completed all: these four, too, which came back."""
    for worker_id in ("a", "b", "x"):
        await local.ask(Register(ADMIN, worker_id, "pdf"))
    for number in range(24):
        worker_id = "ab"[number % 2] if number < 20 else "x"
        await local.ask(submission(number))
        (job,) = (await local.ask(Claim(ADMIN, worker_id, ("pdf",)))).jobs
        if worker_id == "x":
            await local.ask(Fail(ADMIN, "x", job.id, "OSError: no disk", lease=job.lease, retryable=False))
        else:
            await end(local, worker_id, job)
    returned = (await local.ask(Claim(ADMIN, "a", ("pdf",), 10))).jobs
    assert len(returned) == 4
    for job in returned:
        await end(local, "a", job)


async def test_a_long_poll_is_woken_for_its_trial_and_no_job_wakes_it_before(
    autojump_clock: Any, local: LocalServer
) -> None:
    await quarantined(local)
    await local.ask(submission("waits"))
    async with polls(local) as claim:
        trial = claim("x", wait=2 * PAUSE)
        await settle()
        before = local.parts.writer.committed_messages
        await local.ask(submission("waits, too"))
        await settle()
        assert local.parts.writer.committed_messages == before + 1, "the submission alone"
        await trio.sleep(PAUSE - 1)
        assert trial.outcome is None
        await trio.sleep(2)
        assert ids(trial) == [25]


async def test_a_trial_that_has_ended_and_a_readmission_wake_those_that_wait(
    autojump_clock: Any, local: LocalServer
) -> None:
    await quarantined(local)
    await local.ask(submission("first"))
    await local.ask(submission("second"))
    await trio.sleep(PAUSE)
    (job,) = (await local.ask(Claim(ADMIN, "x", ("pdf",), 5))).jobs
    async with polls(local) as claim:
        following = claim("x")
        await settle()
        assert following.outcome is None, "it has its trial in hand"
        await end(local, "x", job)
        await settle()
        assert ids(following) == [26]
    await local.ask(QuarantineWorker("b", "admin"))
    async with polls(local) as claim:
        by_hand = claim("b")
        await local.ask(submission("third"))
        await settle()
        assert by_hand.outcome is None
        await local.ask(ReadmitWorker("b", "admin"))
        await settle()
        assert ids(by_hand) == [27]


async def test_of_what_a_trial_is_not_looked_for_others_get_all_the_same(
    autojump_clock: Any, local: LocalServer
) -> None:
    """It may ask for several types, and is tried with the one that it has failed."""
    await quarantined(local)
    await local.ask(Register(ADMIN, "c", "ocr"))
    await local.ask(submission("scan", type_="ocr"))
    await trio.sleep(PAUSE)
    async with polls(local) as claim:
        tried = claim("x", "pdf", "ocr")
        await settle()
        assert tried.outcome is None
        ocr = claim("c", "ocr")
        await settle()
        assert ids(ocr) == [25]
        again = claim("c", "ocr")
        await local.ask(submission("another scan", type_="ocr"))
        await settle()
        assert (ids(again), tried.outcome) == ([26], None)
        await local.ask(submission("text"))
        await settle()
        assert ids(tried) == [27]
