"""Carries out a search through the object store, a page at a time. State owned here: the search that this server has
in hand, and when to look at the next page.

A part of the janitor. Which server searches, and how far the search has come, is the database's
(`actors/effects/searches.py`): what is kept here is a copy of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import msgspec
import structlog
import trio

from actors.messages import AdvanceSearch, Message, SearchStands
from actors.rests import NEVER, TRY_AGAIN, rested
from blobforge.objects import ObjectStore, ObjectStoreError
from blobforge.objects.keys import mark_key
from blobforge.search import Search, SearchedPage, SearchName, SearchState

log = structlog.get_logger("blobforge.janitor")

GRACE = 86_400.0  # seconds: a client may be about to submit what came into the store within a day
LISTED_AT_ONCE = 1000
GIVE_UP_AFTER = 10  # failures of the store in a row, and a search ends
SAID_EACH = 30.0  # seconds between two words that it goes on, while the store takes its time


class SearchPlan(msgspec.Struct, frozen=True):
    """What is looked at: `folders`, one after the other, and of these the keys that are `meant`; at the end, uploads
    that began `unfinished_age` seconds ago and have not ended. Where other installations use the store, objects may
    be theirs: then a search that deletes fails, or skips them."""

    name: SearchName
    folders: tuple[str, ...]
    meant: Callable[[str], bool]
    unfinished_age: float
    skips_if_shared: bool


class StoreSearcher:
    """`at` is when to look next. `safe_now` gives Unix seconds that a jump of the clock does not carry away; `ask`
    asks the writer (None: it could not), `look_for_others` the store which other installations use it."""

    def __init__(
        self,
        plan: SearchPlan,
        objects: ObjectStore,
        *,
        safe_now: Callable[[], float],
        ask: Callable[[Message[SearchStands]], Awaitable[SearchStands | None]],
        look_for_others: Callable[[], Awaitable[tuple[str, ...]]],
    ) -> None:
        self.own = secrets.token_hex(8)  # of this run of the server
        self.at = NEVER
        self._search: Search | None = None
        self._plan = plan
        self._objects = objects
        self._safe_now = safe_now
        self._ask = ask
        self._look_for_others = look_for_others
        self._failures = 0

    def take(self, search: Search | None) -> None:
        """Go on with the search, if it is for this server to carry out."""
        if self._search is None and self._is_own(search):
            self._search, self._failures, self.at = search, 0, trio.current_time()

    def _is_own(self, search: Search | None) -> bool:
        return search is not None and search.is_running and search.searcher == self.own

    async def look(self) -> None:
        """One page of the store, or, after the last one, the uploads that never ended."""
        search = self._search
        if search is None:
            self.at = NEVER
            return
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._say_so)
            advance = await self._looked_at(search)
            nursery.cancel_scope.cancel()
        stands = await self._ask(advance)
        if stands is None:
            self.at = trio.current_time() + TRY_AGAIN
        elif self._is_own(stands.search):
            self._search = stands.search
            self.at = rested(began) if advance.error is None else trio.current_time() + TRY_AGAIN
        else:
            self._leave(stands.search)

    async def _say_so(self) -> None:
        """The search is not abandoned, however long the store takes."""
        while True:
            await trio.sleep(SAID_EACH)
            await self._ask(AdvanceSearch(self._plan.name, self.own))

    def _leave(self, stands: Search | None) -> None:
        self._search, self.at = None, NEVER
        if stands is None or stands.searcher != self.own:
            log.warning("another server has taken up a search through the object store", search=self._plan.name.value)
            return
        log.info(
            "searched the object store", search=stands.name.value, state=stands.state.value, deletes=stands.doom,
            objects=stands.objects, orphans=stands.orphans, bytes=stands.bytes, unfinished=stands.unfinished,
            error=stands.error,
        )  # fmt: skip

    async def _looked_at(self, search: Search) -> AdvanceSearch:
        """What to tell the writer of the next step."""
        name, own = self._plan.name, self.own
        try:
            others = await self._look_for_others() if search.doom else ()
            if others and not self._plan.skips_if_shared:  # it has come since the search began
                return AdvanceSearch(name, own, error=shared_with(others), ended=SearchState.FAILED)
            if search.folder in self._plan.folders and not others:
                page = await self._page(search)
                self._failures = 0
                return AdvanceSearch(name, own, page)
            before = self._safe_now() - self._plan.unfinished_age
            unfinished = await self._objects.clear_unfinished(before=before, dry_run=not search.doom)
        except ObjectStoreError as error:
            self._failures += 1
            ended = SearchState.FAILED if self._failures >= GIVE_UP_AFTER else None
            return AdvanceSearch(name, own, error=str(error), ended=ended)
        return AdvanceSearch(name, own, ended=SearchState.DONE, unfinished=unfinished)

    async def _page(self, search: Search) -> SearchedPage:
        """Raises ObjectStoreError."""
        folders = self._plan.folders
        old = self._safe_now() - GRACE
        page = await self._objects.list_page(search.folder, cursor=search.cursor, limit=LISTED_AT_ONCE)
        keys = tuple(
            (each.key, each.size) for each in page.objects if each.modified < old and self._plan.meant(each.key)
        )
        if page.cursor is not None:
            return SearchedPage(len(page.objects), keys, search.folder, page.cursor)
        following = folders[folders.index(search.folder) + 1 :]
        return SearchedPage(len(page.objects), keys, following[0] if following else "", "")


def shared_with(others: tuple[str, ...]) -> str:
    names = ", ".join(mark_key(each) for each in others[:3])
    said = f"Other installations have left their marks in this object store ({names}), and may need its objects."
    return f"{said} Remove the marks of those that are no more, then ask again."
