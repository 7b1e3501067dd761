"""The log of a job that runs: sent by its worker, read and followed by others, and gone with the attempt."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import trio

from blobforge.livelog import MOST_KEPT, MOST_OF_ALL, MOST_SENT, UNWATCHED_SECONDS, WATCHED_SECONDS
from tests.fixtures.local import LocalServer
from tests.web.calls import assert_problem, token
from web.livelogs import MOST_SENDERS, LiveLogs


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def running(local: LocalServer) -> str:
    """Job 1 runs at `w1`; returns its lease."""
    await local.register()
    await local.submit()
    return str((await local.claim())["lease"])


async def sent(local: LocalServer, lease: str, start: int, text: str, **fields: Any) -> Any:
    body = {"worker_id": "w1", "lease": lease, "start": start, "text": text} | fields
    return await local.call("POST", "/api/jobs/1/log", body)


async def read(local: LocalServer, query: str = "") -> Any:
    status, answer = await local.call("GET", f"/api/jobs/1/log{query}")
    assert status == 200, answer
    return answer


class Followed:
    """An open stream of a log."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._text = ""

    async def next(self) -> tuple[str, Any]:
        """The next event's name and data; `closed` at the end of the stream."""
        while True:
            while "\n\n" not in self._text:
                try:
                    self._text += (await self._connection.receive()).decode()
                except Exception:  # Quart's own, which is not exported
                    return "closed", None
            block, _, self._text = self._text.partition("\n\n")
            if not block.startswith(":"):
                fields = dict(line.split(": ", 1) for line in block.splitlines())
                return fields["event"], msgspec.json.decode(fields["data"])


@asynccontextmanager
async def followed(local: LocalServer, secret: str | None = None, **headers: str) -> AsyncIterator[Followed]:
    sent_headers = bearer(secret or local.parts.admin_token) | headers
    async with local.http.request("/events/jobs/1/log", headers=sent_headers) as connection:
        await connection.send_complete()
        try:
            yield Followed(connection)
        finally:
            with trio.CancelScope(shield=True):
                await connection.disconnect()
                await trio.sleep(1)
                connection._client_send.close()


async def test_from_the_worker_to_its_viewers_and_nothing_is_written(local: LocalServer, autojump_clock: Any) -> None:
    lease = await running(local)
    assert await read(local) == {
        "job_id": 1, "status": "running", "text": "", "start": 0, "end": 0, "live": True, "attempt": 1,
    }  # fmt: skip
    await trio.sleep(61)  # that look is over
    await local.job(1)  # which notes that the token is in use
    await trio.sleep(2)
    writes = local.parts.writer.writes
    assert await sent(local, lease, 0, "page 1\n") == (200, {"next_seconds": UNWATCHED_SECONDS, "status": "ok"})
    async with followed(local) as stream:
        name, data = await stream.next()
        assert (name, data["text"], data["end"]) == ("log", "page 1\n", 7)
        assert await sent(local, lease, 7, "page 2\n") == (200, {"next_seconds": WATCHED_SECONDS, "status": "ok"})
        name, data = await stream.next()
        assert (name, data["text"], data["start"], data["end"]) == ("log", "page 2\n", 7, 14)
        assert (await read(local))["text"] == "page 1\npage 2\n"
        assert (await read(local, "?attempt=1&start=7"))["text"] == "page 2\n"
        assert (await read(local, "?attempt=9&start=7"))["start"] == 0
        assert local.parts.writer.writes == writes, "nothing of it is committed"
        failure = {"worker_id": "w1", "lease": lease, "error": "no", "log_tail": "page 2, and no more\n"}
        await local.call("POST", "/api/jobs/1/fail", failure)
        assert (await stream.next())[0] == "log"
        assert await stream.next() == ("end", {"status": "failed", "attempt": 1})
        assert (await stream.next())[0] == "closed"
    kept = await read(local)
    assert (kept["live"], kept["text"]) == (False, "page 2, and no more\n")
    assert_problem(await sent(local, lease, 14, "page 3\n"), 409, "lease-lost")


async def test_a_stream_goes_on_where_it_broke_off(local: LocalServer, autojump_clock: Any) -> None:
    lease = await running(local)
    await sent(local, lease, 0, "one\ntwo\n")
    headers = {"Last-Event-ID": "1-4"}
    async with followed(local, **headers) as stream:
        assert (await stream.next())[1]["text"] == "two\n"
    async with followed(local, **{"Last-Event-ID": "7-4"}) as stream:
        assert (await stream.next())[1]["text"] == "one\ntwo\n", "of another attempt"


async def test_a_stream_shows_nothing_of_an_attempt_before(local: LocalServer, autojump_clock: Any) -> None:
    await running(local)
    # The first piece of the attempt before was judged while that ended, and came just behind its end.
    local.parts.live_logs.admit(1, "the lease before", ("w1", "", "token:1"))
    local.parts.live_logs.add(1, 0, "of the attempt before\n")
    async with followed(local) as stream:
        assert (await stream.next())[1]["text"] == ""
        await trio.sleep(1)
        local.parts.live_logs.close()
        assert (await stream.next())[0] == "closed"


