"""Asking the object store about an object before a write. It may not answer: then the write goes on without."""

from __future__ import annotations

from actors.messages import ObjectSeen, Seen, seen_as
from blobforge.objects import ObjectStore, ObjectStoreError
from blobforge.objects.keys import is_key


async def look(objects: ObjectStore, key: str, *, expected_sha256: str | None = None, epoch: int = 0) -> ObjectSeen:
    """What the store says of `key` now. Never raises; a store that hangs costs at most its deadline, once.

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
