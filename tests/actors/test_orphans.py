"""Objects that nobody needs are found, and deleted only when somebody says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from actors.mailbox import ask
from actors.messages import (
    Claim,
    FindOrphans,
    OrphanSearch,
    Release,
)
from actors.orphans import GIVE_UP_AFTER
from actors.sweeper import GRACE
from blobforge.job import ReleaseCause
from blobforge.objects.breaker import NotAnsweringError
from blobforge.objects.keys import source_key
from blobforge.refusals import Refusal, RefusalCode
from tests.actors.keeping import DAY, Keeping, keeping
from tests.fixtures.local import virtual_now
from tests.store.making import ADMIN, hash_of, submission


async def found(kept: Keeping, *, delete: bool = False) -> OrphanSearch:
    begun = await ask(kept.janitor.mailbox, FindOrphans(delete))
    assert isinstance(begun, OrphanSearch)
    while kept.janitor.orphans.search.state == "running":
        await trio.sleep(1)
    return kept.janitor.orphans.search


async def furnish(kept: Keeping) -> tuple[set[str], set[str]]:
    """A store with all that there can be in it; returns what is needed, and what is not."""
    shelf = kept.shelf
    done = await kept.done("done")
    needed = {source_key(hash_of("done")), kept.alone.book.key(done, 1)}
    await kept.alone.ask(submission("busy"))
    (first,) = (await kept.alone.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs
    await kept.alone.ask(Release(ADMIN, "w1", first.id, cause=ReleaseCause.SHUTDOWN))
    orphans = {shelf.put(kept.alone.book.key(first.id, 1), size=10)}  # of an attempt that lost
    (busy,) = (await kept.alone.ask(Claim(ADMIN, "w1", ("pdf",)))).jobs
    needed |= {shelf.put(kept.alone.book.key(busy.id, 2)), shelf.put(source_key(hash_of("busy")))}
    orphans |= {
        shelf.put(source_key(hash_of("nobody's")), size=100),
        shelf.put(kept.alone.book.key(99, 1), size=1000),
    }
    needed |= {shelf.put(source_key(hash_of("young")), age=3600), shelf.put(kept.alone.book.key(98, 1), age=3600)}
    needed |= {shelf.put("sources/readme.txt"), shelf.put("outputs/1/1/.output.json")}  # none of ours
    return needed, orphans


async def test_orphans_are_counted_and_nothing_is_touched(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        needed, orphans = await furnish(kept)
        kept.shelf.broken_off = [0.0] * 3
        search = await found(kept)
        assert (search.state, search.objects, search.orphans) == ("done", len(needed | orphans), len(orphans))
        assert (search.bytes, search.unfinished, set(search.examples)) == (1110, 3, orphans)
        await trio.sleep(DAY)
        assert set(kept.shelf.objects) == needed | orphans


async def test_orphans_are_deleted_and_nothing_else(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        needed, orphans = await furnish(kept)
        search = await found(kept, delete=True)
        assert search.orphans == len(orphans)
        await trio.sleep(3600)
        assert set(kept.shelf.objects) == needed
        await trio.sleep(DAY)
        assert (await found(kept)).orphans == 2, "the young ones are more than a day old by now"


async def test_two_searches_at_once(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        for number in range(30):
            kept.shelf.put(kept.alone.book.key(1000 + number, 1))
        first = await ask(kept.janitor.mailbox, FindOrphans(False))
        again = await ask(kept.janitor.mailbox, FindOrphans(False))
        assert isinstance(first, OrphanSearch)
        assert isinstance(again, OrphanSearch)
        assert again.started_at == first.started_at
        other = await ask(kept.janitor.mailbox, FindOrphans(True))
        assert isinstance(other, Refusal)
        assert other.code is RefusalCode.SEARCH_RUNNING


async def test_a_search_outlasts_a_store_that_stumbles_and_gives_up_on_one_that_is_gone(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async with keeping(tmp_path) as kept:
        for number in range(30):
            kept.shelf.put(kept.alone.book.key(1000 + number, 1))
        await ask(kept.janitor.mailbox, FindOrphans(False))
        await trio.sleep(0.05)
        kept.shelf.error = NotAnsweringError("away")
        await trio.sleep(100)
        assert (kept.janitor.orphans.search.state, kept.janitor.orphans.search.error) == ("running", "away")
        kept.shelf.error = None
        await trio.sleep(100)
        assert (kept.janitor.orphans.search.state, kept.janitor.orphans.search.orphans) == ("done", 30)
        kept.shelf.error = NotAnsweringError("away")
        began = trio.current_time()
        search = await found(kept)
        assert (search.state, search.error, search.ended_at is not None) == ("failed", "away", True)
        assert trio.current_time() - began < 31 * GIVE_UP_AFTER


async def test_a_clock_set_forward_makes_no_orphans(tmp_path: Path, autojump_clock: Any) -> None:
    """Everything in the store seemed to be older than a day."""
    offset = 0
    async with keeping(tmp_path, now=lambda: virtual_now() + offset) as kept:
        await trio.sleep(1)
        kept.shelf.put(f"sources/{hash_of('just uploaded')}", age=GRACE / 2)
        offset = 3 * 86_400_000
        await ask(kept.janitor.mailbox, FindOrphans(delete=True))
        await trio.sleep(10)
        assert (kept.janitor.orphans.search.state, kept.janitor.orphans.search.orphans) == ("done", 0)
