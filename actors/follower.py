"""The follower: what other servers of the database commit is read and told here, too. State owned here: when the
history was last known to the end.

It is woken by the database with each commit, and looks by itself as well, for what it may not have been told of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import structlog
import trio

from actors.sequencer import Sequencer
from blobforge.events import WritesResumed
from blobforge.machinery.hop import Hop, in_thread
from blobforge.machinery.outage import Outage
from blobforge.store.errors import DatabaseError, HistoryForked, StoreUnavailable
from blobforge.store.following import HistoryReader

log = structlog.get_logger("blobforge.follower")

LOOK_SECONDS = 1.0  # between two looks where nothing was heard
AT_ONCE = 500  # entries that are read in one go
TRY_AGAIN_SECONDS = 0.5  # while the database is away
FOLLOW = "follow what other servers write"
FRESH_SECONDS = 2.0  # so long what is remembered of the database is good without a word from it


class Follower:
    """`rebuild` has all that is remembered of the database read anew; True: its history goes on from elsewhere, for
    the first time since the last one."""

    def __init__(
        self,
        source: HistoryReader,
        sequencer: Sequencer,
        *,
        rebuild: Callable[[bool], Awaitable[None]],
        hop: Hop | None = None,
        outage: Outage | None = None,
    ) -> None:
        self._source = source
        self._sequencer = sequencer
        self._rebuild = rebuild
        self._hop = hop or in_thread
        self._looks_only = hop is not None  # in virtual time no thread waits
        self._heard_at = trio.current_time()
        self._outage = outage or Outage()
        self._away = False
        self._astray = False  # everything is to be read anew
        self._rebuilt = sequencer.fork  # after which fork it was
        self._turn = trio.Lock()  # one reads at a time
        sequencer.fill = self.catch_up
        sequencer.on_fork = source.wake

    @property
    def is_fresh(self) -> bool:
        """Whether all that was committed until a moment ago has been told."""
        return trio.current_time() - self._heard_at <= FRESH_SECONDS

    async def run(self) -> None:
        try:
            while True:
                await self.catch_up()
                await self._until_news()
        finally:
            self._source.wake()

    async def _until_news(self) -> None:
        if self._looks_only:
            await trio.sleep(LOOK_SECONDS)
        else:
            # The thread is left behind when the server stops: it ends when it is woken.
            await trio.to_thread.run_sync(self._source.wait, LOOK_SECONDS, abandon_on_cancel=True)

    async def catch_up(self) -> None:
        """Tell what has not been told. Where the database is away, it is told when that is back."""
        async with self._turn:
            await self._catch_up()

    async def _catch_up(self) -> None:
        more = True
        while more:
            asked_at = trio.current_time()
            try:
                more = await self._read()
            except HistoryForked as error:
                log.error("the history of the database goes on from elsewhere", error=str(error))
                self._sequencer.meet_fork(error.number)
                await self._anew()
                return
            except StoreUnavailable as error:
                self._outage.met(FOLLOW, error)
                self._away = True
                await trio.sleep(TRY_AGAIN_SECONDS)
                return
            if not self._astray:
                self._outage.over(FOLLOW)
            if self._away:
                self._away = False
                # No sign of life could be committed, whichever server heard it.
                self._sequencer.tell([WritesResumed()])
            self._heard_at = asked_at

    async def _read(self) -> bool:
        """Whether there may be more."""
        if self._astray or self._rebuilt < self._sequencer.fork:
            await self._anew()
            return False
        after = self._sequencer.last
        entries = await self._hop(partial(self._source.read, after, AT_ONCE))
        if entries and entries[0].n > after + 1 and self._sequencer.last == after:
            log.warning("too much was written meanwhile; everything is read anew", after=after, next=entries[0].n)
            await self._anew()
            return False
        self._sequencer.take(entries)
        await self._sequencer.publish()
        if any(not entry.known for entry in entries):
            log.warning("a newer release tells what this one does not know; everything is read anew")
            await self._anew()
            return False
        return len(entries) == AT_ONCE

    async def _anew(self) -> None:
        fork = self._sequencer.fork  # one that is met from now on is another reason
        self._astray = False
        try:
            await self._rebuild(self._rebuilt < fork)
            self._rebuilt = fork
        except (StoreUnavailable, DatabaseError) as error:
            self._astray = True
            if isinstance(error, HistoryForked):
                self._sequencer.meet_fork(error.number)
            self._outage.met(FOLLOW, error)
            await trio.sleep(TRY_AGAIN_SECONDS)
