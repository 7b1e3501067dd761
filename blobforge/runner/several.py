"""Several outputs of an attempt on their way to the store: file by file, some side by side.

Each is bound to its checksum and written once. So one that was cut off is sent again by itself, a large one from the
part on that is missing, and one that is there already is not sent again.
"""

from __future__ import annotations

import math
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import trio

from blobforge.client import ApiError, AsyncClient, ChecksumMismatch, FileFacts, TransferRefused, hash_file
from blobforge.client.multipart import MULTIPART_ABOVE
from blobforge.client.types import NamedUploadUrl, PartsDestination
from blobforge.machinery.groups import unwrapped
from blobforge.outputs import AT_ONCE
from blobforge.runner.holdings import Held
from blobforge.runner.outputs import OutputFile
from blobforge.runner.upload import UploadPlace, in_parts, put, told_as_outcome

SIDE_BY_SIDE = 8
_ONE_ONLY = "wrong-store"  # the problem's type where an attempt has one output


class Brought(NamedTuple):
    """What is in the store: the key of the main output, and how many bytes there are in all."""

    main_key: str
    size: int


async def upload_several(client: AsyncClient, held: Held, files: Sequence[OutputFile]) -> Brought | None:
    """Upload them, the first of which is the main one. None: this server, or its store, takes one output an attempt,
    and nothing was sent. Raises JobFailed and WorkerTrouble; abandons a job that is lost."""
    async with told_as_outcome(held):
        try:
            with unwrapped():
                return await _Upload(client.with_patience(math.inf), held, files).run()
        except ApiError as error:
            if error.type == _ONE_ONLY:
                return None
            raise


class _Upload:
    """One attempt's. State owned here: how far it is."""

    def __init__(self, patient: AsyncClient, held: Held, files: Sequence[OutputFile]) -> None:
        self._patient = patient
        self._held = held
        self._files = files
        self._there = 0
        self._bytes = 0
        self._total = 0

    async def run(self) -> Brought:
        self._total = await trio.to_thread.run_sync(lambda: sum(each.path.stat().st_size for each in self._files))
        main_key = ""
        for start in range(0, len(self._files), AT_ONCE):
            some = self._files[start : start + AT_ONCE]
            facts = [await hash_file(each.path) for each in some]
            told = [_told(file, known) for file, known in zip(some, facts, strict=True)]
            places = await self._ask(told)
            main_key = main_key or places[0].key
            await self._send(list(zip(some, facts, told, places, strict=True)))
        return Brought(main_key, self._total)

    async def _ask(self, told: Sequence[dict[str, Any]]) -> list[NamedUploadUrl]:
        claim = self._held.claim
        return await self._patient.named_upload_urls(claim.job.id, claim.lease, told)

    async def _send(self, due: Sequence[tuple[OutputFile, FileFacts, dict[str, Any], NamedUploadUrl]]) -> None:
        """Some side by side: the large ones do not wait for one another, and memory and sockets are bounded."""
        waiting, since = iter(due), trio.current_time()

        async def work() -> None:
            for file, facts, told, place in waiting:
                await self._one(file, facts, told, place, since)
                self._there += 1
                self._report()

        async with trio.open_nursery() as nursery:
            for _ in range(min(SIDE_BY_SIDE, len(due))):
                nursery.start_soon(work)

    async def _one(
        self, file: OutputFile, facts: FileFacts, told: dict[str, Any], first: NamedUploadUrl, since: float
    ) -> None:
        claim = self._held.claim
        if facts.size > MULTIPART_ABOVE:
            to = PartsDestination(job_id=claim.job.id, lease=claim.lease, name=told["name"])
            if await in_parts(self._patient, self._held, to, file.path, facts, on_bytes=self._moved):
                return

        async def fresh() -> UploadPlace:
            await _unchanged(file.path, facts)  # the store refuses what has other bytes, however fresh the URL
            (granted,) = await self._ask([told])
            return UploadPlace(granted.url, granted.headers, trio.current_time(), once=True)

        place = UploadPlace(first.url, first.headers, since, once=True)
        try:
            sent = await put(self._patient, self._held, file.path, place, fresh, on_bytes=self._moved)
        except TransferRefused:
            await _unchanged(file.path, facts)
            raise
        if sent is None:  # it was there
            self._moved(facts.size)
        elif sent != facts:
            raise ChecksumMismatch(file.name or file.path.name, facts.sha256, sent.sha256)

    def _moved(self, count: int) -> None:
        self._bytes += count
        self._report()

    def _report(self) -> None:
        self._held.report(
            {
                "stage": "uploading",
                "done": self._there,
                "total": len(self._files),
                "bytes": self._bytes,
                "bytes_total": self._total,
            }
        )


def _told(file: OutputFile, facts: FileFacts) -> dict[str, Any]:
    assert file.name is not None, "several have names"
    media_type = mimetypes.guess_type(file.name)[0]
    told = {"name": file.name, "checksum": facts.sha256, "size": facts.size}
    return told | ({"media_type": media_type} if media_type is not None else {})


async def _unchanged(path: Path, facts: FileFacts) -> None:
    """Raises ChecksumMismatch where the file is not what was told of it."""
    now = await hash_file(path)
    if now != facts:
        raise ChecksumMismatch(path.name, facts.sha256, now.sha256)
