"""Two fronts and the process of the actors, in virtual time: what a front asks for, hears, and leaves behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from actors.mailbox import Envelope, Reply, ask
from actors.messages import Claim, DeleteToken, Granted, Ping
from blobforge.access import Caller, Scope
from blobforge.config import Settings
from blobforge.server import running
from tests.fixtures.house import House, open_house, virtual_now
from tests.fronts.doubled import FrontHouse, open_front
from tests.web.calls import finish
from tests.web.test_metrics import Gate
from web.auth.throttle import BURST
from web.fronts import session
from web.fronts.frames import Begin, GaveUp, Here, To, ToFront
from web.fronts.link import Link, encoded

ADMIN = Caller(scopes=frozenset({Scope.ADMIN}), token_id=1, name="admin")


class Doubled:
    def __init__(self, house: House, first: FrontHouse, second: FrontHouse) -> None:
        self.house, self.first, self.second = house, first, second


@pytest.fixture
async def doubled(tmp_path: Path, autojump_clock: Any) -> AsyncIterator[Doubled]:
    async with AsyncExitStack() as stack:
        house = await stack.enter_async_context(
            open_house(tmp_path / "data", fronts=2, max_long_polls=3, session_idle=150)
        )
        first = await stack.enter_async_context(open_front(house, 1))
        second = await stack.enter_async_context(open_front(house, 2))
        yield Doubled(house, first, second)


def metric(text: bytes, name: str) -> float:
    found = [line for line in text.decode().splitlines() if line.startswith(f"{name} ")]
    assert len(found) == 1, name
    return float(found[0].split()[-1])


async def claim_later(front: FrontHouse, into: list[Any], wait: float = 30.0, worker: str = "w1") -> None:
    into.append(await front.claim(worker, wait=wait))


# ------------------------------------------------------------------ the same as in one process


async def test_a_job_from_one_front_to_a_long_poll_at_the_other(doubled: Doubled, autojump_clock: Any) -> None:
    await doubled.first.register()
    got: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim_later, doubled.second, got)
        await trio.sleep(1)
        job_id = await doubled.first.submit()
    assert got[0]["job"]["id"] == job_id
    assert (await doubled.first.job(job_id))["status"] == "running"


async def test_what_was_written_at_one_front_is_read_at_the_other(doubled: Doubled, autojump_clock: Any) -> None:
    fronts = (doubled.first, doubled.second)
    for number in range(6):
        job_id = await fronts[number % 2].submit(b"%d" % number)
        assert (await fronts[1 - number % 2].job(job_id))["status"] == "pending"


async def test_idempotency_keys_and_refusals_hold_over_both(doubled: Doubled, autojump_clock: Any) -> None:
    body = {"type": "pdf", "source_hash": "a" * 64}
    key = {"Authorization": f"Bearer {doubled.house.parts.admin_token}", "Idempotency-Key": "k"}
    made = [await front.call("POST", "/api/jobs", body, headers=key) for front in (doubled.first, doubled.second)]
    assert [(status, answer["job_id"], answer["existing"]) for status, answer in made] == [(201, 1, False)] * 2
    status, answer = await doubled.second.call("POST", "/api/jobs", body | {"priority": 1}, headers=key)
    assert (status, answer["type"].rpartition(":")[2]) == (422, "idempotency-mismatch")


async def test_events_have_the_same_numbers_everywhere_and_are_replayed(
    doubled: Doubled, autojump_clock: Any
) -> None:
    streams = [front.front.broadcaster.subscribe() for front in (doubled.first, doubled.second)]
    await doubled.first.submit(b"one")
    await trio.sleep(0.5)
    pieces = [await stream.next() for stream in streams]
    assert pieces[0] == pieces[1]
    assert pieces[0] is not None
    run, _, number = pieces[0].split(b"\n")[0].removeprefix(b"id: ").partition(b"-")
    await doubled.second.submit(b"two")
    await doubled.second.die()
    async with open_front(doubled.house, 2) as third:
        back = third.front.broadcaster.subscribe(last_event_id=f"{run.decode()}-{number.decode()}")
        piece = await back.next()
        assert piece is not None
        assert b"event: job_created" in piece
        assert b"id: %s-%d\n" % (run, int(number) + 1) in piece
        gone = third.front.broadcaster.subscribe(last_event_id="another-1")
        assert b"event: resync" in (await gone.next() or b"")


async def test_statistics_are_sent_when_somebody_listens_anywhere(doubled: Doubled, autojump_clock: Any) -> None:
    await doubled.first.submit(b"nobody listens")
    await trio.sleep(3)
    before = doubled.house.parts.broadcaster.events
    with doubled.first.front.desk.streams.room("x"):
        stream = doubled.first.front.broadcaster.subscribe(types=frozenset({"stats_updated"}))
        await trio.sleep(0.1)
        await doubled.second.submit(b"somebody does")
        with trio.fail_after(5):
            assert b"event: stats_updated" in (await stream.next() or b"")
    assert before < doubled.house.parts.broadcaster.events


async def test_searches_health_and_backups_are_known_at_every_front(doubled: Doubled, autojump_clock: Any) -> None:
    assert (await doubled.first.call("POST", "/api/admin/orphans", {"dry_run": True}))[0] == 200
    for front in (doubled.first, doubled.second):
        assert (await front.call("GET", "/api/admin/orphans"))[1]["state"] in ("running", "done")
        assert (await front.call("GET", "/api/admin/backup"))[1]["status"] == "disabled"
        assert (await front.call("GET", "/api/health", headers={}))[1]["status"] == "healthy"
        assert (await front.call("POST", "/api/admin/backup/drill"))[1]["type"].endswith("backup-off")


async def test_the_first_link_works_once_in_all(doubled: Doubled, autojump_clock: Any) -> None:
    code = doubled.house.parts.first_link.code
    found = [
        (await front.call("GET", f"/auth/first?code={code}", headers={"Host": "localhost"}))[0]
        for front in (doubled.second, doubled.first)
    ]
    assert found == [303, 401]


async def test_a_bug_is_an_error_of_one_request(doubled: Doubled, autojump_clock: Any) -> None:
    mailbox = doubled.first.mailbox(To.HUB)
    with pytest.raises(Exception, match="is for a mailbox"):
        await ask(mailbox, Ping())
    assert (await doubled.first.call("GET", "/readyz", headers={}))[0] == 200


# ------------------------------------------------------------------ clients and fronts that go away


async def test_a_client_that_goes_away_holds_no_job(doubled: Doubled, autojump_clock: Any) -> None:
    await doubled.first.register()
    with trio.move_on_after(5):
        await doubled.second.claim_by_message(Claim(ADMIN, "w1", ("pdf",), wait=30.0))
    await trio.sleep(1)
    assert not doubled.second.front.questions.open, "nobody over there waits for it any more"
    job_id = await doubled.first.submit()
    assert (await doubled.first.claim(wait=5))["job"]["id"] == job_id


@pytest.mark.parametrize("key", [None, "its own"])
async def test_what_is_granted_to_one_who_has_just_gone(
    doubled: Doubled, autojump_clock: Any, key: str | None
) -> None:
    """The scheduler has granted the job, and the answer is under way when the client goes. With a claim key it will
    come again."""
    await doubled.first.register()
    job_id = await doubled.first.submit()
    reply: Reply[Granted] = Reply()
    claim: Any = Claim(ADMIN, "w1", ("pdf",), claim_key=key)
    doubled.second.stop_listening()
    doubled.second.front.questions.ask(To.SCHEDULER, Envelope(claim, reply))
    while (await doubled.first.job(job_id))["status"] != "running":
        await trio.sleep(0.01)
    assert reply.on_abandoned is not None
    reply.abandoned = True  # as when the wait for it is cancelled in this moment
    reply.on_abandoned()
    doubled.second.listens.set()
    await trio.sleep(1)
    found = await doubled.first.job(job_id)
    assert (found["status"], found["attempts"]) == (("pending", 0) if key is None else ("running", 1))
    assert not doubled.second.front.questions.open


async def test_a_front_that_dies_in_a_long_poll_holds_no_job(doubled: Doubled, autojump_clock: Any) -> None:
    await doubled.first.register()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(doubled.second.claim_by_message, Claim(ADMIN, "w1", ("pdf",), wait=30.0))
        await trio.sleep(1)
        await doubled.second.die()
        nursery.cancel_scope.cancel()
    job_id = await doubled.first.submit()
    assert (await doubled.first.claim(wait=5))["job"]["id"] == job_id
    assert doubled.second.trouble is None, "it ended by itself"


JUNK = {
    "no msgpack": b"\0\0\0\1\xc1",
    "too large": b"\xff" * 64,
    "in the middle": encoded(GaveUp(1))[:-1] + b"\xff" * 9,
}


@pytest.mark.parametrize("junk", sorted(JUNK))
async def test_a_broken_frame_ends_that_front_alone(doubled: Doubled, autojump_clock: Any, junk: str) -> None:
    doubled.second.link.send_encoded(JUNK[junk])
    await doubled.second.ended.wait()
    assert doubled.second.trouble is not None
    job_id = await doubled.first.submit()
    assert (await doubled.first.job(job_id))["status"] == "pending"


async def test_a_front_that_says_nothing_any_more_is_ended(doubled: Doubled, autojump_clock: Any) -> None:
    doubled.second.stop_listening()
    began = trio.current_time()
    await doubled.second.ended.wait()
    assert doubled.second.trouble == "it does not answer any more"
    assert 9 < trio.current_time() - began < 12
    assert not doubled.first.ended.is_set()


async def test_a_front_that_reads_nothing_is_ended(
    tmp_path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MOST_UNREAD", 3000)
    async with open_house(tmp_path / "data", fronts=2) as house, trio.open_nursery() as nursery:
        near, _unread = trio.testing.lockstep_stream_pair()
        ended = []

        async def serve() -> None:
            assert house.parts.hub is not None
            ended.append(await house.parts.hub.serve(1, near, opened=lambda: None))

        nursery.start_soon(serve)
        for number in range(50):
            await house.submit(b"%d" % number)
        await trio.lowlevel.checkpoint()
        assert ended == ["it does not read what it is sent"]


async def test_a_writer_that_is_stuck_is_no_fault_of_the_front(tmp_path: Path, autojump_clock: Any) -> None:
    """More is asked than the writer's mailbox holds: it waits on the way, and all is answered when it can be."""
    gate, folder = Gate(), tmp_path / "data"
    folder.mkdir()
    answered = []
    async with running(Settings(data_dir=str(folder), fronts=2), hop=gate, now=virtual_now) as parts:
        parts.url = "http://blobforge.test"
        async with open_front(House(parts, folder)) as front:

            async def one() -> None:
                answered.append(await ask(front.front.services.writer, Ping()))

            gate.open = trio.Event()
            async with trio.open_nursery() as nursery:
                for _ in range(5000):
                    nursery.start_soon(one)
                await trio.sleep(30)
                assert not answered
                gate.open.set()
            assert len(answered) == 5000
            assert not front.ended.is_set()


