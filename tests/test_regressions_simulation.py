"""Faults that the simulator (`tests/simulation/`) found. Each has a plain test here that fails when it comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw
import trio

from actors.mailbox import Envelope, Reply
from actors.messages import Repeatable, SetPriority
from blobforge.refusals import RefusalCode
from blobforge.store.sqlite import sql
from tests.actors.alone import writer_alone
from tests.fixtures.house import House
from tests.store.making import submission


async def test_a_disk_that_errs_is_nobodys_bug(tmp_path: Path, autojump_clock: Any) -> None:
    """An I/O error outside of any savepoint, in the look for an earlier answer, was answered as a bug of the request
    (500), and what else was in the transaction was committed: nobody may be told less than that nothing was done."""

    def errs(_cursor: Any, statement: str, _values: Any) -> bool:
        if statement == sql.IDEMPOTENT:
            raise apsw.IOError("a disk that errs")
        return True

    async with writer_alone(tmp_path) as alone:
        await alone.ask(submission("first"))
        alone.book.db.exec_trace = errs
        replies: list[Reply[Any]] = [Reply() for _ in range(3)]
        # The one in the middle is a bug, so that all of it is made once more, message by message.
        messages = [submission("before"), SetPriority(1, 9), submission("repeatable")]
        repeats = [None, None, Repeatable("token 1", "key", b"print")]
        for message, reply, repeat in zip(messages, replies, repeats, strict=True):
            assert alone.writer.mailbox.offer(Envelope(message, reply, repeat))
        answers = [await reply.wait() for reply in replies]
        alone.book.db.exec_trace = None
        assert [answer.code for answer in answers] == [RefusalCode.UNAVAILABLE] * 3
        assert alone.book.rows("SELECT count(*) FROM jobs") == [(1,)]
        alone.book.counts_are_right()


async def test_the_first_write_after_an_outage_expires_nobody(house: House, autojump_clock: Any) -> None:
    """A worker's heartbeat came, and could not be written. When the disk had room again, the first to write was the
    reaper: the lease of a worker that had spoken four seconds before was lost, and charged as a loss."""
    job_id = await house.submit()
    await house.register()
    grant = await house.claim()
    timeout = house.parts.services.settings.worker_timeout
    beat = {"jobs": [{"job_id": job_id, "lease": grant["lease"]}]}
    full = True

    def errs(_cursor: Any, statement: str, _values: Any) -> bool:
        if full and statement == "COMMIT":
            raise apsw.FullError("a disk that is full")
        return True

    store: Any = house.parts.writer
    store._store._db.exec_trace = errs
    await trio.sleep(timeout - 5)
    assert (await house.call("POST", "/api/workers/w1/heartbeat", beat))[0] == 503
    full = False
    await trio.sleep(30)  # its time is over, and nobody else has written anything
    assert (await house.job(job_id))["status"] == "running"
    assert (await house.call("POST", "/api/workers/w1/heartbeat", beat))[1]["abandon"] == []
    await trio.sleep(3 * timeout)  # now it is silent
    assert (await house.job(job_id))["status"] == "pending"


async def test_no_job_is_repeated_at_once(house: House, autojump_clock: Any) -> None:
    """A claim that was answered "no job", repeated with its Idempotency-Key, waited its whole time over again where
    no job could wake it, and was then told the same."""
    await house.register()
    headers = {"Authorization": f"Bearer {house.parts.admin_token}", "Idempotency-Key": "once"}
    body = {"worker_id": "w1", "job_type": "pdf", "wait": 30}
    first = await house.call("POST", "/api/jobs/claim", body, headers=headers)
    assert first == (200, {"job": None})
    await house.submit()
    asked = trio.current_time()
    assert await house.call("POST", "/api/jobs/claim", body, headers=headers) == first
    assert trio.current_time() == asked
    assert (await house.claim())["job"] is not None
