"""What one server commits is known to the others: claims wake, repeats are answered, revocations reach, and events
are the same everywhere."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from actors.mailbox import ask
from blobforge.access import hash_secret
from blobforge.refusals import Refusal, RefusalCode
from blobforge.serve import following
from blobforge.store.errors import DatabaseError, OutcomeUnknown, StoreUnavailable
from blobforge.store.postgres.check import check
from tests.fixtures.local import LocalServer
from tests.several.house import House
from tests.web.calls import stream, token
from tests.web.test_events import is_stats
from web.presence import BEAT_SECONDS

SOON = 5.0  # seconds of virtual time: each server looks once a second


async def test_a_claim_that_waits_is_woken_by_a_submission_at_another(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b:
        await a.register("w1")
        given: list[Any] = []

        async def claim() -> None:
            given.append(await b.claim("w1", wait=20))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim)
            await trio.sleep(SOON)
            began = trio.current_time()
            job_id = await a.submit()
        assert given[0]["job"]["id"] == job_id
        assert trio.current_time() - began < SOON, "not when its time was over"


async def test_a_repeated_claim_is_answered_where_it_waits(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b:
        await a.register("w1")
        given: dict[str, Any] = {}

        async def claim(name: str, server: LocalServer) -> None:
            given[name] = await server.claim("w1", wait=20, claim_key="k")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim, "a", a)
            nursery.start_soon(claim, "b", b)
            await trio.sleep(SOON)
            job_id = await a.submit()
        assert {name: answer["job"]["id"] for name, answer in given.items()} == {"a": job_id, "b": job_id}
        assert len({answer["lease"] for answer in given.values()}) == 1


async def test_a_token_that_is_revoked_at_one_is_good_at_none(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b:
        await trio.sleep(SOON)
        reader = await token(a, "read")
        await trio.sleep(SOON)
        assert (await b.call("GET", "/api/jobs", token=reader))[0] == 200
        [(id_,)] = house.execute(f"SELECT id FROM tokens WHERE hash = '{hash_secret(reader)}'")
        assert (await a.call("DELETE", f"/api/tokens/{id_}"))[0] in (200, 204)
        assert (await b.call("GET", "/api/jobs", token=reader))[0] == 401


async def test_what_is_done_by_hand_at_one_is_told_by_the_others(house: House, autojump_clock: Any) -> None:
    """A token that is made is no event: the record of it has the pages of all servers fetched anew."""
    async with (
        house.server("a") as a,
        house.server("b") as b,
        stream(b, "?types=stats_updated") as events,
    ):
        with trio.move_on_after(SOON):  # what their starts have brought
            while True:
                await events.block()
        await token(a, "read")
        with trio.fail_after(SOON):
            while not is_stats(await events.block()):
                pass


async def test_events_have_one_order_and_one_id_at_all_servers(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b:
        streams = [server.parts.broadcaster.subscribe(types=frozenset({"job_created"})) for server in (a, b)]
        for number in range(6):
            await (a, b)[number % 2].submit(b"%d" % number)
        await trio.sleep(SOON)
        seen = []
        for server, stream in zip((a, b), streams, strict=True):
            server.parts.broadcaster.unsubscribe(stream)
            pieces = b""
            while (piece := await stream.next()) is not None:
                pieces += piece
            seen.append(pieces)
        assert seen[0] == seen[1]
        assert seen[0].count(b"event: job_created") == 6
        ids = [line.decode()[4:] for line in seen[0].split(b"\n") if line.startswith(b"id: ")]
        assert len(set(ids)) == 6
    async with house.server("c") as c:  # after a restart of all
        stream = c.parts.broadcaster.subscribe(last_event_id=ids[3], types=frozenset({"job_created"}))
        c.parts.broadcaster.unsubscribe(stream)
        piece = await stream.next()
        assert piece is not None
        assert [line.decode()[4:] for line in piece.split(b"\n") if line.startswith(b"id: ")] == ids[4:]


async def test_a_heartbeat_at_another_server_keeps_a_lease_and_silence_ends_it_once(
    house: House, autojump_clock: Any
) -> None:
    async with house.server("a") as a, house.server("b") as b, house.server("c") as c:
        timeout = a.parts.services.settings.worker_timeout
        await a.register("w1")
        job_id = await a.submit()
        beat = {"jobs": [{"job_id": job_id, "lease": (await a.claim("w1"))["lease"]}]}
        for _ in range(8):
            await trio.sleep(timeout / 2)
            status, _ = await b.call("POST", "/api/workers/w1/heartbeat", beat)
            assert status == 200
        assert (await c.job(job_id))["status"] == "running"
        await trio.sleep(timeout * 3)
        assert house.execute(f"SELECT count(*) FROM attempts WHERE job_id = {job_id} AND outcome = 'lost'") == [(1,)]
        assert (await c.job(job_id))["status"] in ("pending", "failed")


async def test_the_time_of_turns_goes_on_at_half_the_pace_where_it_is_ahead_of_the_clock(
    house: House, autojump_clock: Any
) -> None:
    async with house.server("a") as a:
        await a.submit(b"1")
        house.execute("UPDATE turn SET at = at + 3 * 3600000")  # by a server whose clock was wrong
        for content in (b"2", b"3"):
            await a.submit(content)
            await trio.sleep(600)
    first, ahead, later = (at for (at,) in house.execute("SELECT created_at FROM jobs ORDER BY id"))
    assert ahead - first > 3_000_000
    assert 300_000 <= later - ahead < 301_000


async def test_one_of_them_samples_and_keeps_house(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b:
        await trio.sleep(SOON * 3)
        assert sorted(server.parts.presence.rank() for server in (a, b)) == [0, 1]
    async with house.server("b") as b:
        await trio.sleep(SOON * 3)
        assert b.parts.presence.rank() == 0


@pytest.mark.parametrize("error", [StoreUnavailable, OutcomeUnknown])
async def test_while_the_database_is_away_writes_are_refused_and_claims_wait(
    house: House, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, error: type[StoreUnavailable]
) -> None:
    async with house.server("a") as a:
        await a.register("w1")
        store: Any = a.parts.writer._store

        def away(*_: Any, **__: Any) -> Any:
            raise error("the database is away")

        given: list[Any] = []

        async def claim() -> None:
            given.append((await a.claim("w1", wait=30), trio.current_time()))

        with monkeypatch.context() as patched:
            patched.setattr(store, "transaction", away)
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(claim)
                await trio.sleep(SOON)
                status, answer = await a.call("POST", "/api/workers/w1/heartbeat", {})
                assert status == 503
                assert ("nothing was changed" in answer["detail"]) == (error is StoreUnavailable)
                assert not given, "a claim that may wait does so"
                patched.undo()
                job_id = await a.submit()
                began = trio.current_time()
        taken = [(answer["job"]["id"], at) for answer, at in given if answer["job"] is not None]
        assert [job for job, _ in taken] == [job_id]
        assert taken[0][1] - began < SOON
        assert len(given) == 3


async def announced(server: LocalServer, content: bytes) -> int:
    """A job whose source is still to come."""
    asked = {"type": "pdf", "source_hash": hashlib.sha256(content).hexdigest(), "source_size": len(content)}
    status, answer = await server.call("POST", "/api/jobs", asked)
    assert (status, answer["status"]) == (201, "uploading")
    return int(answer["job_id"])


@pytest.mark.parametrize("missed", [False, True])
async def test_a_source_that_a_server_had_announced_is_looked_for_when_that_is_gone(
    house: House, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch, missed: bool
) -> None:
    async with house.server("a") as a:
        if missed:  # it was never heard of
            monkeypatch.setattr(a.parts.presence, "on_change", lambda: None)
        async with house.server("b") as b:
            await trio.sleep(BEAT_SECONDS * 2)
            job_id = await announced(b, b"late")
        await a.source(b"late")
        await trio.sleep(following.LEFT_SECONDS * 1.5 if missed else BEAT_SECONDS * 4)
        assert (await a.job(job_id))["status"] == "pending"


async def test_a_fork_is_settled_when_the_database_can_be_written_again(
    house: House, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.server("a") as a:
        await a.register("w1")
        job_id = await a.submit()
        await a.claim("w1")
        asked: list[Any] = []

        async def away(*given: Any) -> Any:
            asked.append(given)
            if len(asked) == 1:
                return Refusal(RefusalCode.UNAVAILABLE, "away")
            if len(asked) == 2:
                raise ValueError("a bug")
            return await ask(*given)

        monkeypatch.setattr(following, "ask", away)
        a.parts.writer.sequencer.meet_fork(1)
        await following.settled(a.parts)
        assert len(asked) >= 2  # no third, where another message of the server was settled before
        job = await a.job(job_id)
        assert job["status"] == "pending"
        assert house.execute("SELECT count(*) FROM audit WHERE action = 'history.forked'") == [(1,)]


async def test_nothing_is_given_a_number_before_a_fork_is_settled(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a:
        before = await a.submit()
        a.parts.writer.sequencer.meet_fork(1)
        assert await a.submit(b"another") > before + 1_000_000
        assert a.parts.writer.sequencer.settled == 1
        assert house.execute("SELECT count(*) FROM audit WHERE action = 'history.forked'") == [(1,)]


async def test_a_fork_is_settled_by_whichever_server_has_lost_something(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b:
        await trio.sleep(BEAT_SECONDS * 2)
        assert (a.parts.presence.rank(), b.parts.presence.rank()) == (0, 1)
        b.parts.writer.sequencer.meet_fork(1)
        await trio.sleep(SOON)
        assert house.execute("SELECT count(*) FROM audit WHERE action = 'history.forked'") == [(1,)]


SETTLED = "SELECT count(*) FROM audit WHERE action = 'history.forked'"
# The last entry goes, and its number is given again to another.
FORK = """
    DELETE FROM log WHERE n = (SELECT n FROM turn);
    UPDATE turn SET n = n - 1"""


@pytest.mark.parametrize("first", ["writer", "follower"])
async def test_a_fork_is_settled_once_whichever_part_of_the_server_meets_it(
    house: House, autojump_clock: Any, first: str
) -> None:
    async with house.server("a") as a:
        await a.register("w1")
        await trio.sleep(SOON)
        await a.submit()
        sequencer = a.parts.writer.sequencer
        house.execute(FORK)
        if first == "writer":
            for _ in range(2):  # it fails, and is made once more behind the settlement
                await a.call("POST", "/api/workers/w1/heartbeat", {})
            assert sequencer.settled == 1
        await trio.sleep(SOON)
        assert (sequencer.fork, sequencer.settled) == (1, 1)
        job_id = (await a.claim("w1"))["job"]["id"]
        await trio.sleep(SOON * 2)
        await a.call("POST", "/api/workers/w1/heartbeat", {})
        assert (sequencer.fork, sequencer.settled) == (1, 1)
        assert house.execute(SETTLED) == [(1,)]
        assert (await a.job(job_id))["status"] == "running", "a lease of after the settlement stands"


@pytest.mark.parametrize("second", ["writer", "follower"])
async def test_a_fork_that_two_servers_have_met_is_settled_by_the_first(
    house: House, autojump_clock: Any, second: str
) -> None:
    """The second one reads everything anew. What the first one has given out meanwhile stands."""
    async with house.server("a") as a, house.server("b") as b:
        await a.register("w1")
        await a.submit()
        await trio.sleep(SOON)
        house.execute(FORK)
        for _ in range(2):  # it fails, and is made once more behind the settlement
            await a.call("POST", "/api/workers/w1/heartbeat", {})
        given = await a.claim("w1")
        job_id = given["job"]["id"]
        if second == "writer":
            for _ in range(2):
                await b.call("POST", "/api/workers/w1/heartbeat", {})
        await trio.sleep(SOON)
        assert [each.parts.writer.sequencer.settled for each in (a, b)] == [1, 1]
        assert house.execute(SETTLED) == [(1,)]
        assert (await a.job(job_id))["status"] == "running"
        beat = {"jobs": [{"job_id": job_id, "lease": given["lease"]}]}
        assert (await b.call("POST", "/api/workers/w1/heartbeat", beat))[0] == 200
        await a.register("w2")
        await trio.sleep(SOON)
        house.execute(FORK)
        await trio.sleep(SOON)
        assert [each.parts.writer.sequencer.settled for each in (a, b)] == [2, 2]
        assert house.execute(SETTLED) == [(2,)], "the next fork is another one"
        assert (await a.job(job_id))["status"] == "pending"


async def test_what_is_committed_while_everything_is_read_anew_is_told_once(
    house: House, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.server("a") as a:
        follower, sequencer = a.parts.follower, a.parts.writer.sequencer
        assert follower is not None
        source: Any = follower._source
        stream = a.parts.broadcaster.subscribe(types=frozenset({"job_created"}))
        places: list[int] = []
        latest, went_on = source.latest, sequencer.go_on_from

        async def hop(read: Any) -> Any:
            found = read()
            if read == latest:
                await a.submit()  # behind what was asked
            return found

        def go_on_from(n: int) -> None:
            places.append(n - sequencer.last)
            went_on(n)

        monkeypatch.setattr(sequencer, "go_on_from", go_on_from)
        await following._take_up(source, a.parts, hop=hop)
        assert places == [0], "it is not set back"
        stream.close()


async def test_what_is_left_is_taken_up_also_where_the_first_try_failed(
    house: House, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house.server("a") as a:
        async with house.server("b") as b:
            await trio.sleep(BEAT_SECONDS * 2)
            job_id = await announced(b, b"late")
            run, failed = a.parts.reads.run, []

            async def away(read: Any) -> Any:
                if not failed:
                    failed.append(True)
                    raise DatabaseError("away")
                return await run(read)

            monkeypatch.setattr(a.parts.reads, "run", away)
        await a.source(b"late")
        await trio.sleep(BEAT_SECONDS * 4)
        assert failed
        assert (await a.job(job_id))["status"] == "pending"


async def test_a_server_that_is_too_old_to_write_leaves_its_place(house: House, autojump_clock: Any) -> None:
    async with house.server("a") as a, house.server("b") as b:
        await trio.sleep(BEAT_SECONDS * 2)
        house.execute("UPDATE turn SET oldest = 1000")
        assert (await a.call("POST", "/api/workers/register", {"id": "w1", "type": "pdf"}))[0] == 503
        assert a.parts.writer.outdated
        house.execute("UPDATE turn SET oldest = 1")
        await trio.sleep(BEAT_SECONDS * 4)
        assert b.parts.presence.rank() == 0
        assert a.parts.presence.rank() > 0, "it keeps no house any more"
        assert [number for number in range(8) if a.parts.presence.is_mine(number)] == []


async def test_a_type_that_is_paused_at_one_is_paused_at_all_from_that_turn_on(
    house: House, autojump_clock: Any
) -> None:
    """No server has to hear of it first: it is read with the turn in which a claim is decided."""
    async with house.server("a") as a, house.server("b") as b:
        await a.register("w1")
        await b.register("w2")
        for number in range(3):
            await a.submit(b"%d" % number)
        assert (await b.claim("w2"))["job"] is not None  # it remembers that nothing is set
        given: list[Any] = []

        async def claim() -> None:
            given.append(await b.claim("w1", wait=20))

        async with trio.open_nursery() as nursery:
            assert (await a.call("POST", "/api/types/pdf/pause", {"reason": "broken"}))[0] == 200
            assert (await b.claim("w1"))["job"] is None
            nursery.start_soon(claim)
            await trio.sleep(SOON)
            assert given == []
            began = trio.current_time()
            assert (await a.call("POST", "/api/types/pdf/resume"))[0] == 200
        assert given[0]["job"] is not None
        assert trio.current_time() - began < SOON
        assert (await b.call("GET", "/api/types/pdf"))[1]["paused"] is False


async def test_labels_hold_at_all_servers_and_a_claim_that_waits_at_another_is_woken(
    house: House, autojump_clock: Any
) -> None:
    """A set of requirements that is made at one, and the labels of a worker that registers there anew."""
    async with house.server("a") as a, house.server("b") as b:
        await a.register("plain")
        await a.call("POST", "/api/workers/register", {"id": "gpu", "type": "pdf", "labels": ["gpu"]})
        given: dict[str, Any] = {}

        async def claim(worker: str) -> None:
            given[worker] = (await b.claim(worker, wait=30))["job"]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(claim, "plain")
            nursery.start_soon(claim, "gpu")
            await trio.sleep(SOON)
            began = trio.current_time()
            job_id = await a.submit(b"one", requires=["gpu"])
            while "gpu" not in given:
                await trio.sleep(0.01)
            assert trio.current_time() - began < SOON
            assert given["gpu"]["id"] == job_id
            other = await a.submit(b"two", requires=["gpu"])
            await trio.sleep(SOON)
            assert "plain" not in given
            await a.call("POST", "/api/workers/register", {"id": "plain", "type": "pdf", "labels": {"gpu": True}})
        assert given["plain"]["id"] == other
        assert (await b.claim("gpu"))["job"] is None


async def test_a_job_that_was_to_wait_is_given_out_elsewhere_when_its_time_comes(
    house: House, autojump_clock: Any
) -> None:
    """Submitted at one, waited for at the other; the other one is alone when the time comes."""
    async with house.server("b") as b:
        async with house.server("a") as a:
            await a.register("w1")
            start = datetime.fromtimestamp(a.parts.now() / 1000 + 60, UTC)
            job_id = await a.submit(not_before=start.isoformat())
            await trio.sleep(SOON)
            _, stats = await b.call("GET", "/api/stats")
            assert (stats["deferred_jobs"], stats["oldest_pending_seconds"]) == (1, None)
            assert (await b.job(job_id))["waiting"]["code"] == "not-before"
            _, attention = await b.call("GET", "/api/stats/attention")
            assert attention["queues"] == []
        assert (await b.claim("w1", wait=10))["job"] is None
        granted = await b.claim("w1", wait=60)
        assert granted["job"]["id"] == job_id
        assert b.parts.now() / 1000 >= start.timestamp()
        assert (await b.call("GET", "/api/stats"))[1]["deferred_jobs"] == 0
    assert check(house.url) == []
