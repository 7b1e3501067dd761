"""Event streams: ids, what is replayed, and who is told to fetch everything anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import trio
import trio.lowlevel
import trio.testing

from actors.broadcaster import PIECE_BYTES, REPLAY_BYTES, TURN_SECONDS, TURNS, Broadcaster, Subscription
from blobforge.events import Audited, JobCreated, JobProgress, JobUpdated, WorkerOnline
from blobforge.store.errors import DatabaseError
from tests.fixtures.local import LocalServer

ALL_BUT_STATS = frozenset({"job_created", "job_updated", "worker_online"})


@asynccontextmanager
async def broadcasting(
    *, replay: int = 100, queue: int = 100, stats: Callable[[], Awaitable[object]] | None = None
) -> AsyncIterator[Broadcaster]:
    async def at_once() -> dict[str, int]:
        return {"total_jobs": 5}

    broadcaster = Broadcaster(replay=replay, queue=queue, stats=stats or at_once)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(broadcaster.run)
        yield broadcaster
        nursery.cancel_scope.cancel()


async def publish(broadcaster: Broadcaster, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await broadcaster.publish([JobCreated(number, "pdf", "pending")])
    await trio.testing.wait_all_tasks_blocked()


async def read(subscription: Subscription, *, within: float = 0.5) -> list[tuple[str, str, Any]]:
    """(id, name, data) of all that comes within the time."""
    frames = []
    with trio.move_on_after(within):
        while (frame := await subscription.next()) is not None:
            for block in frame.decode().strip().split("\n\n"):
                id_, name, data = (line.split(": ", 1)[1] for line in block.split("\n"))
                frames.append((id_, name, msgspec.json.decode(data)["data"]))
    return frames


def jobs(frames: list[tuple[str, str, Any]]) -> list[int]:
    return [data["job_id"] for _, name, data in frames if name == "job_created"]


async def test_ids_count_up_and_a_client_that_comes_back_misses_nothing(autojump_clock: Any) -> None:
    async with broadcasting() as broadcaster:
        first = broadcaster.subscribe(types=ALL_BUT_STATS)
        await publish(broadcaster, 1, 3)
        seen = await read(first)
        assert jobs(seen) == [1, 2, 3]
        assert len({id_ for id_, _, _ in seen}) == 3
        broadcaster.unsubscribe(first)
        await publish(broadcaster, 4, 6)
        for id_, _, data in seen:
            again = broadcaster.subscribe(last_event_id=id_, types=ALL_BUT_STATS)
            await publish(broadcaster, 7, 7) if data["job_id"] == 1 else None
            assert jobs(await read(again)) == list(range(data["job_id"] + 1, 8))
            broadcaster.unsubscribe(again)
        assert broadcaster.subscribers == 0


@pytest.mark.parametrize("kind", ["too old", "another run", "the future", "nonsense", "-", "x-1-2"])
async def test_what_is_no_longer_known_is_a_resync(autojump_clock: Any, kind: str) -> None:
    async with broadcasting(replay=5) as broadcaster:
        first = broadcaster.subscribe(types=ALL_BUT_STATS)
        await publish(broadcaster, 1, 1)
        ((id_, _, _),) = await read(first)
        run = id_.partition("-")[0]
        await publish(broadcaster, 2, 20)
        asked = {"too old": id_, "another run": "0badf00d-3", "the future": f"{run}-{10**6}", "nonsense": "\u0663"}
        back = broadcaster.subscribe(last_event_id=asked.get(kind, kind), types=ALL_BUT_STATS)
        await publish(broadcaster, 21, 21)
        frames = await read(back)
        assert [name for _, name, _ in frames] == ["resync", "job_created"]
        # From the id that came with the resync one can go on.
        again = broadcaster.subscribe(last_event_id=frames[-1][0], types=ALL_BUT_STATS)
        await publish(broadcaster, 22, 22)
        assert jobs(await read(again)) == [22]


async def test_the_edge_of_the_window(autojump_clock: Any) -> None:
    async with broadcasting(replay=5) as broadcaster:
        first = broadcaster.subscribe()
        await publish(broadcaster, 1, 10)
        ids = [id_ for id_, name, _ in await read(first, within=0.0001) if name == "job_created"]
        broadcaster.unsubscribe(first)
        await trio.sleep(5)
        inside = broadcaster.subscribe(last_event_id=ids[5], types=ALL_BUT_STATS)
        outside = broadcaster.subscribe(last_event_id=ids[2], types=ALL_BUT_STATS)
        assert jobs(await read(inside)) == [7, 8, 9, 10]
        assert [name for _, name, _ in await read(outside)] == ["resync"]


async def test_who_lags_is_cut_short_and_told(autojump_clock: Any) -> None:
    async with broadcasting(queue=3) as broadcaster:
        slow = broadcaster.subscribe(types=ALL_BUT_STATS)
        quick = broadcaster.subscribe(types=ALL_BUT_STATS)
        got = []
        for number in range(1, 11):
            await publish(broadcaster, number, number)
            got += jobs(await read(quick, within=0.001))
        assert got == list(range(1, 11))  # the others do not wait for the slow one
        frames = await read(slow)
        assert [name for _, name, _ in frames] == ["resync"]
        assert broadcaster.dropped == 1
        await publish(broadcaster, 11, 11)
        assert jobs(await read(slow)) == [11]  # and goes on from there


async def test_what_has_gathered_comes_in_one_piece(autojump_clock: Any) -> None:
    async with broadcasting() as broadcaster:
        reader = broadcaster.subscribe(types=ALL_BUT_STATS)
        await publish(broadcaster, 1, 50)
        piece = await reader.next()
        assert piece is not None
        assert piece.count(b"event: job_created") == 50
        await broadcaster.publish([WorkerOnline("w" * PIECE_BYTES, "pdf")] * 3)
        await publish(broadcaster, 51, 51)
        sizes = [len(await reader.next() or b"") for _ in range(4)]
        assert [size > PIECE_BYTES for size in sizes] == [True, True, True, False]


async def test_a_replay_may_be_longer_than_the_queue(autojump_clock: Any) -> None:
    async with broadcasting(queue=3) as broadcaster:
        await publish(broadcaster, 1, 1)
        first = broadcaster.subscribe(last_event_id=f"{broadcaster._run}-0", types=ALL_BUT_STATS)
        ((id_, _, _),) = await read(first)
        await publish(broadcaster, 2, 50)
        back = broadcaster.subscribe(last_event_id=id_, types=ALL_BUT_STATS)
        await publish(broadcaster, 51, 53)
        assert jobs(await read(back)) == list(range(2, 54))


async def test_a_queue_longer_than_the_replay(autojump_clock: Any) -> None:
    async with broadcasting(replay=2, queue=20) as broadcaster:
        slow = broadcaster.subscribe(types=ALL_BUT_STATS)
        await publish(broadcaster, 1, 15)
        assert jobs(await read(slow, within=0.01)) == list(range(1, 16))
        back = broadcaster.subscribe(last_event_id=f"{broadcaster._run}-10", types=ALL_BUT_STATS)
        assert [name for _, name, _ in await read(back)] == ["resync"]


async def test_a_thousand_take_turns(autojump_clock: Any) -> None:
    """Nobody waits longer than all others take, and in between there is room for other work."""
    async with broadcasting() as broadcaster, trio.open_nursery() as nursery:
        read_at: list[float] = []

        async def listen() -> None:
            subscription = broadcaster.subscribe(types=ALL_BUT_STATS)
            while await subscription.next():
                read_at.append(trio.current_time())

        for _ in range(1000):
            nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await publish(broadcaster, 1, 1)
        await trio.sleep(1000 * TURN_SECONDS)
        assert len(read_at) == 1000
        assert max(Counter(read_at).values()) <= TURNS
        assert read_at[0] == began
        read_at.clear()
        for number in range(50):  # while they take turns, more happens: it comes along with the next turn
            await publish(broadcaster, number, number)
            await trio.sleep(1000 * TURN_SECONDS / 10)
        await trio.sleep(1)
        assert len(read_at) <= 1000 * 7
        nursery.cancel_scope.cancel()


async def test_who_never_reads_costs_nothing(autojump_clock: Any) -> None:
    async with broadcasting(replay=10, queue=5) as broadcaster:
        stalled = [broadcaster.subscribe() for _ in range(50)]
        reader = broadcaster.subscribe(types=ALL_BUT_STATS)
        for number in range(200):
            await publish(broadcaster, number, number)
            assert jobs(await read(reader, within=0.01)) == [number]
        assert len(broadcaster._window) == 10
        assert not broadcaster._line
        assert [name for _, name, _ in await read(stalled[0], within=0.01)] == ["resync"]
        assert broadcaster.dropped == 1


async def test_filters(autojump_clock: Any) -> None:
    async with broadcasting() as broadcaster:
        by_type = broadcaster.subscribe(types=frozenset({"worker_online"}))
        by_job = broadcaster.subscribe(job=2)
        await broadcaster.publish([WorkerOnline("w", "pdf"), JobCreated(1, "a", "pending")])
        await broadcaster.publish([JobCreated(2, "a", "pending"), JobUpdated(2, "a", "running", worker_id="w")])
        online = await read(by_type)
        assert [name for _, name, _ in online] == ["worker_online"]
        assert online[0][2] == {"worker_id": "w", "type": "pdf", "status": "online"}
        assert [name for _, name, _ in await read(by_job)] == ["job_created", "job_updated"]
        again = broadcaster.subscribe(last_event_id=online[0][0], job=1)
        assert jobs(await read(again)) == [1]  # filters hold for what is replayed, too


async def test_statistics_are_sent_once_a_second_at_most_and_only_after_changes(autojump_clock: Any) -> None:
    async with broadcasting() as broadcaster:
        stats = broadcaster.subscribe(types=frozenset({"stats_updated"}))
        times = []

        async def note() -> None:
            while await stats.next() is not None:
                times.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note)
            for number in range(50):  # for five seconds, ten a second
                await publish(broadcaster, number, number)
                await trio.sleep(0.1)
            busy = len(times)
            await trio.sleep(2)
            quiet = len(times)
            await trio.sleep(1000)
            assert len(times) == quiet <= busy + 1
            nursery.cancel_scope.cancel()
        assert 5 <= busy <= 6
        assert all(later - earlier >= 1 - 1e-6 for earlier, later in pairwise(times))


async def test_what_was_done_by_hand_is_a_change_although_no_event_tells_of_it(autojump_clock: Any) -> None:
    async with broadcasting() as broadcaster:
        stats = broadcaster.subscribe(types=frozenset({"stats_updated"}))
        for _ in range(2):
            began = trio.current_time()
            for _ in range(20):
                broadcaster.post([Audited()])
            with trio.fail_after(2):
                assert b"stats_updated" in (await stats.next() or b"")
            assert trio.current_time() - began <= 1
        with trio.move_on_after(1000) as quiet:
            await stats.next()
        assert quiet.cancelled_caught


async def test_what_changes_while_statistics_are_read_is_told_by_the_next(autojump_clock: Any) -> None:
    changes = 0

    async def slow() -> dict[str, int]:
        seen = changes
        await trio.sleep(5)
        return {"changes": seen}

    async with broadcasting(stats=slow) as broadcaster:
        stats = broadcaster.subscribe(types=frozenset({"stats_updated"}))
        for _ in range(3):
            changes += 1
            broadcaster.post([Audited()])
            await trio.sleep(1.5)
        assert [data["changes"] for _, _, data in await read(stats, within=1000)] == [1, 3]


async def test_what_cannot_be_read_while_the_database_is_away_is_told_when_it_is_back(autojump_clock: Any) -> None:
    reads: list[float] = []

    async def away() -> dict[str, int]:
        reads.append(trio.current_time())
        if len(reads) < 4:
            raise DatabaseError("away")
        return {"reads": len(reads)}

    async with broadcasting(stats=away) as broadcaster:
        stats = broadcaster.subscribe(types=frozenset({"stats_updated"}))
        broadcaster.post([Audited()])
        assert [data for _, _, data in await read(stats, within=1000)] == [{"reads": 4}]
    assert [later - earlier for earlier, later in pairwise(reads)] == pytest.approx([1, 1, 1])


async def test_what_was_done_while_no_stream_was_open_is_told_to_one_that_comes_back(autojump_clock: Any) -> None:
    """As a browser does that opens another stream, for a further tab: in between it has none."""
    wanted = frozenset({"stats_updated"})
    async with broadcasting() as broadcaster:
        stats = broadcaster.subscribe(types=wanted)
        broadcaster.post([Audited()])
        ((seen, _, _),) = await read(stats)
        for missed in (1, 0):
            broadcaster.unsubscribe(stats)
            if missed:
                broadcaster.post([Audited()])
            await trio.sleep(5)
            stats = broadcaster.subscribe(last_event_id=seen, types=wanted)
            told = await read(stats, within=1000)
            assert len(told) == missed
            seen = told[-1][0] if told else seen


async def test_closing_ends_every_stream_now_and_later(autojump_clock: Any) -> None:
    async with broadcasting() as broadcaster:
        waiting = broadcaster.subscribe(types=ALL_BUT_STATS)
        queued = broadcaster.subscribe(types=ALL_BUT_STATS)
        ended = trio.Event()

        async def until_the_end() -> None:
            while await waiting.next() is not None:
                pass
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(until_the_end)
            await publish(broadcaster, 1, 2)
            broadcaster.close()
            with trio.fail_after(1):
                await ended.wait()
        assert jobs(await read(queued)) == [1, 2]
        assert await queued.next() is None
        assert await broadcaster.subscribe().next() is None


async def test_events_after_closing_hurt_nobody(autojump_clock: Any) -> None:
    """The writer still drains while the streams have ended."""
    async with broadcasting() as broadcaster:
        broadcaster.subscribe()
        broadcaster.close()
        late = broadcaster.subscribe()
        await publish(broadcaster, 1, 3)
        await trio.sleep(5)
        assert await late.next() is None


async def test_the_replay_window_is_bounded_by_size_too(autojump_clock: Any) -> None:
    async def none() -> None:
        pass

    broadcaster = Broadcaster(replay=100_000, queue=10, stats=none)
    progress = msgspec.Raw(b'{"text":"' + b"x" * 100_000 + b'"}')
    for _ in range(1000):
        broadcaster._send("job_progress", 1, JobProgress(1, "pdf", "running", "w1", progress))
    assert sum(len(frame.data) for frame in broadcaster._window) <= REPLAY_BYTES


async def test_a_slow_read_of_statistics_holds_up_no_write(local: LocalServer, autojump_clock: Any) -> None:
    """The broadcaster waited for it, and the writer for the broadcaster."""

    async def never() -> None:
        await trio.sleep_forever()

    local.parts.broadcaster._stats = never
    subscription = local.parts.broadcaster.subscribe()
    await local.register()
    await trio.sleep(2)  # the statistics are being read
    with trio.fail_after(60):
        for _ in range(600):  # more commits than the broadcaster's mailbox holds
            await local.register()
    local.parts.broadcaster.unsubscribe(subscription)