# ------------------------------------------------------------------ rights


async def make_token(front: FrontHouse) -> tuple[int, str]:
    made = (await front.call("POST", "/api/admin/tokens", {"name": "t", "scopes": ["read"]}))[1]
    return made["id"], made["token"]


async def test_a_token_that_was_revoked_is_refused_everywhere_at_once(doubled: Doubled, autojump_clock: Any) -> None:
    for _ in range(5):
        number, token = await make_token(doubled.first)
        for front in (doubled.first, doubled.second):
            assert (await front.call("GET", "/api/stats", token=token))[0] == 200
        assert (await doubled.first.call("DELETE", f"/api/admin/tokens/{number}"))[0] in (200, 204)
        assert (await doubled.second.call("GET", "/api/stats", token=token))[0] == 401
        assert (await doubled.first.call("GET", "/api/stats", token=token))[0] == 401


async def test_a_revocation_waits_for_every_front_or_for_its_end(doubled: Doubled, autojump_clock: Any) -> None:
    number, token = await make_token(doubled.first)
    assert (await doubled.second.call("GET", "/api/stats", token=token))[0] == 200
    doubled.second.stop_listening()
    began = trio.current_time()
    answers = []

    async def revoke() -> None:
        answers.append(await ask(doubled.first.front.services.writer, DeleteToken(number)))
        assert doubled.second.ended.is_set(), "it could still let the token in"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(revoke)
        await trio.sleep(1)
        assert not answers
        # Who has changed nothing does not wait.
        assert (await doubled.first.call("GET", "/readyz", headers={}))[0] == 200
        assert trio.current_time() - began < 1.5
    assert answers
    assert trio.current_time() - began < 4
    assert doubled.second.trouble == "it does not forget whose rights have changed"


