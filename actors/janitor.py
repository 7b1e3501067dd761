"""The janitor: prunes, deletes objects, gives pages back, looks for orphans. State owned here: when to prune next,
how the deletion of objects goes, and which other installations use the store.

It does one small thing at a time and then rests longer than that took, so that it holds up no other task: some
jobs are pruned, a few objects deleted, a few pages of the file given back, a page of the object store looked through.
The writer decides all of it, message by message, between the messages of others. An object store that hangs or
refuses only delays it: what is to be deleted stands in the database.

It is no part of the reaper, which must be on time and waits for nothing but the writer; this waits for the store.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, TypeVar

import msgspec
import structlog
import trio

from actors import orphans, sweeper
from actors.indexer import Indexer
from actors.mailbox import Envelope, Mailbox, ask
from actors.messages import (
    Backfill,
    DeletionsTried,
    FreePages,
    HurryJobs,
    Message,
    Prune,
    SearchStands,
    TakeDoomed,
)
from actors.recounter import Recounter
from actors.rests import NEVER, SHORTEST_REST, TRY_AGAIN, rested
from actors.searcher import SearchPlan, StoreSearcher
from actors.sweeper import Sweeper
from blobforge.canary import KEPT_MS
from blobforge.events import Fact, ObjectsDoomed
from blobforge.job import JobStatus
from blobforge.objects import ObjectStore, ObjectStoreError, marks
from blobforge.objects.breaker import NotAnsweringError
from blobforge.objects.keys import is_attempts_prefix, is_of_any_installation
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.miscounts import Miscounts

log = structlog.get_logger("blobforge.janitor")
O = TypeVar("O")  # noqa: E741 - the outcome

MAILBOX = 8  # people ask for a search, and nothing else is asked
HURRY_EVERY = 60.0  # seconds between two looks for what has waited for too long
PRUNE_EVERY = 60.0  # seconds between two looks for what has been kept long enough
VACUUM_EVERY = 3600.0
LONGEST_SLEEP = 3600.0
JOBS_AT_ONCE = 100  # about 10 ms of the writer's time
PAGES_AT_ONCE = 256  # 1 MiB that goes through the WAL, and to the backup
DELETIONS_AT_ONCE = 32
OUTPUTS_AT_ONCE = 200  # of one attempt that has several
SIDE_BY_SIDE = 4  # of the store's threads; the others are for requests that wait
LEAD_AGAIN = 10.0  # seconds until it is looked again whether another server keeps house


class Retention(msgspec.Struct, frozen=True):
    """Seconds that ended jobs, the audit log, workers that have gone, results that were replaced and what webhooks
    were told are kept; 0: for ever. `objects`: those of pruned jobs go, too. `superseded_count`: how many replaced
    results a job keeps (None: any number)."""

    completed: float = 0.0
    dead: float = 0.0
    cancelled: float = 0.0
    audit: float = 0.0
    workers: float = 0.0
    objects: bool = False
    superseded: float = 0.0
    deliveries: float = 0.0
    superseded_count: int | None = None

    @property
    def by_status(self) -> dict[JobStatus, float]:
        kept = {
            JobStatus.COMPLETED: self.completed,
            JobStatus.DEAD: self.dead,
            JobStatus.CANCELLED: self.cancelled,
        }
        return {status: seconds for status, seconds in kept.items() if seconds > 0}


class Janitor:
    """`now` gives wall time in ms. `epoch` is read by handlers."""

    heeds: ClassVar[frozenset[type[Fact]]] = frozenset({ObjectsDoomed})

    def __init__(
        self,
        writer: Mailbox[Envelope[Any]],
        objects: ObjectStore,
        *,
        installation: str,
        fresh: bool,
        retention: Retention,
        now: Callable[[], int],
        place: Callable[[], int] | None = None,
        leads: Callable[[], bool] = lambda: True,
        find_miscounts: Callable[[], Awaitable[Miscounts | None]] | None = None,
    ) -> None:
        """`place`: where several servers use the database, how far its history is known here; `leads`: whether this
        is the one of them that keeps house. Two that do so for a moment do no harm. `find_miscounts`: what counters
        lack, where servers of an older release may have moved jobs without them."""
        self.mailbox: Mailbox[Envelope[Any]] = Mailbox(MAILBOX)
        self._rounds = 0  # of deletions, that have ended
        self._place = place
        self._leads = leads
        self.pruned = 0
        self.others: tuple[str, ...] | None = None  # installations beside the same store; None: not known yet
        self.found_objects = False  # this database is new, and the store was not empty
        self.looked = trio.Event()  # the store has been looked at by a new database, or need not be
        if not fresh:
            self.looked.set()
        self._installation = installation
        self._fresh = fresh
        self._writer = writer
        self._objects = objects
        self._retention = retention
        self._now = now
        self._began = (0.0, 0)  # monotonic seconds, wall ms
        self._first = place is None  # no request of another server's is under way
        self._doomed = False  # there are objects to delete, and the loop has not seen it yet
        self._failing = False  # the store deletes nothing just now
        self._round = self._round_results = 0  # jobs, and replaced results, pruned since the last rest
        self._prune_at = self._delete_at = self._vacuum_at = self._fill_at = 0.0
        self._recounter = None if find_miscounts is None else Recounter(self._ask, find_miscounts, leads=leads)
        self.indexer = Indexer(self._ask, leads=leads)
        self._sweeper = Sweeper(self._searcher(sweeper.PLAN), self._ask)
        self._orphans = self._searcher(orphans.PLAN)
        self._take_up_at = self._hurry_at = 0.0

    def _searcher(self, plan: SearchPlan) -> StoreSearcher:
        return StoreSearcher(
            plan,
            self._objects,
            safe_now=lambda: self._safe_now() / 1000,
            ask=self._ask,
            look_for_others=self._look_for_others,
        )

    @property
    def epoch(self) -> int:
        """By which looks at objects are told from those before a deletion; see `actors/effects/deletions.py`."""
        return self._rounds if self._place is None else self._place()

    async def run(self) -> None:
        self._began = (trio.current_time(), self._now())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._leave_mark)
            nursery.start_soon(self._sweeper.run)
            nursery.start_soon(self.indexer.run)
            if self._recounter is not None:
                nursery.start_soon(self._recounter.run)
            nursery.start_soon(self._keep_house)

    async def _leave_mark(self) -> None:
        """Tell others that this database keeps its objects here, as soon as the store takes it."""
        while True:
            try:
                found = await marks.leave(self._objects, self._installation, fresh=self._fresh)
                self.found_objects = self.found_objects or found  # a second try meets our own mark
                self.looked.set()
                await self._look_for_others()
            except ObjectStoreError as error:
                log.warning("cannot leave this installation's mark; tried again", error=str(error))
                await trio.sleep(TRY_AGAIN)
                continue
            if self.found_objects:
                log.error(
                    "THIS DATABASE IS NEW, AND THE OBJECT STORE IS NOT EMPTY: was the database lost, or is this "
                    "the store of another one? Nothing of what is there is deleted (docs/operations.md)"
                )
            self.mailbox.nudge()
            return

    async def _look_for_others(self) -> tuple[str, ...]:
        """Raises ObjectStoreError."""
        before, self.others = self.others, await marks.others(self._objects, self._installation)
        if self.others and self.others != before:
            log.warning(
                "other installations keep objects in this store: sources and orphans are not deleted",
                installations=self.others,
            )
        return self.others

    async def _keep_house(self) -> None:
        self._prune_at = self._delete_at = self._vacuum_at = self._fill_at = trio.current_time()
        self._take_up_at = trio.current_time() + orphans.TAKE_UP_EACH
        self._hurry_at = trio.current_time() + HURRY_EVERY
        while True:
            wake = min(
                self._prune_at, self._delete_at, self._vacuum_at, self._fill_at, self._take_up_at, self._orphans.at,
                self._hurry_at,
            )  # fmt: skip
            envelope = await self.mailbox.take(until=wake)
            doomed, self._doomed = self._doomed, False
            if doomed and not self._failing:
                self._delete_at = min(self._delete_at, trio.current_time() + SHORTEST_REST)
            if envelope is not None:
                envelope.reply.settle(await self._find_orphans(envelope.message))
            now = trio.current_time()
            if not self._leads():
                self._leave_it_to_another(now + LEAD_AGAIN)
            if now >= self._prune_at:
                await self._prune()
            if now >= self._delete_at:
                await self._delete()
            if now >= self._vacuum_at:
                await self._vacuum()
            if now >= self._take_up_at:
                await self._take_up()
            if now >= self._orphans.at:
                await self._orphans.look()
            if now >= self._fill_at:
                await self._fill()
            if now >= self._hurry_at:
                await self._hurry()

    def _leave_it_to_another(self, until: float) -> None:
        self._prune_at, self._delete_at = max(self._prune_at, until), max(self._delete_at, until)
        self._vacuum_at, self._fill_at = max(self._vacuum_at, until), max(self._fill_at, until)
        self._take_up_at, self._hurry_at = max(self._take_up_at, until), max(self._hurry_at, until)

    def post(self, _facts: Sequence[Fact]) -> None:
        self._doomed = True
        self.mailbox.nudge()

    # --- orphans

    async def _find_orphans(self, message: Message[SearchStands]) -> SearchStands | Refusal:
        begin = orphans.begin(message, self._orphans, self.others)
        if isinstance(begin, Refusal):
            return begin
        try:
            stands = await ask(self._writer, begin)
        except Exception:
            log.exception("cannot begin a search for orphans")
            return Refusal(RefusalCode.UNAVAILABLE, "The database cannot be written to. Ask again.", retry_after=5)
        if not isinstance(stands, Refusal):
            self._orphans.take(stands.search)
        return stands

    async def _take_up(self) -> None:
        """One that the server that carried it out has left behind, or this one in an earlier life."""
        self._take_up_at = trio.current_time() + orphans.TAKE_UP_EACH
        if (stands := await self._ask(orphans.take_up(self._orphans))) is not None:
            self._orphans.take(stands.search)

    # --- retention

    async def _prune(self) -> None:
        now = self._safe_now()
        before = tuple((status, now - round(seconds * 1000)) for status, seconds in self._retention.by_status.items())
        began = trio.current_time()

        def earlier(seconds: float) -> int | None:
            return now - round(seconds * 1000) if seconds > 0 else None

        kept = self._retention
        pruned = await self._ask(
            Prune(
                before,
                earlier(kept.audit),
                kept.objects,
                JOBS_AT_ONCE,
                workers_before=earlier(kept.workers),
                compared_before=now,
                superseded_before=earlier(kept.superseded),
                superseded_kept=kept.superseded_count,
                canaries_before=now - KEPT_MS,
                deliveries_before=earlier(kept.deliveries),
            )
        )
        if pruned is not None:
            self.pruned += pruned.jobs
            self._round += pruned.jobs
            self._round_results += pruned.results
            if pruned.more:
                self._prune_at = rested(began)
                return
        if self._round or self._round_results:
            log.info("pruned", jobs=self._round, replaced_results=self._round_results)
            self._round = self._round_results = 0
            self._vacuum_at = min(self._vacuum_at, trio.current_time())
        self._prune_at = trio.current_time() + PRUNE_EVERY

    def _safe_now(self) -> int:
        """The wall clock, but never ahead of what it was at the start plus the time since: a clock that is set
        forward by mistake must not cost results or uploads. After a restart it is believed."""
        began, wall = self._began
        return min(self._now(), wall + round((trio.current_time() - began) * 1000))

    # --- objects that are to go

    async def _delete(self) -> None:
        began = trio.current_time()
        taken = await self._ask(TakeDoomed(SIDE_BY_SIDE if self._failing else DELETIONS_AT_ONCE, self._first))
        if taken is None:
            self._delete_at = trio.current_time() + TRY_AGAIN
            return
        self._first = taken.doubtful
        if not taken.keys:
            # By the wall clock, which may jump: look after an hour at the latest.
            wait = LONGEST_SLEEP if taken.next_at is None else (taken.next_at - self._now()) / 1000
            self._delete_at = trio.current_time() + min(max(wait, SHORTEST_REST), LONGEST_SLEEP)
            return
        known = True
        if any(is_of_any_installation(key) for key in taken.keys):
            # Looked at each time: another may have come since. Without an answer the sources wait.
            try:
                await self._look_for_others()
            except ObjectStoreError as error:
                known = False
                log.warning("cannot see who else uses the store; sources are not deleted", error=str(error))
        tried = await self._tried(taken.keys, others_known=known, taken_at=began)
        done = await self._ask(tried)
        self._delete_at = trio.current_time() + TRY_AGAIN if done is None or self._failing else rested(began)

    async def _tried(self, keys: tuple[str, ...], *, others_known: bool, taken_at: float) -> DeletionsTried:
        """Tell the store, a few keys side by side. After the first failure the rest is not even tried. What may be of
        any database waits while it is not known which others need it."""
        gone: list[str] = []
        refused: list[str] = []
        unanswered: list[str] = []
        spared: list[str] = []  # another installation may need them
        more: list[str] = []  # of which some objects are left
        waiting = [] if others_known else [key for key in keys if is_of_any_installation(key)]
        keys = tuple(key for key in keys if key not in waiting)

        async def one(key: str) -> None:
            if is_of_any_installation(key) and self.others:
                spared.append(key)
                return
            if self._place is not None and trio.current_time() - taken_at > LEAD_AGAIN:
                # This server was stopped: another may have deleted it meanwhile, and a client sent it again.
                refused.append(key)
                self._complain(
                    f"they were taken {trio.current_time() - taken_at:.0f} s ago, too long for this server"
                )
                return
            try:
                if is_attempts_prefix(key):
                    if await self._delete_some(key):
                        more.append(key)
                        return
                else:
                    await self._objects.delete(key)
            except NotAnsweringError as error:
                unanswered.append(key)  # it may happen yet
                self._complain(error)
            except ObjectStoreError as error:
                refused.append(key)
                self._complain(error)
            else:
                gone.append(key)

        for start in range(0, len(keys), SIDE_BY_SIDE):
            some = keys[start : start + SIDE_BY_SIDE]
            if refused or unanswered:
                refused += some
                continue
            async with trio.open_nursery() as nursery:
                for key in some:
                    nursery.start_soon(one, key)
        self._failing = bool(refused or unanswered)
        self._rounds += 1
        return DeletionsTried(
            tuple(gone), (*refused, *waiting), tuple(unanswered), self._rounds, tuple(spared), tuple(more)
        )

    async def _delete_some(self, prefix: str) -> bool:
        """Delete some of the outputs of one attempt; whether there are more. Raises ObjectStoreError."""
        page = await self._objects.list_page(prefix, limit=OUTPUTS_AT_ONCE)
        for listed in page.objects:
            await self._objects.delete(listed.key)
        return page.cursor is not None

    def _complain(self, error: ObjectStoreError | str) -> None:
        if not self._failing:
            log.warning("cannot delete objects; they stay on the list", error=str(error))
        self._failing = True

    # --- the file

    async def _vacuum(self) -> None:
        began = trio.current_time()
        freed = await self._ask(FreePages(PAGES_AT_ONCE))
        more = freed is not None and freed.more
        self._vacuum_at = rested(began) if more else trio.current_time() + VACUUM_EVERY

    # --- what has waited for too long

    async def _hurry(self) -> None:
        began = trio.current_time()
        hurried = await self._ask(HurryJobs(JOBS_AT_ONCE))
        more = hurried is not None and hurried.more
        self._hurry_at = rested(began) if more else trio.current_time() + HURRY_EVERY

    # --- what an older database has not kept

    async def _fill(self) -> None:
        began = trio.current_time()
        filled = await self._ask(Backfill(JOBS_AT_ONCE))
        if filled is None:
            self._fill_at = trio.current_time() + TRY_AGAIN
        else:
            self._fill_at = rested(began) if filled.more else NEVER

    async def _ask(self, message: Message[O]) -> O | None:
        """The outcome, or None when the writer could not commit, or met a bug: then it is tried again later."""
        try:
            outcome = await ask(self._writer, message)
        except Exception:
            log.exception("cannot keep house", message=type(message).__name__)
            return None
        return None if isinstance(outcome, Refusal) else outcome
