"""Answers that go on piece by piece for as long as they take: the room that each has, and whether the caller may
still have it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from typing import Final

import trio
from quart import Response

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


def long_answer(
    call: Call, pieces: Callable[[ExitStack], AsyncIterator[bytes]], *, headers: Mapping[str, str], type_: str
) -> Response | Refusal:
    """One with these pieces, if there is room for it. They are given the room, and what they hold, they hold within
    `with`: a client that goes away ends them by Cancelled or by GeneratorExit, and `with` hears of both. One that
    goes before the first byte ends them before they have begun, and no `with` hears of that: hence nothing is taken
    outside of it, and the room goes with the last reference to its ExitStack."""
    if call.request.method == "HEAD":  # asks about it, and will read nothing of it
        return Response(b"", headers=dict(headers), content_type=type_)
    room = ExitStack()
    if not room.enter_context(call.services.streams.room(call.services.site.address(call.request))):
        return TOO_MANY
    response = Response(pieces(room), headers=dict(headers), content_type=type_)
    response.timeout = None  # Quart would end it after a minute
    return response


async def may_still_read(call: Call) -> bool:
    """Whether the caller may read now. Raises DatabaseError."""
    caller = await authenticate(call.request, call.services.keyring, call.services.sessions)
    return not isinstance(caller, Refusal) and caller.may(Scope.READ)


class StillAllowed:
    """Whether the caller may still read: asked before each piece, and looked up now and then."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._checked = trio.current_time()

    async def look(self) -> bool:
        """Raises DatabaseError."""
        if trio.current_time() - self._checked < CHECKED_SECONDS and self._call.good_for() > 0:
            return True
        allowed = await may_still_read(self._call)
        self._checked = trio.current_time()
        return allowed
