"""A credential that is revoked, while something waits or streams by it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from actors import works
from actors.mailbox import Envelope, Reply, ask
from actors.messages import (
    Batch,
    Claim,
    Complete,
    DeleteToken,
    DisableWorker,
    EndSession,
    EndSessions,
    NewSession,
    Person,
    RemoveWorker,
    RenewSession,
    Repeatable,
    ReplaceSecret,
    SignIn,
)
from blobforge.people import session_hash
from tests.fixtures.local import LocalServer, virtual_now
from tests.web.calls import assert_problem, token, worker
from web import dispatch, events

WAIT = 20
A_YEAR_MS = 365 * 86_400_000
ALICE = Person("https://idp.test", "alice", None, "Alice", (), is_admin=True)


# How a worker that an administrator made loses its credential.
MADE = ("secret replaced", "worker disabled", "worker removed", "removed among many")


class Held:
    """A credential: its headers, what revokes it, and what it is answered then."""

    def __init__(self, headers: dict[str, str], revoke: Callable[[], Awaitable[Any]], *, status: int = 401) -> None:
        self.headers = headers
        self.revoke = revoke
        self.status = status


async def made_token(local: LocalServer, *scopes: str) -> tuple[dict[str, str], int]:
    body = {"name": "t", "scopes": list(scopes)}
    _, made = await local.call("POST", "/api/admin/tokens", body)
    return {"Authorization": f"Bearer {made['token']}"}, made["id"]


async def signed_in(
    local: LocalServer, *, person: Person | None = None, token_id: int | None = None
) -> dict[str, str]:
    ends = virtual_now() + A_YEAR_MS
    made = await local.ask(SignIn(NewSession(session_hash("cookie"), ends), person, token_id))
    assert not hasattr(made, "code"), made
    return {"Cookie": "blobforge=cookie", "Sec-Fetch-Site": "same-origin"}


async def held(local: LocalServer, how: str) -> Held:
    """A caller that has registered, and may claim as, the worker `w`."""
    match how:
        case "token deleted" | "its workers disabled" | "its workers removed" | "its workers have other secrets":
            headers, token_id = await made_token(local, "work", "read")
            await local.register("w", headers=headers)
            message: Any = {
                "token deleted": DeleteToken(token_id),
                "its workers disabled": DisableWorker("w"),
                "its workers removed": RemoveWorker("w"),
                "its workers have other secrets": ReplaceSecret("w", "0" * 64),
            }[how]
            status = {"token deleted": 401, "its workers removed": 404}.get(how, 403)
            return Held(headers, lambda: local.ask(message), status=status)
        case _ if how in MADE:
            headers = await worker(local, "w")
            message = {
                "secret replaced": ReplaceSecret("w", "0" * 64),
                "worker disabled": DisableWorker("w"),
                "worker removed": RemoveWorker("w"),
                "removed among many": Batch((RemoveWorker("w"),)),
            }[how]
            return Held(headers, lambda: local.ask(message), status=403 if "disabled" in how else 401)
        case "token expired":
            text = await token(local, "work", "read", expires_in=10 / 86_400)
            headers = {"Authorization": f"Bearer {text}"}
            await local.register("w", headers=headers)

            async def expire() -> None:
                await trio.sleep(10)

            return Held(headers, expire)
        case "session ended" | "sessions ended" | "demoted":
            await local.register("w")
            sessions: Any = local.parts.services.sessions
            sessions._provider = object()  # there is one, and it is not asked yet
            headers = await signed_in(local, person=ALICE)
            hash_ = session_hash("cookie")
            less = Person("https://idp.test", "alice", None, "Alice", (), is_admin=False)
            message = {
                "session ended": EndSession(hash_),
                "sessions ended": EndSessions(1),
                "demoted": RenewSession(hash_, less),
            }[how]
            return Held(headers, lambda: local.ask(message))
        case _:
            raise AssertionError(how)


CLAIMS = [
    "token deleted", "token expired", "its workers disabled", "its workers removed", "its workers have other secrets",
    *MADE,
]  # fmt: skip


class Waiting:
    """A request under way: its answer, and when (trio's clock) it came."""

    answer: tuple[int, Any] | None = None
    at: float | None = None


@asynccontextmanager
async def under_way(
    local: LocalServer, method: str, path: str, body: Any, headers: dict[str, str]
) -> AsyncIterator[Waiting]:
    waiting = Waiting()

    async def run() -> None:
        waiting.answer = await local.call(method, path, body, headers=headers)
        waiting.at = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.sleep(0.5)
        yield waiting


# A worker that an administrator made asks for its own type alone.
@pytest.mark.parametrize(
    ("how", "types"),
    [(how, ("pdf",)) for how in CLAIMS] + [(how, ("pdf", "ocr")) for how in CLAIMS if how not in MADE],
)
async def test_a_claim_that_waits_ends_at_once(
    local: LocalServer, autojump_clock: Any, how: str, types: tuple[str, ...]
) -> None:
    who = await held(local, how)
    body = {"worker_id": "w", "job_types": list(types), "wait": WAIT, "claim_key": "k"}
    async with under_way(local, "POST", "/api/jobs/claim", body, who.headers) as waiting:
        assert waiting.answer is None
        await who.revoke()
        revoked = trio.current_time()
        await local.submit()
    assert waiting.answer is not None
    assert waiting.answer[0] == who.status, waiting.answer
    assert waiting.at is not None
    assert waiting.at - revoked <= 0.5, "at once, and not when its time is over"
    again = await local.call("POST", "/api/jobs/claim", body | {"wait": 0, "claim_key": "l"}, headers=who.headers)
    assert again[0] == who.status, "as a new claim is answered"
    job = await local.job(1)
    assert (job["status"], job["attempts"], job.get("losses", 0)) == ("pending", 0, 0)
    assert local.parts.scheduler.waiting == 0


@pytest.mark.parametrize("how", ["token deleted", "secret replaced", "worker disabled"])
async def test_a_draining_worker_that_waits_is_told_as_well(
    local: LocalServer, autojump_clock: Any, how: str
) -> None:
    who = await held(local, how)
    await local.call("POST", "/api/workers/w/drain")
    body = {"worker_id": "w", "job_type": "pdf", "wait": WAIT}
    async with under_way(local, "POST", "/api/jobs/claim", body, who.headers) as waiting:
        await who.revoke()
        revoked = trio.current_time()
    assert waiting.answer is not None
    assert waiting.answer[0] == who.status
    assert (waiting.at or 0) - revoked < 1


async def test_who_keeps_its_credential_waits_on(local: LocalServer, autojump_clock: Any) -> None:
    await local.register("w", headers=await worker(local, "w", register=False))
    _, other = await made_token(local, "work")
    mine = await worker(local, "mine")
    body = {"worker_id": "mine", "job_type": "pdf", "wait": WAIT}
    async with under_way(local, "POST", "/api/jobs/claim", body, mine) as waiting:
        await local.ask(DeleteToken(other))
        await local.ask(ReplaceSecret("w", "1" * 64))
        await trio.sleep(1)
        assert waiting.answer is None
        job_id = await local.submit()
    assert waiting.answer is not None
    assert waiting.answer[1]["job"]["id"] == job_id


@pytest.mark.parametrize("how", ["token deleted", "token expired", "session ended", "sessions ended", "demoted"])
async def test_streams_end_at_once(local: LocalServer, autojump_clock: Any, how: str) -> None:
    who = await held(local, how)
    before = local.parts.broadcaster.subscribers
    async with under_way(local, "GET", "/events", None, who.headers) as waiting:
        assert local.parts.broadcaster.subscribers == before + 1
        await who.revoke()
        revoked = trio.current_time()
        await local.submit()
    assert waiting.answer is not None
    assert (waiting.at or 0) - revoked < 0.5
    assert b"event: job_" not in waiting.answer[1]
    assert local.parts.broadcaster.subscribers == before


async def test_a_stream_that_has_not_begun_to_listen_is_ended_too(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let in, then revoked, and only then subscribed: nobody could tell it."""
    headers, token_id = await made_token(local, "read")
    begin = events._stream

    async def late(*given: Any) -> AsyncIterator[bytes]:
        await local.ask(DeleteToken(token_id))
        async for piece in begin(*given):
            yield piece

    monkeypatch.setattr(events, "_stream", late)
    assert await local.call("GET", "/events", headers=headers) == (200, b"")
    assert local.parts.services.streams.used == 0


@pytest.mark.parametrize("how", ["token deleted", "secret replaced", "worker disabled", "removed among many"])
@pytest.mark.parametrize("first", ["claim", "revocation"])
async def test_nothing_is_granted_in_the_transaction_that_revokes(
    local: LocalServer, autojump_clock: Any, how: str, first: str
) -> None:
    job_id = await local.submit()
    other = await local.submit(b"another document")
    keyring = local.parts.services.keyring
    if how == "token deleted":
        headers, token_id = await made_token(local, "work")
        await local.register("w", headers=headers)
        caller: Any = await keyring.token(headers["Authorization"].removeprefix("Bearer "))
        revoking: Any = DeleteToken(token_id)
    else:
        headers = await worker(local, "w")
        caller = await keyring.worker("w", headers["X-Worker-Secret"])
        revoking = {
            "secret replaced": ReplaceSecret("w", "0" * 64),
            "worker disabled": DisableWorker("w"),
            "removed among many": Batch((RemoveWorker("w"),)),
        }[how]
    status, held_ = await local.call(
        "POST", "/api/jobs/claim", {"worker_id": "w", "job_type": "pdf"}, headers=headers
    )
    assert status == 200
    assert held_["job"]["id"] == job_id
    finished = Complete(caller, "w", job_id, held_["lease"], claim_next=True)
    asked = [Claim(caller, "w", ("pdf",)), finished]
    in_order = [*asked, revoking] if first == "claim" else [revoking, *asked]
    replies: list[Reply[Any]] = [Reply() for _ in in_order]
    for message, reply in zip(in_order, replies, strict=True):
        local.parts.writer.mailbox.offer(Envelope(message, reply, caller=getattr(message, "caller", None)))
    outcomes = [await reply.wait() for reply in replies]
    said = [outcome.code for outcome in outcomes if hasattr(outcome, "code")]
    assert said == ["worker-disabled" if how == "worker disabled" else "unauthenticated"] * 2
    for each in (job_id, other):
        job = await local.job(each)
        assert (job["status"], job["attempts"], job.get("losses", 0)) == ("pending", 0, 0), "all is back, at no cost"


async def test_what_a_revoked_token_ran_goes_back_at_no_cost(local: LocalServer, autojump_clock: Any) -> None:
    headers, token_id = await made_token(local, "work")
    for name in ("a", "b"):
        await local.register(name, headers=headers)
        await local.submit(name.encode())
        await local.call("POST", "/api/jobs/claim", {"worker_id": name, "job_type": "pdf"}, headers=headers)
    assert [(await local.job(job_id))["status"] for job_id in (1, 2)] == ["running", "running"]
    status, _ = await local.call("DELETE", f"/api/admin/tokens/{token_id}")
    assert status in (200, 204)
    for job_id in (1, 2):
        job = await local.job(job_id)
        assert (job["status"], job["attempts"], job.get("losses", 0)) == ("pending", 0, 0)


async def test_a_bulk_action_stops_where_its_token_is_revoked(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is judged in its own transaction."""
    monkeypatch.setattr(works, "DELETED_A_TURN", 1)
    headers, token_id = await made_token(local, "admin")
    ids = [await local.submit(b"%d" % number) for number in range(5)]

    class Once:
        """Deletes the token behind the first commit that it hears of."""

        heeds = None
        done = False

        def post(self, _facts: Any) -> None:
            if not self.done:
                local.parts.writer.mailbox.offer(Envelope(DeleteToken(token_id), Reply()))
            self.done = True

    await local.call("GET", "/api/jobs", headers=headers)  # its use is noted, which is a commit, too
    await trio.sleep(10)  # what is written behind the submissions is written by then
    local.parts.writer.sequencer.listeners.append(Once())
    answer = await local.call("POST", "/api/jobs/delete", {"ids": ids}, headers=headers)
    assert_problem(answer, 401, "unauthenticated")
    assert await left(local) == len(ids) - 1


async def left(local: LocalServer) -> int:
    return int((await local.call("GET", "/api/jobs"))[1]["total"])


async def test_a_read_that_outlives_its_token_shows_nothing(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The URL of a file: the store takes its time, and meanwhile the token is deleted."""
    headers, token_id = await made_token(local, "read")
    job_id = await local.submit()
    reads = local.parts.reads
    run = reads.run

    async def slow(read: Any) -> Any:
        found = await run(read)
        await trio.sleep(1)
        return found

    await local.call("GET", f"/api/jobs/{job_id}", headers=headers)  # so that the token is in the cache
    monkeypatch.setattr(reads, "run", slow)
    async with under_way(local, "GET", f"/api/jobs/{job_id}", None, headers) as waiting:
        monkeypatch.setattr(reads, "run", run)
        await local.ask(DeleteToken(token_id))
    assert waiting.answer is not None
    assert_problem(waiting.answer, 401, "unauthenticated")


async def test_the_answer_of_an_idempotency_key_is_not_for_a_revoked_token(
    local: LocalServer, autojump_clock: Any
) -> None:
    headers, token_id = await made_token(local, "work")
    await local.register("w", headers=headers)
    await local.submit()
    keyed = headers | {"Idempotency-Key": "k"}
    claim = {"worker_id": "w", "job_type": "pdf"}
    status, _ = await local.call("POST", "/api/jobs/claim", claim, headers=keyed)
    assert status == 200
    caller: Any = await local.parts.services.keyring.token(headers["Authorization"].removeprefix("Bearer "))
    await local.ask(DeleteToken(token_id))
    repeated = Claim(caller, "w", ("pdf",))
    answer: Any = await ask(local.parts.writer.mailbox, repeated, Repeatable(caller.subject, "k", b""), caller=caller)
    assert answer.code == "unauthenticated"


@pytest.mark.parametrize("what", ["token", "worker disabled", "worker removed", "workers removed", "sessions"])
async def test_that_it_was_done_before_is_answered_once_all_servers_know(
    local: LocalServer, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Each is asked for twice: the first answer may have been lost on its way."""
    waited = []

    async def known_everywhere(*_: Any) -> None:
        waited.append(what)

    monkeypatch.setattr(dispatch, "_known_everywhere", known_everywhere)
    _, token_id = await made_token(local, "work")
    await worker(local, "w")
    await signed_in(local, person=ALICE)
    users = (await local.call("GET", "/api/admin/users"))[1]
    method, path, body = {
        "token": ("DELETE", f"/api/admin/tokens/{token_id}", None),
        "worker disabled": ("POST", "/api/admin/workers/w/disable", None),
        "worker removed": ("DELETE", "/api/workers/w", None),
        "workers removed": ("POST", "/api/workers/remove", {"ids": ["w"]}),
        "sessions": ("DELETE", f"/api/admin/users/{users[0]['id']}/sessions", None),
    }[what]
    waited.clear()
    for n in (1, 2):
        await local.call(method, path, body)
        assert len(waited) == n
