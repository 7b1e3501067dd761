"""The sweeper removes objects that came into the store and were never taken, every hour. State owned here: none; see
`actors/searcher.py`.

A part of the janitor. Uploads of sources that were not bound to their checksum wait at keys of their own until their
bytes have been read; of two, one is taken. The other is never taken, nor are parts whose upload broke off.

Each server looks whether it is time, and the database says which one does it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from actors.messages import BeginSearch, Message, SearchStands
from actors.rests import NEVER
from actors.searcher import SearchPlan, StoreSearcher
from blobforge.objects.keys import INCOMING, is_incoming_key
from blobforge.search import SearchName

FIRST_SWEEP = 300.0  # seconds after the start, when requests that wait for the store have been served
SWEEP_EVERY = 3600.0
LOOK_EACH = 300.0  # seconds between two looks whether it is time, or another server has left a sweep behind
PARTS_GRACE = 7 * 86_400.0  # seconds in which a client may come back for the rest of an upload
PAUSE = 1.0  # seconds between two pages, at least

PLAN = SearchPlan(SearchName.SWEEP, (INCOMING,), is_incoming_key, unfinished_age=PARTS_GRACE, skips_if_shared=True)


class Sweeper:
    def __init__(
        self, searcher: StoreSearcher, ask: Callable[[Message[SearchStands]], Awaitable[SearchStands | None]]
    ) -> None:
        self._searcher = searcher
        self._ask = ask

    async def run(self) -> None:
        await trio.sleep(FIRST_SWEEP)
        while True:
            every = round(SWEEP_EVERY * 1000)
            stands = await self._ask(BeginSearch(SearchName.SWEEP, self._searcher.own, True, INCOMING, every))
            if stands is not None:
                self._searcher.take(stands.search)
            pause = LOOK_EACH
            while self._searcher.at < NEVER:
                await trio.sleep_until(self._searcher.at)
                await self._searcher.look()
                await trio.sleep(PAUSE)
                pause = SWEEP_EVERY
            await trio.sleep(pause)
