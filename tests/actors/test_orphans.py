"""Objects that nobody needs are found, and deleted only when somebody says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from actors.mailbox import ask
from actors.messages import (
    Claim,
    FindOrphans,
    Release,
    SearchStands,
    SettleFork,
)
from actors.orphans import TAKE_UP_EACH
from actors.searcher import GIVE_UP_AFTER, GRACE
from blobforge.job import ReleaseCause
from blobforge.objects.breaker import NotAnsweringError
from blobforge.objects.keys import source_key
from blobforge.refusals import Refusal, RefusalCode
from blobforge.search import ABANDONED_MS, Search
from tests.actors.keeping import DAY, Keeping, keeping
from tests.fixtures.local import virtual_now
from tests.store.making import ADMIN, hash_of, submission


async def found(kept: Keeping, *, delete: bool = False) -> Search:
    begun = await ask(kept.janitor.mailbox, FindOrphans(delete))
    assert isinstance(begun, SearchStands)
    while kept.search().is_running:
        await trio.sleep(1)
    return kept.search()


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
        assert (search.bytes, search.unfinished, set(kept.named())) == (1110, 3, orphans)
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
        assert isinstance(first, SearchStands)
        assert isinstance(again, SearchStands)
        assert first.search is not None
        assert again.search is not None
        assert again.search.started_at == first.search.started_at
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
        assert (kept.search().state, kept.search().error) == ("running", "away")
        kept.shelf.error = None
        await trio.sleep(100)
        assert (kept.search().state, kept.search().orphans) == ("done", 30)
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
        assert (kept.search().state, kept.search().orphans) == ("done", 0)


async def test_a_search_that_a_server_left_behind_goes_on_where_it_was(tmp_path: Path, autojump_clock: Any) -> None:
    """Nothing is counted twice, and what was found is still named."""
    async with keeping(tmp_path) as kept:
        await trio.sleep(1)
        keys = {kept.shelf.put(kept.alone.book.key(1000 + number, 1)) for number in range(30)}
        await ask(kept.janitor.mailbox, FindOrphans(True))
        while kept.search().orphans < 10:
            await trio.sleep(0.01)
        at = kept.search()
        kept.alone.book.probe.change("searches", {"searcher": "another server"}, name="orphans")
        looked = kept.shelf.pages
        await trio.sleep(ABANDONED_MS / 1000 - 1)
        assert kept.search().searcher == "another server", "it may be slow"
        assert kept.shelf.pages - looked <= 1, "who is not the searcher any more does not go on"
        await trio.sleep(TAKE_UP_EACH + 60)
        search = kept.search()
        assert (search.state, search.started_at, search.orphans) == ("done", at.started_at, 30)
        assert set(kept.named()) == keys


async def test_a_store_that_takes_its_time_has_not_abandoned_the_search(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path) as kept:
        kept.shelf.put(kept.alone.book.key(1000, 1))
        await ask(kept.janitor.mailbox, FindOrphans(False))
        await trio.sleep(0.01)
        kept.shelf.listing = 3 * ABANDONED_MS / 1000
        for _ in range(20):
            await trio.sleep(30)
            assert not kept.search().is_abandoned(now=virtual_now())


async def test_a_search_does_not_outlive_a_restore(tmp_path: Path, autojump_clock: Any) -> None:
    """What came after the backup looks like nobody's in the restored database."""
    async with keeping(tmp_path) as kept:
        await trio.sleep(1)
        for number in range(30):
            kept.shelf.put(kept.alone.book.key(1000 + number, 1))
        await ask(kept.janitor.mailbox, FindOrphans(True))
        await trio.sleep(0.05)
        await kept.alone.ask(SettleFork(1))
        await trio.sleep(2 * ABANDONED_MS / 1000)
        search = kept.search()
        assert (search.state, search.orphans < 30) == ("failed", True)
        assert "lost what it had acknowledged" in (search.error or "")
