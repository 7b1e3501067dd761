"""Answers that are read piece by piece for as long as they take: whether the caller may still have one."""

from __future__ import annotations

from typing import Final

import trio

from blobforge.access import Scope
from blobforge.refusals import Refusal, RefusalCode
from web.auth.credentials import authenticate
from web.routing import Call

CHECKED_SECONDS: Final = 15.0  # between two looks at whether the caller may still read

TOO_MANY: Final = Refusal(
    RefusalCode.SLOW_DOWN,
    "Too many streams are open, in total or from your address (BLOBFORGE_MAX_STREAMS).",
    retry_after=10,
)


class StillAllowed:
    """Whether the caller may still read: asked before each piece, and looked up now and then."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._checked = trio.current_time()

    async def look(self) -> bool:
        call = self._call
        if trio.current_time() - self._checked < CHECKED_SECONDS and call.good_for() > 0:
            return True
        caller = await authenticate(call.request, call.services.keyring, call.services.sessions)
        self._checked = trio.current_time()
        return not isinstance(caller, Refusal) and caller.may(Scope.READ)
