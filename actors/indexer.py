"""The indexer: has the texts of jobs put into their index, behind the commits. A part of the janitor. State owned
here: whether there may be something new.

It waits a moment for more, then goes on piece by piece, and rests much longer than each took, so that submissions are
not slowed down. A search looks at each job that is not in the index yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import structlog
import trio

from actors.messages import IndexTexts
from actors.recounter import Asking
from actors.rests import TRY_AGAIN, rested
from blobforge.events import Fact, JobReady, JobWaits, SourceAwaited

log = structlog.get_logger("blobforge.janitor")

JOBS_AT_ONCE = 200  # about 3 ms of the writer's time
GATHERED = 1.0  # seconds from a submission until it is taken
LOOK_EACH = 60.0  # seconds: tags and further paths are told by no fact
REST_SHARE = 14  # rests so many times as long as a piece took: submissions are to be nearly as fast as without
MANY = 10_000  # jobs in one go, that are worth a line in the log


class Indexer:
    heeds: ClassVar[frozenset[type[Fact]]] = frozenset({JobReady, JobWaits, SourceAwaited})

    def __init__(self, ask: Asking, *, leads: Callable[[], bool]) -> None:
        """`ask` has the writer answer, or gives None; `leads`: whether this server does it for all."""
        self._ask = ask
        self._leads = leads
        self._news = trio.Event()
        self._news.set()  # what was not done before a start

    def post(self, _facts: Sequence[Fact]) -> None:
        self._news.set()

    async def run(self) -> None:
        while True:
            with trio.move_on_after(LOOK_EACH):
                await self._news.wait()
            await trio.sleep(GATHERED)
            self._news = trio.Event()
            if self._leads():
                await self._index()

    async def _index(self) -> None:
        jobs = 0
        while True:
            began = trio.current_time()
            done = await self._ask(IndexTexts(JOBS_AT_ONCE))
            if done is None:
                await trio.sleep(TRY_AGAIN)
                continue
            jobs += done.jobs
            if not done.more or not self._leads():
                break
            await trio.sleep_until(rested(began, share=REST_SHARE))
        if jobs >= MANY:
            log.info("indexed the texts of jobs", jobs=jobs)
