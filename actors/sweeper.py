"""The sweeper removes objects that came into the store and were never taken, every hour. State owned here: the time
of the next sweep, and the key that this one has reached.

A part of the janitor. Uploads of sources that were not bound to their checksum wait at keys of their own until their
bytes have been read; of two, one is taken. The other is never taken, nor are parts whose upload broke off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import trio

from actors.mailbox import Envelope, Mailbox, ask
from actors.messages import FindUnneeded
from blobforge.objects import ObjectStore, ObjectStoreError
from blobforge.objects.keys import INCOMING, is_incoming_key
from blobforge.refusals import Refusal

log = structlog.get_logger("blobforge.janitor")

FIRST_SWEEP = 300.0  # seconds after the start, when requests that wait for the store have been served
SWEEP_EVERY = 3600.0
GRACE = 86_400.0  # seconds: a client may be about to submit what came into the store within a day
PARTS_GRACE = 7 * 86_400.0  # seconds in which a client may come back for the rest of an upload
LISTED_AT_ONCE = 1000
PAUSE = 1.0  # seconds between two pages


class Sweeper:
    """`now` gives Unix seconds that a jump of the clock does not carry away; `is_alone` says whether no other
    database keeps its objects in the store, which may be waiting for them; `leads` whether this is the server of its
    database that sweeps."""

    def __init__(
        self,
        writer: Mailbox[Envelope[Any]],
        objects: ObjectStore,
        *,
        now: Callable[[], float],
        is_alone: Callable[[], Awaitable[bool]],
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._leads = leads
        self._writer = writer
        self._objects = objects
        self._now = now
        self._is_alone = is_alone

    async def run(self) -> None:
        await trio.sleep(FIRST_SWEEP)
        while True:
            if not self._leads():
                await trio.sleep(SWEEP_EVERY)
                continue
            try:
                swept = await self._sweep_incoming() if await self._is_alone() else 0
                unfinished = await self._objects.clear_unfinished(before=self._now() - PARTS_GRACE, dry_run=False)
            except ObjectStoreError as error:
                log.warning("cannot sweep the object store; tried again in an hour", error=str(error))
            else:
                if swept or unfinished:
                    log.info("swept the object store", never_taken=swept, unfinished=unfinished)
            await trio.sleep(SWEEP_EVERY)

    async def _sweep_incoming(self) -> int:
        """Put objects that no job waits for on the list of those to delete. Raises ObjectStoreError."""
        cursor: str | None = ""
        swept = 0
        while cursor is not None:
            page = await self._objects.list_page(INCOMING, cursor=cursor, limit=LISTED_AT_ONCE)
            old = self._now() - GRACE
            keys = tuple(each.key for each in page.objects if each.modified < old and is_incoming_key(each.key))
            swept += await self._doom(keys) if keys else 0
            cursor = page.cursor
            await trio.sleep(PAUSE)
        return swept

    async def _doom(self, keys: tuple[str, ...]) -> int:
        try:
            found = await ask(self._writer, FindUnneeded(keys, doom=True))
        except Exception:
            log.exception("cannot note what is to be swept")
            return 0
        return 0 if isinstance(found, Refusal) else len(found.keys)
