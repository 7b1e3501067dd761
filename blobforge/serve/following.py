"""How a server takes up the history that it shares with others: at its start, and anew where it lost the thread."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from functools import partial

import structlog
import trio

from actors.follower import Follower
from actors.mailbox import ask
from actors.messages import Ping
from blobforge.events import AccessChanged, CredentialsRevoked, WritesResumed
from blobforge.machinery.hop import Hop, in_thread
from blobforge.refusals import Refusal
from blobforge.serve.parts import Parts
from blobforge.store.engine import Engine
from blobforge.store.following import Entry, HistoryReader

log = structlog.get_logger("blobforge.follower")

ENTRIES_AT_ONCE = 1000
SETTLE_AGAIN_SECONDS = 1.0
LEFT_SECONDS = 300.0


@asynccontextmanager
async def followed(engine: Engine, parts: Parts, *, hop: Hop | None) -> AsyncIterator[HistoryReader | None]:
    """The history that this database has, taken up at its end: to be called before anything is read that is told of
    by it. None: this server is the only one. It is closed behind the block. Raises StoreUnavailable."""
    with engine.damage_told():
        source = await (hop or in_thread)(engine.follow)
    if source is None:
        yield None
        return
    with closing(source):
        with engine.damage_told():
            await _take_up(source, parts, hop=hop)
        yield source


def follow(
    source: HistoryReader,
    parts: Parts,
    actors: trio.Nursery,
    *,
    resume: Callable[[Parts], Awaitable[None]],
    inherit: Callable[[Parts], Awaitable[None]],
    hop: Hop | None,
) -> None:
    """Start the follower. `resume` has the actors take up what the database says; `inherit` what a server that is
    gone had in hand."""

    async def rebuild(forked: bool) -> None:
        await _take_up(source, parts, hop=hop, forked=forked)
        # All that is remembered of credentials may be wrong, and no silence was heard meanwhile.
        parts.writer.sequencer.tell([AccessChanged(), CredentialsRevoked(()), WritesResumed()])
        if forked:
            # By each server that has lost something: the first one may be gone, or has lost nothing. The writer
            # itself may be waiting for this to end.
            actors.start_soon(settled, parts)
        await resume(parts)
        parts.scheduler.look_anew()

    parts.follower = Follower(source, parts.writer.sequencer, rebuild=rebuild, hop=hop, outage=parts.reads.outage)
    parts.presence.on_change = lambda: actors.start_soon(inherit, parts)
    actors.start_soon(parts.follower.run)
    actors.start_soon(_look_for_what_is_left, inherit, parts)


async def settled(parts: Parts) -> None:
    """The writer settles a fork before all else. Where no other message comes, it is given one until it could."""
    sequencer = parts.writer.sequencer
    while sequencer.settled < sequencer.fork:
        try:
            outcome = await ask(parts.writer.mailbox, Ping())
        except Exception:
            log.exception("cannot settle what was lost; tried again")
        else:
            if not isinstance(outcome, Refusal):
                return
        await trio.sleep(SETTLE_AGAIN_SECONDS)


async def _look_for_what_is_left(inherit: Callable[[Parts], Awaitable[None]], parts: Parts) -> None:
    """A server that was killed before the others had heard of it, and was not started again, is missed by none."""
    while True:
        await trio.sleep(LEFT_SECONDS)
        await inherit(parts)


async def _take_up(source: HistoryReader, parts: Parts, *, hop: Hop | None, forked: bool = False) -> None:
    """Begin at the end of the history. The events before are there for clients that come back."""
    ask = hop or in_thread
    sequencer = parts.writer.sequencer
    latest = await ask(source.latest)
    replay = parts.services.settings.event_replay
    entries: list[Entry] = []
    after = max(0, latest - replay)
    # What this server commits itself is told meanwhile: that must not be told again.
    while after < (latest := latest if forked else max(latest, sequencer.last)):
        found = await ask(partial(source.read, after, ENTRIES_AT_ONCE))
        if not found:
            break
        entries += found
        after = found[-1].n
    parts.broadcaster.go_on_from(latest, [entry for entry in entries if entry.n <= latest])
    sequencer.go_on_from(latest)
