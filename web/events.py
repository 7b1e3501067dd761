"""`GET /events`: Server-Sent Events, from the broadcaster's window to one client's socket."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from functools import partial
from typing import Annotated

import msgspec
import trio
from msgspec import Meta
from quart import Response

from actors.broadcaster import Subscription
from blobforge.events import EVENT_NAMES
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.errors import DatabaseError
from web.decode import query
from web.long_answers import long_answer, may_still_read
from web.routing import Access, Call, Route

# Proxies close what is silent for a minute; a comment costs nothing and also finds clients that are gone.
KEEPALIVE_SECONDS = 15.0
PING_SECONDS = 30.0  # existing clients end a stream that has no `ping` for long
MOST_JOBS = 100  # that one stream names
CONNECTED = b"event: ping\ndata: connected\n\n"  # the first frame of every stream, as existing clients expect it
STILL_HERE = b": still here\n\n"
PING = b"event: ping\ndata: keepalive\n\n"

STREAM = "text/event-stream"
CONTENT_TYPE = f"{STREAM}; charset=utf-8"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventsQuery(msgspec.Struct, frozen=True):
    """`types` is a comma-separated list of event names; `job` the id of one job, to which they are narrowed; `jobs`
    a comma-separated list of job ids (100 at most), whose events come besides, whatever their names."""

    types: Annotated[str, Meta(max_length=500)] | None = None
    job: Annotated[int, Meta(ge=1, le=2**63 - 1)] | None = None
    jobs: Annotated[str, Meta(max_length=2000, pattern=r"^[0-9]{1,19}(,[0-9]{1,19})*$")] | None = None
    last_event_id: Annotated[str, Meta(max_length=100)] | None = None


async def events(call: Call) -> Response | Refusal:
    """The stream of events from now on; with `Last-Event-ID`, the missed ones come first.

    `ping` (`connected`) comes first and `ping` (`keepalive`) every 30 s; every other event is
    `{"type": "<its name>", "data": {...}}`.
    """
    wanted = query(call.request.args, EventsQuery)
    if isinstance(wanted, Refusal):
        return wanted
    types = frozenset(filter(None, (wanted.types or "").split(",")))
    if unknown := types - set(EVENT_NAMES):
        names = ", ".join(EVENT_NAMES)
        return Refusal(RefusalCode.INVALID, f"There is no event {min(unknown)!r}; there are {names}.", field="types")
    jobs = frozenset(map(int, wanted.jobs.split(","))) if wanted.jobs else frozenset()
    if len(jobs) > MOST_JOBS:
        return Refusal(RefusalCode.INVALID, f"A stream can name {MOST_JOBS} jobs at most.", field="jobs")
    last = call.request.headers.get("Last-Event-ID") or wanted.last_event_id
    subscribe = partial(
        call.services.broadcaster.subscribe,
        last_event_id=last,
        types=types,
        job=wanted.job,
        jobs=jobs,
        secret_hash=call.caller.secret_hash,
    )
    return long_answer(
        call, lambda room: _stream(call, subscribe, room, bool(last)), headers=HEADERS, type_=CONTENT_TYPE
    )


async def _stream(
    call: Call, subscribe: Callable[[], Subscription], room: ExitStack, comes_back: bool
) -> AsyncIterator[bytes]:
    with room:
        subscription = subscribe()
        room.callback(call.services.broadcaster.unsubscribe, subscription)
        frame: bytes | None = CONNECTED + (b"" if comes_back else call.services.broadcaster.position_frame())
        pinged = trio.current_time()
        checked = -math.inf  # a revocation is told to subscribers alone, and this one was none when it was let in
        while frame is not None:
            if trio.current_time() - checked >= KEEPALIVE_SECONDS or call.good_for() <= 0:
                # A stream lives for days; its caller may have been shut out since, by the provider, too.
                try:
                    allowed = await may_still_read(call)
                except DatabaseError:
                    # While the database is away nothing is told that a revocation could be behind.
                    if checked == -math.inf or call.good_for() <= 0:
                        return
                else:
                    if not allowed:
                        return
                    checked = trio.current_time()
            yield frame
            until_ping = pinged + PING_SECONDS - trio.current_time()
            frame = PING if until_ping <= KEEPALIVE_SECONDS else STILL_HERE
            with trio.move_on_after(min(KEEPALIVE_SECONDS, max(0, until_ping), call.good_for())):
                frame = await subscription.next()
            if frame is PING:
                pinged = trio.current_time()


ROUTES = [
    Route(
        "GET",
        "/events",
        Access.READ,
        events,
        "Live events (SSE)",
        gives=str,
        kinds=(STREAM,),
        query=EventsQuery,
    ),
]
