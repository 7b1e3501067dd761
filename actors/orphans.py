"""The search for objects that no job needs, a page of the store at a time. State owned here: how far it has come, and
what it has found.

A part of the janitor, which says when the next page is looked at.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import structlog
import trio
from msgspec.structs import replace

from actors.messages import FindOrphans, FindUnneeded, Message, OrphanSearch, Unneeded
from actors.rests import NEVER, TRY_AGAIN, rested
from actors.sweeper import GRACE, LISTED_AT_ONCE
from blobforge.objects import ObjectStore, ObjectStoreError
from blobforge.objects.keys import ACCEPTED, INCOMING, OUTPUTS, SOURCES, is_key, mark_key
from blobforge.refusals import Refusal, RefusalCode

log = structlog.get_logger("blobforge.janitor")

GIVE_UP_AFTER = 10  # failures of the store in a row, and a search ends
SEARCHED = (ACCEPTED, INCOMING, OUTPUTS, SOURCES)  # sources last: a submission looks for its source first
EXAMPLES = 1_000  # keys that a search names: what they hold is half a MiB
LOGGED = 10  # of these, in the log


class OrphanSearcher:
    """`search` is read by handlers; `at` is when to look next. `now` gives wall time in ms, `safe_now` Unix seconds
    that a jump of the clock does not carry away. `find_unneeded` asks the writer (None: it could not say),
    `look_for_others` asks the store which other installations use it."""

    def __init__(
        self,
        objects: ObjectStore,
        *,
        now: Callable[[], int],
        safe_now: Callable[[], float],
        find_unneeded: Callable[[FindUnneeded], Awaitable[Unneeded | None]],
        look_for_others: Callable[[], Awaitable[tuple[str, ...] | None]],
    ) -> None:
        self.search = OrphanSearch()
        self.at = NEVER
        self._objects = objects
        self._now = now
        self._safe_now = safe_now
        self._find_unneeded = find_unneeded
        self._look_for_others = look_for_others
        self._left = list(SEARCHED)  # what is still to be looked through, the first of them from the cursor on
        self._cursor = ""
        self._failures = 0

    def asked(self, message: Message[OrphanSearch], others: tuple[str, ...] | None) -> OrphanSearch | Refusal:
        """Begin a search. One that is under way answers for its like, and is in the way of the other kind."""
        assert isinstance(message, FindOrphans)
        if message.delete and others != ():
            return not_alone(others)
        if refusal := in_the_way(self.search, delete=message.delete):
            return refusal
        if self.search.state == "running":
            return self.search
        self.search = OrphanSearch("running", message.delete, self._now())
        self._left, self._cursor, self._failures = list(SEARCHED), "", 0
        self.at = trio.current_time()
        return self.search

    async def look(self) -> None:
        """One page of the store, sources after outputs; at the end, the uploads that never ended."""
        began = trio.current_time()
        old = self._safe_now() - GRACE
        try:
            if self.search.delete:
                others = await self._look_for_others()
                if others:  # it has come since the search began
                    self._ended(replace(self.search, state="failed", error=not_alone(others).detail))
                    return
            if await self._look_at_page(old):
                self._failures = 0
                self.at = rested(began)
                return
            unfinished = await self._objects.clear_unfinished(before=old, dry_run=not self.search.delete)
        except ObjectStoreError as error:
            self._stumbled(str(error))
        else:
            self._ended(replace(self.search, state="done", unfinished=unfinished))

    async def _look_at_page(self, old: float) -> bool:
        """Whether there was one. Raises ObjectStoreError, also for what the database could not say."""
        if not self._left:
            return False
        page = await self._objects.list_page(self._left[0], cursor=self._cursor, limit=LISTED_AT_ONCE)
        sizes = {each.key: each.size for each in page.objects if each.modified < old and is_key(each.key)}
        orphans: tuple[str, ...] = ()
        if sizes:
            found = await self._find_unneeded(FindUnneeded(tuple(sizes), self.search.delete))
            if found is None:
                raise ObjectStoreError("the database could not be written to")
            orphans = found.keys
        self._cursor = page.cursor or ""
        if page.cursor is None:
            del self._left[0]
        self.search = replace(
            self.search,
            objects=self.search.objects + len(page.objects),
            orphans=self.search.orphans + len(orphans),
            bytes=self.search.bytes + sum(sizes[key] for key in orphans),
            examples=(*self.search.examples, *orphans)[:EXAMPLES],
        )
        return True

    def _stumbled(self, error: str) -> None:
        self._failures += 1
        self.search = replace(self.search, error=error)
        if self._failures >= GIVE_UP_AFTER:
            self._ended(replace(self.search, state="failed"))
        else:
            self.at = trio.current_time() + TRY_AGAIN

    def _ended(self, search: OrphanSearch) -> None:
        error = search.error if search.state == "failed" else None
        self.search = replace(search, ended_at=self._now(), error=error)
        self.at = NEVER
        logged = replace(self.search, examples=self.search.examples[:LOGGED])
        log.info("looked for objects that nobody needs", **msgspec.structs.asdict(logged))


def not_alone(others: tuple[str, ...] | None) -> Refusal:
    """Why no orphans are deleted: what this database does not need, another may."""
    if others is None:
        said = "Whether other installations use this object store is not known yet. Ask again in a moment."
        return Refusal(RefusalCode.UNAVAILABLE, said, retry_after=5)
    names = ", ".join(mark_key(each) for each in others[:3])
    said = f"Other installations have left their marks in this object store ({names}), and may need its objects."
    return Refusal(RefusalCode.STORE_SHARED, f"{said} Remove the marks of those that are no more, then ask again.")


def in_the_way(search: OrphanSearch, *, delete: bool) -> Refusal | None:
    """Whether a search of the other kind is under way."""
    if search.state != "running" or search.delete == delete:
        return None
    kind = "that deletes" if search.delete else "that only counts"
    return Refusal(RefusalCode.SEARCH_RUNNING, f"A search {kind} is under way; wait until it has ended.")
