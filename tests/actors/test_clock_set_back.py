"""A wall clock that was far ahead, by a battery that had run out, and is set right while the server runs: nothing
waits for the time that it had said."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors import courier
from actors.messages import Claim, Fail, ReadmitWorker, Register
from actors.turntime import TurnTime
from blobforge import breaker
from blobforge.breaker import RowOfFailures, probe_in
from blobforge.jobtype import TypeLoad, TypeSettings, free_at, room, spend
from blobforge.outward.calling import CallAnswer
from blobforge.quarantine import TRIALS_TO_RETURN
from blobforge.spans import SET_BACK_MS
from tests.actors.test_courier import completed, listen, webhook
from tests.actors.test_quarantine import end, quarantined
from tests.fixtures.local import EPOCH_MS, LocalServer
from tests.store.making import ADMIN, submission

YEARS = 10 * 365 * 86_400_000  # ms


@pytest.fixture
def set_right(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda: monkeypatch.setattr("tests.fixtures.local.EPOCH_MS", EPOCH_MS - YEARS)


async def test_what_waited_to_be_sent_again_is_sent(
    local: LocalServer, autojump_clock: Any, set_right: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([CallAnswer(500, "out of order")])
    receiver = listen(local, answer=lambda: next(answers, CallAnswer(204, "")))
    await webhook(local, "job.completed")
    await local.register()
    job = await completed(local)
    await trio.sleep(1)
    assert receiver.got == []
    set_right()
    await trio.sleep(courier.LONGEST_SLEEP)
    assert [(event, data["job_id"]) for event, data in receiver.got] == [("job.completed", job)]


async def test_a_new_process_takes_over_once_the_former_is_silent(
    local: LocalServer, autojump_clock: Any, set_right: Any
) -> None:
    await local.ask(Register(ADMIN, "w", "pdf", instance="one"))
    set_right()
    assert (await local.ask(Register(ADMIN, "w", "pdf", instance="two"))).alive is not None
    await trio.sleep(local.parts.rules.worker_timeout + 60)
    assert (await local.ask(Register(ADMIN, "w", "pdf", instance="two"))).alive is None


async def test_a_worker_in_quarantine_has_its_trials_and_returns(
    local: LocalServer, autojump_clock: Any, set_right: Any
) -> None:
    await quarantined(local)
    await local.ask(submission("waits"))
    assert (await local.ask(Claim(ADMIN, "x", ("pdf",)))).jobs == ()
    set_right()
    for number in range(TRIALS_TO_RETURN):
        await local.ask(submission(f"trial {number}"))
        (job,) = (await local.ask(Claim(ADMIN, "x", ("pdf",)))).jobs
        await end(local, "x", job)
    await local.ask(submission("one more"))
    assert len((await local.ask(Claim(ADMIN, "x", ("pdf",), 5))).jobs) == 2


async def test_a_worker_that_was_readmitted_is_judged_again(
    local: LocalServer, autojump_clock: Any, set_right: Any
) -> None:
    await quarantined(local)
    await local.ask(ReadmitWorker("x", "admin"))
    set_right()
    for number in range(8):
        await local.ask(submission(f"again {number}"))
        for job in (await local.ask(Claim(ADMIN, "x", ("pdf",)))).jobs:
            await local.ask(Fail(ADMIN, "x", job.id, "OSError: no disk", lease=job.lease, retryable=False))
    _, worker = await local.call("GET", "/api/workers/x")
    assert worker["quarantined"]


def test_a_type_that_its_breaker_has_paused_lets_one_through() -> None:
    row = RowOfFailures("boom", EPOCH_MS, 0, probe_at=EPOCH_MS + breaker.FIRST_PAUSE_MS)
    assert probe_in(row, now=EPOCH_MS) == breaker.FIRST_PAUSE_MS
    assert probe_in(row, now=EPOCH_MS + breaker.FIRST_PAUSE_MS) == 0
    assert probe_in(row, now=EPOCH_MS - YEARS) == 0


async def test_all_that_are_dead_are_retried_in_the_background(
    local: LocalServer, autojump_clock: Any, set_right: Any
) -> None:
    await local.register()
    job = await local.submit()
    grant = await local.claim()
    await local.ask(Fail(ADMIN, "w1", job, "boom", lease=grant["lease"], retryable=False))
    assert (await local.job(job))["status"] == "dead"
    set_right()
    status, begun = await local.call("POST", "/api/jobs/retry", {"ids": [job], "background": True})
    assert status == 202, begun
    await trio.sleep(5)
    assert (await local.job(job))["status"] == "pending"


async def test_a_claim_is_a_sign_of_life(local: LocalServer, autojump_clock: Any, set_right: Any) -> None:
    await local.register()
    set_right()
    await local.claim()
    _, worker = await local.call("GET", "/api/workers/w1")
    assert worker["last_heartbeat"].startswith("2016")


def test_a_rate_goes_on() -> None:
    settings = TypeSettings(rate_count=2, rate_ms=60_000)
    full = spend(settings, TypeLoad(0), 2, now=EPOCH_MS)
    assert room("pdf", settings, full, now=EPOCH_MS).room == 0
    then = EPOCH_MS - YEARS
    assert free_at(settings, full, now=then) == then
    assert room("pdf", settings, full, now=then).room == 1
    anew = spend(settings, full, 1, now=then)
    assert room("pdf", settings, anew, now=then).room == 0
    assert room("pdf", settings, anew, now=then + 30_000).room == 1
    assert room("pdf", settings, full, now=EPOCH_MS - 500).room == 0  # a clock that is corrected


async def test_the_time_of_turns_goes_on_until_it_is_that_of_the_clock(autojump_clock: Any) -> None:
    hours = 3 * 3600
    time = TurnTime(lambda: EPOCH_MS + round(trio.current_time() * 1000))
    at = time.now()
    assert at == EPOCH_MS
    time.taken(at + hours * 1000, proposed=at)  # by another server, whose clock is wrong
    for _ in range(1000):  # however often it is asked
        await trio.sleep(0.001)
        proposed = time.now()
        time.taken(max(at + hours * 1000, proposed), proposed=proposed)
    assert time.now() == at + hours * 1000 + 500
    proposed = time.now()
    time.taken(proposed + 60_000, proposed=proposed)  # the other clock is further ahead
    await trio.sleep(2)
    assert time.now() == proposed + 61_000
    await trio.sleep(2 * hours + 120)
    assert time.now() == EPOCH_MS + round(trio.current_time() * 1000)


async def test_a_clock_that_is_hardly_behind_that_of_another_server_is_gone_by(autojump_clock: Any) -> None:
    time = TurnTime(lambda: EPOCH_MS + round(trio.current_time() * 1000))
    time.taken(time.now() + SET_BACK_MS, proposed=time.now())
    await trio.sleep(0.1)
    assert time.now() == EPOCH_MS + 100
