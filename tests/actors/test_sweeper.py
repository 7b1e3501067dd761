"""What came into the store and was never taken goes by itself, every hour; what somebody may wait for stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from actors.sweeper import FIRST_SWEEP, PARTS_GRACE, PAUSE, SWEEP_EVERY
from blobforge.objects.breaker import NotAnsweringError
from blobforge.objects.keys import incoming_key, mark_key
from tests.actors.keeping import DAY, Keeping, keeping
from tests.fixtures.local import virtual_now
from tests.store.making import hash_of, submission


def incoming(kept: Keeping, name: str, *, age: float = 2 * DAY) -> str:
    return kept.shelf.put(incoming_key(hash_of(name)), age=age)


async def test_uploads_that_were_never_taken_go(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        await kept.done("done")
        await kept.alone.ask(submission("awaited", ready=False))
        others = set(kept.shelf.objects)
        stay = {incoming(kept, "awaited"), incoming(kept, "young", age=DAY - 2 * SWEEP_EVERY)}
        stay.add(kept.shelf.put("incoming/readme.txt"))  # none of ours
        for number in range(7):  # more than a page, and more than one of the same source
            incoming(kept, f"nobody's {number // 2}")
        incoming(kept, "done")
        await trio.sleep(FIRST_SWEEP + 60)
        assert set(kept.shelf.objects) == others | stay
        incoming(kept, "nobody's")
        await trio.sleep(SWEEP_EVERY)
        assert set(kept.shelf.objects) == others | stay
        await trio.sleep(SWEEP_EVERY)
        assert len(kept.shelf.objects) == len(others | stay) - 1, "the young one has come of age"


async def test_what_another_database_may_wait_for_stays(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        kept.shelf.marks.add(mark_key("banother0"))
        key = incoming(kept, "the other's")
        kept.shelf.broken_off = [0.0]
        await trio.sleep(3 * SWEEP_EVERY)
        assert set(kept.shelf.objects) == {key}
        assert kept.shelf.broken_off == [], "nobody comes back for that after so long"
        kept.shelf.marks.remove(mark_key("banother0"))
        await trio.sleep(SWEEP_EVERY)
        assert set(kept.shelf.objects) == set()


async def test_uploads_in_parts_that_broke_off_go_after_a_week(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        now = virtual_now() / 1000
        kept.shelf.broken_off = [now - PARTS_GRACE - 1, now - PARTS_GRACE + 2 * SWEEP_EVERY]
        await trio.sleep(FIRST_SWEEP + 2 * PAUSE)
        assert len(kept.shelf.broken_off) == 1
        await trio.sleep(3 * SWEEP_EVERY)
        assert kept.shelf.broken_off == []


async def test_a_store_that_is_away_is_looked_at_in_an_hour(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        incoming(kept, "nobody's")
        kept.shelf.error = NotAnsweringError("away")
        await trio.sleep(FIRST_SWEEP + 60)
        kept.shelf.error = None
        assert len(kept.shelf.objects) == 1
        await trio.sleep(SWEEP_EVERY + 60)
        assert kept.shelf.objects == {}


async def test_a_clock_that_is_set_forward_sweeps_nothing(tmp_path: Path, autojump_clock: Any) -> None:
    ahead = [0]
    async with keeping(tmp_path, now=lambda: virtual_now() + ahead[0]) as kept:
        key = incoming(kept, "young", age=60)
        await trio.sleep(1)
        ahead[0] = round(30 * DAY * 1000)
        await trio.sleep(3 * SWEEP_EVERY)
        assert set(kept.shelf.objects) == {key}
