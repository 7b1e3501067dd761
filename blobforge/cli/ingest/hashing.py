"""From found files to hashed ones: out of the cache where they have not changed, else by reading them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from blobforge.cli.ingest.cache import Content, HashCache
from blobforge.cli.ingest.find import Candidate, RejectedPath
from blobforge.cli.ingest.lfs import LARGEST_POINTER, pointer
from blobforge.client import SourceChanged
from blobforge.client.multipart import stamp

CHUNK_FILES = 256
CHUNK_BYTES = 16 << 20  # what one thread reads in one go
_BLOCK = 1 << 20


class Hashed(NamedTuple):
    """A file, and what is to be submitted for it."""

    file: Candidate
    content: Content


class Abandoned(Exception):
    """The run is over; the rest of the reading is not wanted any more."""


def chunks(found: Iterable[Candidate | RejectedPath]) -> Iterator[list[Candidate | RejectedPath]]:
    """Pieces of work of about equal size: many small files, or one large one."""
    chunk: list[Candidate | RejectedPath] = []
    size = 0
    for each in found:
        chunk.append(each)
        size += each.size if isinstance(each, Candidate) else 0
        if len(chunk) >= CHUNK_FILES or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def hash_chunk(
    chunk: Sequence[Candidate | RejectedPath], cache: HashCache, abandoned: threading.Event, *, pointers: bool
) -> list[Hashed | RejectedPath]:
    """Hash each file of `chunk`; one that cannot be read is a RejectedPath. Blocks. Raises Abandoned."""
    files = [each for each in chunk if isinstance(each, Candidate)]
    done: list[Hashed | RejectedPath] = [each for each in chunk if isinstance(each, RejectedPath)]
    fresh: list[Hashed] = []
    for file, known in zip(files, cache.get(files), strict=True):
        if known is not None and (pointers or not known.pointer):
            done.append(Hashed(file, known))
            continue
        try:
            hashed, whole = _read(file, abandoned, pointers=pointers)
        except (OSError, SourceChanged) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or str(error)
            done.append(RejectedPath(file.shown, why, size=file.size))
            continue
        done.append(hashed)
        if whole:
            fresh.append(hashed)
    cache.put(fresh)
    return done


def _read(file: Candidate, abandoned: threading.Event, *, pointers: bool) -> tuple[Hashed, bool]:
    """The file, and whether it stayed the same while it was read. Raises OSError, SourceChanged and Abandoned."""
    with open(file.path, "rb", buffering=0) as opened:
        before = os.fstat(opened.fileno())
        digest = hashlib.sha256()
        size = 0
        head = b""
        while block := opened.read(_BLOCK):
            head = head or block
            size += len(block)
            digest.update(block)
            if abandoned.is_set():
                raise Abandoned
            if size > before.st_size and os.fstat(opened.fileno()).st_size > before.st_size:
                # It may grow as fast as it is read, for ever, and is none of those bytes when it is sent.
                raise SourceChanged(f"{file.shown} was written to while it was read; submit it again")
        after = os.fstat(opened.fileno())
    content = Content(digest.hexdigest(), size, pointer=False)
    if pointers and size <= LARGEST_POINTER:
        content = pointer(head) or content
    # As it is now, not as it was found: it may have been replaced in between.
    file = file._replace(
        size=before.st_size, mtime_ns=before.st_mtime_ns, ctime_ns=before.st_ctime_ns, inode=before.st_ino
    )
    return Hashed(file, content), stamp(before) == stamp(after) and size == before.st_size
