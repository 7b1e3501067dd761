"""Accepted outputs are put where no URL to upload reaches them. State owned here: the outputs that are still to be
copied.

A part of the intake. What was accepted may be written over by the URLs that its attempt was given, until they have
expired; so the store copies it to a key of its own, if it still is what was seen when it was accepted, and from then
on that copy is served. Off the write path: until it is done, the object is compared (web/served.py).
"""

from __future__ import annotations

from collections import deque
from typing import Any

import structlog
import trio

from actors.mailbox import Envelope, Mailbox, ask
from actors.messages import KeptOutput, LostOutput, OutputsKept
from blobforge.events import OutputAccepted
from blobforge.objects import ObjectInfo, ObjectStore, ObjectStoreError
from blobforge.objects.keys import accepted_key
from blobforge.refusals import Refusal

log = structlog.get_logger("blobforge.intake")

AT_ONCE = 8  # copies side by side, and as many in one transaction at most
TRY_AGAIN = 5.0  # seconds after the store, or the writer, could not


class OutputKeeper:
    """`installation` is the id of this database, which is in the keys of the copies."""

    def __init__(self, writer: Mailbox[Envelope[Any]], objects: ObjectStore, installation: str) -> None:
        self._writer = writer
        self._objects = objects
        self._installation = installation
        self._waiting: deque[OutputAccepted] = deque()
        self._keys: set[str] = set()  # of those that wait or are being copied
        self._more = trio.Event()

    @property
    def waiting(self) -> int:
        """How many are to be kept."""
        return len(self._waiting)

    def add(self, accepted: OutputAccepted) -> None:
        if accepted.key in self._keys:
            return
        self._keys.add(accepted.key)
        self._waiting.append(accepted)
        self._more.set()

    async def run(self) -> None:
        while True:
            await self._more.wait()
            some = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
            if not some:
                self._more = trio.Event()
                continue
            kept: list[KeptOutput] = []
            lost: list[LostOutput] = []
            async with trio.open_nursery() as nursery:
                for accepted in some:
                    nursery.start_soon(self._keep, accepted, kept, lost)
            done = (not kept and not lost) or await self._tell_writer(OutputsKept(tuple(kept), tuple(lost)))
            ended = {each.key for each in kept} | {each.key for each in lost} if done else set()
            self._keys -= ended
            again = [accepted for accepted in some if accepted.key not in ended]
            self._waiting.extend(again)
            if again:
                await trio.sleep(TRY_AGAIN)

    async def _keep(self, accepted: OutputAccepted, kept: list[KeptOutput], lost: list[LostOutput]) -> None:
        like = None
        if accepted.size is not None:
            like = ObjectInfo(accepted.key, accepted.size, accepted.sha256, etag=accepted.etag)
        to = accepted_key(self._installation, accepted.key)
        try:
            copied = await self._objects.copy(accepted.key, to, like=like)
        except ObjectStoreError as error:
            log.warning("cannot keep an accepted output; tried again", key=accepted.key, error=str(error))
            return
        if isinstance(copied, ObjectInfo):
            kept.append(KeptOutput(accepted.key, to))
        else:
            log.warning("an accepted output is not what it was", key=accepted.key, found=copied)
            lost.append(LostOutput(accepted.job_id, accepted.attempt, accepted.key, copied))

    async def _tell_writer(self, message: OutputsKept) -> bool:
        try:
            outcome = await ask(self._writer, message)
        except Exception:
            log.exception("cannot note which outputs are kept")
            return False
        return not isinstance(outcome, Refusal)
