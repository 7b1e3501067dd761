"""What is committed by several servers is told in one order, once, whoever brings it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest

from actors.broadcaster import Broadcaster
from actors.sequencer import Sequencer
from blobforge.events import Event, Fact, JobCreated, JobReady, LeaseRenewed
from blobforge.store.following import Entry


class Told:
    heeds = None

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.events: list[tuple[int | None, Event]] = []

    def post(self, facts: Sequence[Fact]) -> None:
        self.facts += facts

    async def publish(self, events: Sequence[Event], turn: int | None = None) -> None:
        self.events += [(turn, event) for event in events]


def of(n: int) -> Entry:
    return Entry(n, "a", 1000 + n, (JobCreated(n, "pdf", "pending"),), (JobReady("pdf", 1, 3), LeaseRenewed(n, n, n)))


def history() -> tuple[Sequencer, Told]:
    told = Told()
    made = Sequencer(told)
    made.listeners.append(told)
    return made, told


@pytest.mark.parametrize("order", list(permutations([1, 2, 3, 4])))
async def test_in_their_order_however_they_come(order: tuple[int, ...]) -> None:
    made, told = history()
    for n in order:
        made.take([of(n)])
        await made.publish()
    assert [fact.job_id for fact in told.facts if isinstance(fact, LeaseRenewed)] == [1, 2, 3, 4]
    assert [turn for turn, _ in told.events] == [1, 2, 3, 4]
    assert made.last == 4


async def test_once_however_often_they_come() -> None:
    made, told = history()
    made.take([of(1), of(2)])
    made.take([of(2), of(1)])
    made.take([of(2), of(3)])
    await made.publish()
    await made.publish()
    assert [turn for turn, _ in told.events] == [1, 2, 3]
    assert len(told.facts) == 6


async def test_what_is_behind_a_gap_waits() -> None:
    made, told = history()
    made.take([of(1), of(3)])
    assert made.last == 1
    made.take([of(2)])
    assert made.last == 3
    await made.publish()
    assert [turn for turn, _ in told.events] == [1, 2, 3]


async def stats() -> object:
    return {}


def at(turn: int, entries: Sequence[Entry] = (), *, replay: int = 100) -> Broadcaster:
    broadcaster = Broadcaster(replay=replay, queue=100, stats=stats)
    broadcaster.go_on_from(turn, entries)
    return broadcaster


async def ids(broadcaster: Broadcaster, last: str) -> list[str]:
    subscription = broadcaster.subscribe(last_event_id=last)
    broadcaster.unsubscribe(subscription)
    piece = await subscription.next() or b""
    return [line[4:].decode() for line in piece.split(b"\n") if line.startswith(b"id: ")]


async def test_an_id_of_one_server_is_good_at_another_and_after_a_restart() -> None:
    entries = [of(n) for n in range(5, 9)]
    first, second = at(8, entries), at(8, entries)
    for server in (first, second):
        assert await ids(server, "6.1") == ["7.1", "8.1"]
        assert await ids(server, "8.1") == []
        assert await ids(server, "4.1") == ["8.1"], "a resync: what was between is not kept"


async def test_an_id_of_before_the_first_turn_is_good_at_a_server_that_comes_later() -> None:
    assert await ids(at(2, [of(1), of(2)]), "0.0") == ["1.1", "2.1"]


async def test_what_was_read_at_a_server_that_is_ahead_is_not_given_again() -> None:
    behind = at(5, [of(5)])
    subscription = behind.subscribe(last_event_id="7.1")
    for n in (6, 7, 8):
        behind._send_all(of(n).events, n)
    behind.unsubscribe(subscription)
    piece = await subscription.next()
    assert piece is not None
    assert piece.count(b"id: ") == 1
    assert b"id: 8.1" in piece


@pytest.mark.parametrize("odd", ["", "x", "7", "7.", ".1", "-1.1", "7.1.1", "9999999999999.1", "7.\u0663x", "a1b2-5"])
async def test_an_odd_id_is_told_to_resync(odd: str) -> None:
    broadcaster = at(8, [of(7), of(8)])
    subscription = broadcaster.subscribe(last_event_id=odd or "?")
    broadcaster.unsubscribe(subscription)
    piece = await subscription.next()
    assert piece is not None
    assert b"event: resync" in piece


async def test_a_history_that_was_taken_up_anew_tells_everybody_to_resync() -> None:
    broadcaster = at(8, [of(8)])
    subscription = broadcaster.subscribe()
    broadcaster.go_on_from(6)
    broadcaster.unsubscribe(subscription)
    piece = await subscription.next()
    assert piece is not None
    assert b"event: resync" in piece
    assert b"id: 6.0" in piece