async def test_who_may_send(local: LocalServer, autojump_clock: Any) -> None:
    lease = await running(local)
    assert_problem(await sent(local, "another", 0, "x"), 409, "lease-lost")
    assert_problem(await sent(local, lease, 0, "x", worker_id="w2"), 404, "no-such-worker")
    await local.register("w2")
    assert_problem(await sent(local, lease, 0, "x", worker_id="w2"), 409, "lease-lost")
    other = bearer(await token(local, "work"))
    body = {"worker_id": "w1", "lease": lease, "start": 0, "text": "x"}
    assert_problem(await local.call("POST", "/api/jobs/1/log", body, headers=other), 403, "not-yours")
    assert_problem(await local.call("POST", "/api/jobs/9/log", body), 404, "no-such-job")
    await sent(local, lease, 0, "x")
    # What is known of one sender is not known of another.
    assert_problem(await local.call("POST", "/api/jobs/1/log", body, headers=other), 403, "not-yours")
    assert (await sent(local, lease, 0, "x" * (2 * MOST_SENT)))[0] == 422
    assert (await read(local))["text"] == "x"


async def test_what_was_sent_twice_counts_once_and_what_is_missing_is_said(
    local: LocalServer, autojump_clock: Any
) -> None:
    lease = await running(local)
    await sent(local, lease, 10, "one\n")
    await sent(local, lease, 10, "one\n")
    await sent(local, lease, 10, "one\ntwo\n")
    await sent(local, lease, 1_000, "\x1b[2Jlast\u202e\x00\n")
    missing = "[... 10 characters left out ...]\n", "[... 982 characters left out ...]\n"
    assert (await read(local))["text"] == f"{missing[0]}one\ntwo\n{missing[1]}\ufffd[2Jlast\ufffd\ufffd\n"


async def test_the_next_attempt_has_a_log_of_its_own(local: LocalServer, autojump_clock: Any) -> None:
    lease = await running(local)
    await sent(local, lease, 0, "the first\n")
    async with followed(local) as stream:
        assert (await stream.next())[1]["text"] == "the first\n"
        await local.call("POST", "/api/jobs/1/release", {"worker_id": "w1", "lease": lease, "cause": "shutdown"})
        again = (await local.claim())["lease"]
        assert (await stream.next())[0] == "closed", "a browser comes back, and is given the next one's"
    assert (await read(local))["text"] == ""
    assert (await sent(local, again, 0, "the second\n"))[0] == 200
    assert (await read(local, "?attempt=1&start=10"))["text"] == "the second\n"
    await local.call("POST", "/api/jobs/1/cancel")
    assert (await read(local))["live"] is False


async def test_a_viewer_whose_token_is_revoked_sees_no_more(local: LocalServer, autojump_clock: Any) -> None:
    lease = await running(local)
    reader = await token(local, "read")
    async with followed(local, reader) as stream:
        assert (await stream.next())[0] == "log"
        _, tokens = await local.call("GET", "/api/admin/tokens")
        number = max(each["id"] for each in tokens)
        assert (await local.call("DELETE", f"/api/admin/tokens/{number}"))[0] == 200
        await sent(local, lease, 0, "secret\n")
        assert (await stream.next())[0] == "closed"


async def test_a_stream_counts_among_those_that_are_open(local: LocalServer, autojump_clock: Any) -> None:
    await running(local)
    streams = local.parts.services.streams
    async with followed(local) as stream:
        await stream.next()
        assert streams.used == 1
        streams.total = 1
        assert_problem(await local.call("GET", "/events/jobs/1/log"), 429, "slow-down")
    assert streams.used == 0
    assert (await local.call("HEAD", "/events/jobs/1/log"))[0] == 200


async def test_memory_is_bounded(autojump_clock: Any) -> None:
    logs = LiveLogs()
    text = "x" * (MOST_SENT - 1) + "\n"
    for number in range(4):
        logs.admit(1, "lease", ("w",))
        logs.add(1, number * MOST_SENT, text)
    log = logs.of(1, "lease")
    assert log is not None
    assert log.size <= MOST_KEPT
    assert log.after(0).text.startswith("[... ")
    assert log.end == 4 * MOST_SENT
    for number in range(100):  # a caller may name any process, where the worker has named none
        logs.admit(1, "lease", ("w", str(number)))
    assert logs.may_send(1, "lease", ("w", "99"))
    assert len(log.senders) <= MOST_SENDERS
    most = MOST_OF_ALL // MOST_SENT
    for job_id in range(2, most + 10):
        logs.admit(job_id, "lease", ("w",))
        logs.add(job_id, 0, text)
        assert logs.of(1, "lease") is log, "it was looked at just now"
    assert logs.of(2, "lease") is None
    assert logs.of(most + 9, "lease") is not None
    assert log.over is False
    logs.close()
    assert log.over