async def test_no_change_of_rights_waits_for_a_front_that_only_starts(doubled: Doubled, autojump_clock: Any) -> None:
    """It lets nobody in before it was heard, and may take its time until then: but not for ever."""
    assert doubled.house.parts.hub is not None
    number, token = await make_token(doubled.first)
    near, far = trio.testing.memory_stream_pair()
    ended: list[str | None] = []

    async def serve() -> None:
        assert doubled.house.parts.hub is not None
        ended.append(await doubled.house.parts.hub.serve(3, near, opened=lambda: None))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await trio.sleep(1)
        began = trio.current_time()
        await ask(doubled.first.front.services.writer, DeleteToken(number))
        assert trio.current_time() - began < 0.1
        assert (await doubled.second.call("GET", "/api/stats", token=token))[0] == 401
        await trio.sleep(40)
        assert not ended
        link: Link[Any] = Link(far, ToFront, largest=1 << 26)
        await far.send_all(encoded(Here()))
        while not any(isinstance(frame, Begin) for frame in await link.receive()):
            pass
        # From now on it may know somebody.
        began = trio.current_time()
        await make_token(doubled.first)
        assert trio.current_time() - began > 1
        assert ended == ["it does not forget whose rights have changed"]


async def test_a_front_that_never_begins_is_ended(doubled: Doubled, autojump_clock: Any) -> None:
    assert doubled.house.parts.hub is not None
    near, _far = trio.testing.memory_stream_pair()
    began = trio.current_time()
    assert await doubled.house.parts.hub.serve(3, near, opened=lambda: None) == "it does not begin"
    assert 55 < trio.current_time() - began < 65


