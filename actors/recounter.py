"""The recounter: has counters made right that servers of an older release have not kept, once none of them writes any
more. A part of the janitor. State owned here: the last turn of such a server, as it was heard.

Jobs are counted on a snapshot, beside the turns; what the counters lack is sent to the writer in small pages.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog
import trio

from actors.messages import BeginRecount, CorrectCounts, Message
from actors.rests import rested
from blobforge.store.errors import DatabaseError
from blobforge.store.miscounts import Miscounts
from blobforge.store.tallies import Tallies

log = structlog.get_logger("blobforge.janitor")

LOOK_EACH = 60.0  # seconds between two looks whether servers of an older release were there
MOST_FOUND = 20_000  # of each kind in one look; some 10 MB
COUNTERS_AT_ONCE = 200  # a page takes the writer a few milliseconds
JOBS_AT_ONCE = 50  # each is two questions
O = TypeVar("O")  # noqa: E741 - the outcome


class Asking(Protocol):
    async def __call__(self, message: Message[O], /) -> O | None: ...


class Recounter:
    def __init__(
        self,
        ask: Asking,
        find: Callable[[], Awaitable[Miscounts | None]],
        *,
        leads: Callable[[], bool],
    ) -> None:
        """`ask` has the writer answer, or gives None; `find` counts."""
        self._ask = ask
        self._find = find
        self._leads = leads
        self._older: int | None = None

    async def run(self) -> None:
        while True:
            await trio.sleep(LOOK_EACH)
            if self._leads():
                await self._look()
            else:
                self._older = None

    async def _look(self) -> None:
        """Where the last turn of an older server is still the one of the last look, none has written for a minute."""
        begun = await self._ask(BeginRecount(self._older))
        if begun is None:
            return
        self._older = begun.older
        if begun.recount is None:
            return
        try:
            found = await self._find()
        except DatabaseError:
            return  # told by the one that read; tried again
        if found is None or found.recount != begun.recount or found.older != begun.older:
            return
        if await self._correct(found) == 0:
            await self._ask(CorrectCounts(found.recount, found.older, done=True))

    async def _correct(self, found: Miscounts) -> int:
        """How much was wrong; so far, where it holds no longer or cannot be written."""
        wrong = 0
        for lacking, unweighed in found.pages(COUNTERS_AT_ONCE, JOBS_AT_ONCE):
            began = trio.current_time()
            counters = _size(lacking)
            wrong += counters
            corrected = await self._ask(CorrectCounts(found.recount, found.older, lacking, unweighed))
            if corrected is None or not corrected.holds:
                return wrong + 1
            wrong += corrected.jobs
            await trio.sleep_until(rested(began))
        if wrong:
            log.info("corrected what servers of an older release have not kept", counters_and_jobs=wrong)
        return wrong


def _size(counters: Tallies) -> int:
    return len(counters.jobs) + len(counters.tags) + len(counters.converters) + len(counters.deferred)
