"""Asking the object store about an object before a write. It may not answer: then the write goes on without."""

from __future__ import annotations

from collections.abc import Collection

import trio

from actors.messages import CheckSource, ObjectSeen, Seen, SourceSettledFor, seen_as
from blobforge.objects import ObjectStore, ObjectStoreError
from blobforge.objects.keys import is_key, source_key
from blobforge.refusals import Refusal
from web.routing import Call

AT_ONCE = 16  # looks of one request side by side: the store's other callers wait no longer than for these
VERIFY_WAIT = 10.0  # seconds that a request waits for the check of a source's bytes
LOOKS_WAIT = 2.0  # seconds for all looks of one request; then what is known decides for the rest


async def looked_at(call: Call, source_hash: str) -> SourceSettledFor | Refusal | None:
    """Have the intake read a source that may be there, and remove it where it has the wrong bytes: that, or that
    there is none, is a refusal. None: it takes longer than a request waits."""
    with trio.move_on_after(VERIFY_WAIT):
        return await call.ask_via(call.services.intake, CheckSource(source_hash))
    return None


async def look(objects: ObjectStore, key: str, *, expected_sha256: str | None = None, epoch: int = 0) -> ObjectSeen:
    """Ask the store for `key` now. Never raises; a store that hangs costs at most its deadline, once.

    An object is VERIFIED when the store itself vouches for the expected SHA-256 of its bytes. `epoch` is how many
    rounds of deletions have ended until now.
    """
    if not is_key(key):
        return ObjectSeen(Seen.ABSENT)
    try:
        info = await objects.head(key)
    except ObjectStoreError:
        return ObjectSeen(Seen.UNKNOWN)
    if info is None:
        return ObjectSeen(Seen.ABSENT)
    verified = expected_sha256 is not None and info.sha256 == expected_sha256
    return seen_as(info, verified=verified, epoch=epoch)


async def look_at_sources(objects: ObjectStore, hashes: Collection[str], *, epoch: int) -> dict[str, ObjectSeen]:
    """Ask the store for many sources; the answers are by their hashes, without those that did not come in time. The
    first that it does not answer ends the looking."""
    found: dict[str, ObjectSeen] = {}
    left = iter(hashes)

    async def some() -> None:
        for sha256 in left:
            seen = await look(objects, source_key(sha256), expected_sha256=sha256, epoch=epoch)
            if seen.seen is Seen.UNKNOWN:
                nursery.cancel_scope.cancel()
                return
            found[sha256] = seen

    with trio.move_on_after(LOOKS_WAIT):
        async with trio.open_nursery() as nursery:
            for _ in range(min(AT_ONCE, len(hashes))):
                nursery.start_soon(some)
    return found