async def test_turns_are_shared_and_end_with_their_front(doubled: Doubled, autojump_clock: Any) -> None:
    inside: list[str] = []
    most = 0

    async def take(front: FrontHouse, name: str, seconds: float) -> None:
        nonlocal most
        async with front.front.desk.sessions._turns.turn("one"):
            inside.append(name)
            most = max(most, len(inside))
            await trio.sleep(seconds)
            inside.remove(name)

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(take, (doubled.first, doubled.second)[number % 2], str(number), 1.0)
        await trio.sleep(0.5)
        with trio.move_on_after(1):  # gives up before its turn
            await take(doubled.first, "impatient", 1.0)
    assert most == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, doubled.second, "dies", 1000.0)
        await trio.sleep(1)
        await doubled.second.die()
        inside.clear()
        with trio.fail_after(5):
            await take(doubled.first, "next", 1.0)
        nursery.cancel_scope.cancel()


async def test_a_session_is_not_idle_while_it_is_used_at_another_front(doubled: Doubled, autojump_clock: Any) -> None:
    """`session_idle=150`."""
    code = doubled.house.parts.first_link.code
    entered = await doubled.first.http.get(f"/auth/first?code={code}", headers={"Host": "localhost"})
    cookie = entered.headers["Set-Cookie"].split(";")[0]

    async def signed_in(front: FrontHouse) -> bool:
        headers = {"Host": "localhost", "Cookie": cookie}
        return bool((await front.call("GET", "/api/auth/info", headers=headers))[1]["authenticated"])

    assert await signed_in(doubled.first)
    for _ in range(4):
        await trio.sleep(61)
        assert await signed_in(doubled.second)
    assert await signed_in(doubled.first)
    await trio.sleep(151)
    assert not await signed_in(doubled.first)
    assert not await signed_in(doubled.second)


