"""What the follower does when the database was away, or when the thread is lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio

from actors.follower import LOOK_SECONDS, Follower
from actors.sequencer import Sequencer
from blobforge.events import Event, Fact, LeaseRenewed, WritesResumed
from blobforge.machinery.hop import in_place
from blobforge.store.errors import HistoryForked, StoreUnavailable
from blobforge.store.following import Entry


class Source:
    """Each read gives, or raises, the next of these; then there is nothing."""

    def __init__(self, *answers: list[Entry] | Exception) -> None:
        self.answers = list(answers)

    def latest(self) -> int:
        return 0

    def read(self, after: int, limit: int) -> list[Entry]:
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    def wait(self, seconds: float) -> None: ...
    def wake(self) -> None: ...
    def close(self) -> None: ...


class Told:
    heeds = None

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def post(self, facts: Sequence[Fact]) -> None:
        self.facts += facts

    async def publish(self, events: Sequence[Event], turn: int | None = None) -> None: ...


async def followed(source: Source, rebuild: Any) -> Told:
    told = Told()
    sequencer = Sequencer(told)
    sequencer.listeners.append(told)
    follower = Follower(source, sequencer, rebuild=rebuild, hop=in_place)
    with trio.move_on_after(LOOK_SECONDS * 8):
        await follower.run()
    return told


async def nothing(forked: bool) -> None: ...


async def test_after_an_outage_each_server_grants_a_fresh_period(autojump_clock: Any) -> None:
    told = await followed(Source(StoreUnavailable("away"), [], []), nothing)
    assert told.facts == [WritesResumed()]
    assert (await followed(Source([], []), nothing)).facts == []


async def test_a_fork_that_could_not_be_settled_is_not_forgotten(autojump_clock: Any) -> None:
    asked: list[bool] = []

    async def rebuild(forked: bool) -> None:
        asked.append(forked)
        if len(asked) < 3:
            raise StoreUnavailable("away")

    await followed(Source(HistoryForked("lost", 1), [], []), rebuild)
    assert asked == [True, True, True]


async def test_a_fork_that_is_told_of_while_everything_is_read_anew_is_not_forgotten(autojump_clock: Any) -> None:
    asked: list[bool] = []
    told = Told()
    sequencer = Sequencer(told)

    async def rebuild(forked: bool) -> None:
        asked.append(forked)
        if len(asked) == 1:
            sequencer.meet_fork(1)  # the writer has met it

    pruned = Source([Entry(7, "b", 1, (), (LeaseRenewed(1, 1, 1),))], [])
    follower = Follower(pruned, sequencer, rebuild=rebuild, hop=in_place)
    with trio.move_on_after(LOOK_SECONDS * 8):
        await follower.run()
    assert asked == [False, True]


async def test_a_fork_that_the_writer_meets_and_the_follower_as_well_is_one(autojump_clock: Any) -> None:
    asked: list[bool] = []
    told = Told()
    sequencer = Sequencer(told)

    async def rebuild(forked: bool) -> None:
        asked.append(forked)

    class Late(Source):
        """The writer meets the fork, and settles it, while this is read."""

        def read(self, after: int, limit: int) -> list[Entry]:
            if not asked and not sequencer.fork:
                sequencer.meet_fork(1)
                sequencer.settled = 1
            return super().read(after, limit)

    follower = Follower(Late(HistoryForked("lost", 1), []), sequencer, rebuild=rebuild, hop=in_place)
    with trio.move_on_after(LOOK_SECONDS * 8):
        await follower.run()
    assert asked == [True]
    assert sequencer.settled == sequencer.fork, "it is not settled anew"


async def test_a_fork_that_is_met_while_everything_is_read_anew_is_settled(autojump_clock: Any) -> None:
    asked: list[bool] = []
    sequencer = Sequencer(Told())

    async def rebuild(forked: bool) -> None:
        asked.append(forked)
        if len(asked) == 1:
            raise HistoryForked("lost", 1)

    pruned = Source([Entry(7, "b", 1, (), (LeaseRenewed(1, 1, 1),))], [])
    follower = Follower(pruned, sequencer, rebuild=rebuild, hop=in_place)
    with trio.move_on_after(LOOK_SECONDS * 8):
        await follower.run()
    assert asked == [False, True]
    assert sequencer.settled < sequencer.fork


async def test_what_is_not_known_has_everything_read_anew(autojump_clock: Any) -> None:
    asked: list[bool] = []

    async def rebuild(forked: bool) -> None:
        asked.append(forked)

    entries = [Entry(1, "b", 1, (), (LeaseRenewed(1, 1, 1),)), Entry(2, "b", 1, (), (), known=False)]
    told = await followed(Source(entries, []), rebuild)
    assert told.facts == [LeaseRenewed(1, 1, 1)]
    assert asked == [False]


async def test_so_does_what_was_pruned_before_it_was_read(autojump_clock: Any) -> None:
    asked: list[bool] = []

    async def rebuild(forked: bool) -> None:
        asked.append(forked)

    told = await followed(Source([Entry(7, "b", 1, (), (LeaseRenewed(1, 1, 1),))], []), rebuild)
    assert asked == [False]
    assert told.facts == []
