"""The search for objects that no job needs, a page of the store at a time. State owned here: how far it has come, and
what it has found.

A part of the janitor, which says when the next page is looked at. Of several servers one searches: it tells the
others how the search goes in the history of all, so that each of them answers for it, and none begins another
meanwhile. Of two that begin at once the first one in the history does it.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable

import msgspec
import structlog
import trio
from msgspec.structs import replace

from actors.messages import FindOrphans, FindUnneeded, Message, OrphanSearch, TellSearch, Unneeded
from actors.rests import NEVER, TRY_AGAIN, rested
from actors.sweeper import GRACE, LISTED_AT_ONCE
from blobforge.events import OrphansSought
from blobforge.objects import ObjectStore, ObjectStoreError
from blobforge.objects.keys import ACCEPTED, INCOMING, OUTPUTS, SOURCES, is_key, mark_key
from blobforge.refusals import Refusal, RefusalCode

log = structlog.get_logger("blobforge.janitor")

GIVE_UP_AFTER = 10  # failures of the store in a row, and a search ends
SEARCHED = (ACCEPTED, INCOMING, OUTPUTS, SOURCES)  # sources last: a submission looks for its source first
EXAMPLES = 1_000  # keys that a search names: what they hold is half a MiB
LOGGED = 10  # of these, in the log, and known to other servers before the search has ended
TOLD_EACH = 5.0  # seconds between two words to them, while it lasts
GONE_AFTER = 120.0  # seconds without a word: the server that searched is no more


class OrphanSearcher:
    """`search` is read by handlers; `at` is when to look next. `now` gives wall time in ms, `safe_now` Unix seconds
    that a jump of the clock does not carry away. `find_unneeded` asks the writer (None: it could not say),
    `look_for_others` asks the store which other installations use it. `tell` has the other servers hear of the
    search, and says whether they do; None: there are none."""

    def __init__(
        self,
        objects: ObjectStore,
        *,
        now: Callable[[], int],
        safe_now: Callable[[], float],
        find_unneeded: Callable[[FindUnneeded], Awaitable[Unneeded | None]],
        look_for_others: Callable[[], Awaitable[tuple[str, ...] | None]],
        tell: Callable[[TellSearch], Awaitable[bool]] | None,
    ) -> None:
        self._search = OrphanSearch()  # this server's, or what was heard of another's
        self._own = secrets.token_hex(8)
        self._searcher = self._own  # the server whose it is
        self._heard_at = 0.0
        self._tell = tell
        self._tell_at = 0.0
        self.at = NEVER
        self._objects = objects
        self._now = now
        self._safe_now = safe_now
        self._find_unneeded = find_unneeded
        self._look_for_others = look_for_others
        self._left = list(SEARCHED)  # what is still to be looked through, the first of them from the cursor on
        self._cursor = ""
        self._failures = 0

    @property
    def search(self) -> OrphanSearch:
        """That of all servers."""
        is_own, running = self._searcher == self._own, self._search.state == "running"
        if running and not is_own and trio.current_time() - self._heard_at > GONE_AFTER:
            said = "The server that searched has not been heard of for minutes. Begin again."
            return replace(self._search, state="failed", error=said)
        return self._search

    def heard(self, told: OrphansSought) -> None:
        """A server searches, or has done so: this one begins when it hears that it does."""
        if self.search.state == "running" and (self._searcher == self._own or self._searcher != told.searcher):
            return  # this one's is known better, and another's has begun before
        search = msgspec.json.decode(told.search, type=OrphanSearch)
        if told.searcher == self._own == self._searcher and search.started_at == self._search.started_at:
            return  # said of the search that has ended meanwhile
        if told.searcher == self._own and search.state == "running":
            self._begin(search)
        else:
            self._search, self._searcher, self._heard_at = search, told.searcher, trio.current_time()

    def _begin(self, search: OrphanSearch) -> None:
        self._search, self._searcher = search, self._own
        self._left, self._cursor, self._failures = list(SEARCHED), "", 0
        self.at = trio.current_time()

    async def asked(self, message: Message[OrphanSearch], others: tuple[str, ...] | None) -> OrphanSearch | Refusal:
        """Begin a search. One that is under way answers for its like, and is in the way of the other kind."""
        assert isinstance(message, FindOrphans)
        if message.delete and others != ():
            return not_alone(others)
        if refusal := in_the_way(self.search, delete=message.delete):
            return refusal
        if self.search.state == "running":
            return self.search
        begun = OrphanSearch("running", message.delete, self._now())
        if not await self._is_told(begun):
            return Refusal(RefusalCode.UNAVAILABLE, "The database cannot be written to. Ask again.", retry_after=5)
        if self._tell is None:
            self._begin(begun)
        return in_the_way(self.search, delete=message.delete) or self.search  # by another that has begun before

    async def look(self) -> None:
        """One page of the store, sources after outputs; at the end, the uploads that never ended."""
        if self._search.state != "running":
            if self._searcher != self._own:
                self.at = NEVER  # another has begun
                return
            self.at = NEVER if await self._is_told(self._search) else trio.current_time() + TRY_AGAIN
            return
        if self._tell_at <= trio.current_time():
            await self._is_told(replace(self._search, examples=self._search.examples[:LOGGED]))
        began = trio.current_time()
        old = self._safe_now() - GRACE
        try:
            if self._search.delete:
                others = await self._look_for_others()
                if others:  # it has come since the search began
                    self._ended(replace(self._search, state="failed", error=not_alone(others).detail))
                    return
            if await self._look_at_page(old):
                self._failures = 0
                self.at = rested(began)
                return
            unfinished = await self._objects.clear_unfinished(before=old, dry_run=not self._search.delete)
        except ObjectStoreError as error:
            self._stumbled(str(error))
        else:
            self._ended(replace(self._search, state="done", unfinished=unfinished))

    async def _look_at_page(self, old: float) -> bool:
        """Whether there was one. Raises ObjectStoreError, also for what the database could not say."""
        if not self._left:
            return False
        page = await self._objects.list_page(self._left[0], cursor=self._cursor, limit=LISTED_AT_ONCE)
        sizes = {each.key: each.size for each in page.objects if each.modified < old and is_key(each.key)}
        orphans: tuple[str, ...] = ()
        if sizes:
            found = await self._find_unneeded(FindUnneeded(tuple(sizes), self._search.delete))
            if found is None:
                raise ObjectStoreError("the database could not be written to")
            orphans = found.keys
        self._cursor = page.cursor or ""
        if page.cursor is None:
            del self._left[0]
        self._search = replace(
            self._search,
            objects=self._search.objects + len(page.objects),
            orphans=self._search.orphans + len(orphans),
            bytes=self._search.bytes + sum(sizes[key] for key in orphans),
            examples=(*self._search.examples, *orphans)[:EXAMPLES],
        )
        return True

    def _stumbled(self, error: str) -> None:
        self._failures += 1
        self._search = replace(self._search, error=error)
        if self._failures >= GIVE_UP_AFTER:
            self._ended(replace(self._search, state="failed"))
        else:
            self.at = trio.current_time() + TRY_AGAIN

    def _ended(self, search: OrphanSearch) -> None:
        error = search.error if search.state == "failed" else None
        self._search = replace(search, ended_at=self._now(), error=error)
        self.at = trio.current_time()  # to be told
        logged = replace(self._search, examples=self._search.examples[:LOGGED])
        log.info("looked for objects that nobody needs", **msgspec.structs.asdict(logged))

    async def _is_told(self, search: OrphanSearch) -> bool:
        """Whether the other servers hear of it, as far as there can be any."""
        self._tell_at = trio.current_time() + TOLD_EACH
        return self._tell is None or await self._tell(TellSearch(self._own, search))


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