# ------------------------------------------------------------------ limits and counts


async def test_limits_hold_over_all_fronts(doubled: Doubled, autojump_clock: Any) -> None:
    """`max_long_polls=3`."""
    await doubled.first.register()
    async with trio.open_nursery() as nursery:
        got: list[Any] = []
        for front in (doubled.first, doubled.second, doubled.second):
            nursery.start_soon(claim_later, front, got)
        await trio.sleep(1)
        for front in (doubled.first, doubled.second):
            status, _ = await front.call("POST", "/api/jobs/claim", {"worker_id": "w1", "job_type": "pdf", "wait": 5})
            assert status == 429
        await doubled.second.die()
        await trio.sleep(0.1)
        with trio.move_on_after(1) as waited:
            await doubled.first.claim(wait=30)
        assert waited.cancelled_caught, "what the dead one held is free again"
        nursery.cancel_scope.cancel()


async def test_a_front_that_comes_later_knows_what_the_others_have(doubled: Doubled, autojump_clock: Any) -> None:
    with doubled.first.front.desk.connections.room("a"), doubled.second.front.desk.connections.room("a"):
        await trio.sleep(0.1)
        async with open_front(doubled.house, 3) as third:
            assert third.front.desk.connections.elsewhere == 2
        with doubled.first.front.desk.connections.room("b"):
            await trio.sleep(0.1)
            assert doubled.second.front.desk.connections.elsewhere == 2
    await trio.sleep(0.1)
    assert doubled.second.front.desk.connections.elsewhere == 0


async def test_guesses_are_counted_over_all_fronts(doubled: Doubled, autojump_clock: Any) -> None:
    statuses = []
    for number in range(BURST + 4):
        front = (doubled.first, doubled.second)[number % 2]
        statuses.append((await front.call("GET", "/api/stats", token="bf_" + "x" * 30))[0])
        await trio.sleep(0.02)
    assert statuses[:BURST] == [401] * BURST
    assert statuses[BURST:] == [429] * 4


async def test_metrics_are_the_sum_and_never_fall(doubled: Doubled, autojump_clock: Any) -> None:
    await doubled.first.register()
    for number in range(4):
        await (doubled.first, doubled.second)[number % 2].submit(b"%d" % number)
    await finish(doubled.second)
    name = 'blobforge_http_requests_total{code="201",route="POST /api/jobs"}'
    for front in (doubled.first, doubled.second):
        text = (await front.call("GET", "/metrics"))[1]
        assert metric(text, name) == 4
        assert metric(text, "blobforge_fronts") == 2
    await doubled.second.die()
    text = (await doubled.first.call("GET", "/metrics"))[1]
    assert metric(text, name) == 4
    assert metric(text, "blobforge_fronts") == 1
    doubled.first.front.desk.connections.room("x")
    assert metric(text, 'blobforge_limit_capacity{limit="long_polls"}') == 3


async def test_stopping_ends_streams_and_long_polls_of_all(doubled: Doubled, autojump_clock: Any) -> None:
    await doubled.first.register()
    stream = doubled.second.front.broadcaster.subscribe()
    got: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(claim_later, doubled.first, got, 60.0)
        await trio.sleep(1)
        began = trio.current_time()
        assert doubled.house.parts.hub is not None
        doubled.house.parts.scheduler.close()
        doubled.house.parts.hub.stop()
    assert got == [{"job": None}]
    assert await stream.next() is None
    assert trio.current_time() - began < 1
    async with open_front(doubled.house, 3) as late:
        with trio.fail_after(1):
            await late.front.stopped()
