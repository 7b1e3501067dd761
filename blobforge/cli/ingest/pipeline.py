"""The stages of an ingest put together. They run side by side; what lies between two of them is bounded."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from functools import partial

import trio

from blobforge.cli.ingest.batches import Batches, JobOptions, SourceUpload
from blobforge.cli.ingest.cache import HashCache
from blobforge.cli.ingest.find import Candidate, RejectedPath
from blobforge.cli.ingest.hashing import Hashed, chunks, hash_chunk
from blobforge.cli.ingest.report import Report
from blobforge.cli.ingest.uploads import Uploads
from blobforge.client import AsyncClient

HASHERS = min(4, os.cpu_count() or 1)
UPLOADERS = 8
CHUNKS_AHEAD = 4  # of up to 256 files each, before the hashing and after it
UPLOADS_AHEAD = 1000  # the sources of about one batch; sources of which nothing was sent yet cost a few hundred bytes

Chunk = list[Candidate | RejectedPath]


async def ingest(
    client: AsyncClient,
    found: Iterable[Candidate | RejectedPath],
    options: JobOptions,
    report: Report,
    cache: HashCache,
    *,
    pointers: bool = True,
) -> None:
    """Submit all of `found`, and upload what the server lacks. What became of each is told to `report`.

    `pointers`: a Git LFS pointer stands for its content. Raises what ends a run: ServerUnreachable, ApiError for what
    is wrong with the credential or the server. Cancelled or interrupted at any moment, it leaves nothing behind: what
    the server has is skipped by the next run.
    """
    abandoned = threading.Event()
    found_in, found_out = trio.open_memory_channel[Chunk](CHUNKS_AHEAD)
    hashed_in, hashed_out = trio.open_memory_channel[list[Hashed | RejectedPath]](CHUNKS_AHEAD)
    uploads_in, uploads_out = trio.open_memory_channel[SourceUpload](UPLOADS_AHEAD)
    batches = Batches(client, options, report)
    uploads = Uploads(client, batches, report, cache)
    work = partial(hash_chunk, cache=cache, abandoned=abandoned, pointers=pointers)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_find, chunks(found), found_in, report)
            async with found_out, hashed_in, uploads_out:
                for _ in range(HASHERS):
                    nursery.start_soon(_hash, found_out.clone(), hashed_in.clone(), work)
                for _ in range(UPLOADERS):
                    nursery.start_soon(uploads.run, uploads_out.clone())
            nursery.start_soon(batches.run, hashed_out, uploads_in)
        await uploads.confirm()
        await batches.take_back()
    finally:
        abandoned.set()  # threads that were left behind stop at their next block


async def _find(pieces: Iterator[Chunk], found: trio.MemorySendChannel[Chunk], report: Report) -> None:
    async with found:
        while chunk := await trio.to_thread.run_sync(next, pieces, None, abandon_on_cancel=True):
            # Counted as soon as they are found, so that the summary of a run that ends early adds up.
            report.discovered(len(chunk), sum(each.size for each in chunk))
            await found.send(chunk)


async def _hash(
    found: trio.MemoryReceiveChannel[Chunk],
    hashed: trio.MemorySendChannel[list[Hashed | RejectedPath]],
    work: partial[list[Hashed | RejectedPath]],
) -> None:
    async with found, hashed:
        async for chunk in found:
            await hashed.send(await trio.to_thread.run_sync(work, chunk, abandon_on_cancel=True))
