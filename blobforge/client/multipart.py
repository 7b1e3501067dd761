"""A large file goes up in parts: a source, or the output of an attempt. A part that fails is sent again by itself."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import os
from collections.abc import Callable
from pathlib import Path

import trio

from blobforge.client.api import Endpoints
from blobforge.client.errors import ApiError, ChecksumMismatch, ClientError, SourceChanged, TransferRefused
from blobforge.client.transfer import CHUNK, FileFacts, OnBytes, hash_file
from blobforge.client.types import MultipartUpload, PartsDestination
from blobforge.machinery.groups import leaves

MULTIPART_ABOVE = 100 << 20  # bytes; a broken connection then costs a part, not the whole
_PARTS_AT_ONCE = 4
PART_REFUSALS = 5  # of one part, one after the other, each answered by a fresh URL after a growing pause
PART_PAUSE = 1.0  # seconds, the first of these
_BEGINNINGS = 3  # of an upload whose parts vanish in the store while it is under way
_ABORT_SECONDS = 5.0
_GONE = 404
_TOO_LARGE = 413
_ENTITY_TOO_LARGE = "EntityTooLarge"  # as S3 says it, with a 400

OnRefusal = Callable[[TransferRefused], None]


def is_too_large(error: BaseException) -> bool:
    """Whether the store, or the server on its behalf, says that no object can be as large as that."""
    if isinstance(error, TransferRefused):
        return error.status == _TOO_LARGE or error.code == _ENTITY_TOO_LARGE
    return isinstance(error, ApiError) and error.status == _TOO_LARGE


async def upload_in_parts(
    client: Endpoints,
    to: PartsDestination,
    path: Path,
    facts: FileFacts,
    *,
    on_bytes: OnBytes | None = None,
    on_refusal: OnRefusal | None = None,
) -> bool:
    """Upload the bytes that `facts` are about, from `path`. False: one PUT is the way to go, and nothing was sent.

    Raises OSError, ChecksumMismatch or SourceChanged (the file is another by now), and what the client raises.
    """
    for beginning in range(1, _BEGINNINGS + 1):
        try:
            upload = await client.begin_multipart(to, facts.size)
        except ApiError as error:
            if _takes_no_parts(error, to):
                return False
            raise
        try:
            await _Parts(client, to, path, facts, upload, on_bytes, on_refusal).send()
        except (ApiError, TransferRefused) as error:
            if beginning == _BEGINNINGS or not _is_gone(error):
                raise
        else:
            break
    return True


class _Parts:
    """One upload: a few parts side by side, each repeated by itself; those that the store has already are only read.

    What the store refuses for good is thrown away there. What merely broke off (no network, Ctrl-C) stays there of a
    source: the next run takes it up. An attempt's output is never taken up.
    """

    def __init__(
        self,
        client: Endpoints,
        to: PartsDestination,
        path: Path,
        facts: FileFacts,
        upload: MultipartUpload,
        on_bytes: OnBytes | None,
        on_refusal: OnRefusal | None,
    ) -> None:
        self._client = client
        self._to = to
        self._path = path
        self._facts = facts
        self._upload = upload
        self._on_bytes = on_bytes
        self._on_refusal = on_refusal
        self._there = {part.number: part for part in upload.parts}
        self._etags: dict[int, str] = {}
        self._slots = trio.Semaphore(_PARTS_AT_ONCE)

    async def send(self) -> None:
        """Raises what one of the parts raised, and SourceChanged, ChecksumMismatch."""
        upload_id = self._upload.upload_id
        if self._upload.stored or upload_id is None:
            return
        before = await trio.to_thread.run_sync(_stamp, self._path)
        changed = SourceChanged(f"{self._path} was written to while it was uploaded; submit it again")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._same_as_before)
                for number in range(1, math.ceil(self._facts.size / self._upload.part_size) + 1):
                    nursery.start_soon(self._one, upload_id, number, before)
            if before != await trio.to_thread.run_sync(_stamp, self._path):
                raise changed
            await self._client.complete_multipart(self._to, upload_id, sorted(self._etags.items()))
        except BaseException as error:
            cause = _first(error)
            if isinstance(cause, TransferRefused) and before != _stamp(self._path):
                cause = changed  # that is why the store found other bytes than were announced
            if not self._to.is_source or _is_final(cause):
                with trio.move_on_after(_ABORT_SECONDS, shield=True), contextlib.suppress(ClientError):
                    await self._client.with_patience(0).abort_multipart(self._to, upload_id)
            if cause is error:
                raise
            raise cause from None

    async def _one(self, upload_id: str, number: int, before: Stamp) -> None:
        size = self._upload.part_size
        async with self._slots:
            span = ((number - 1) * size, min(size, self._facts.size - (number - 1) * size))
            digest = await trio.to_thread.run_sync(_md5, self._path, span, abandon_on_cancel=True)
            known = self._there.get(number)
            if known is not None and known.size == span[1] and known.etag == digest.hex():
                self._etags[number] = known.etag
                return
            md5 = base64.b64encode(digest).decode()
            refusals = 0
            while number not in self._etags:
                try:
                    self._etags[number] = await self._client.upload_part(
                        self._to, upload_id, number, self._path, span, md5, on_bytes=self._on_bytes
                    )
                except TransferRefused as error:
                    refusals += 1
                    hopeless = refusals > PART_REFUSALS or is_too_large(error) or _is_gone(error)
                    if hopeless or before != _stamp(self._path):
                        raise
                    if self._on_refusal is not None:
                        self._on_refusal(error)
                    await trio.sleep(PART_PAUSE * 2 ** (refusals - 1))

    async def _same_as_before(self) -> None:
        # The store checks each part as it was read. That all are parts of the file that was announced, this says.
        now = await hash_file(self._path)
        if now != self._facts:
            raise ChecksumMismatch(f"{self._path} changed before it was uploaded: it", self._facts.sha256, now.sha256)


def _takes_no_parts(error: ApiError, to: PartsDestination) -> bool:
    """The embedded store takes any size in one stream. A server of an older version knows no parts, or none of an
    output: then it takes its caller for a submitter."""
    if error.type in ("wrong-store", "no-such-route"):
        return True
    return not to.is_source and error.type in ("scope-missing", "invalid")


def _is_gone(error: BaseException) -> bool:
    """Whether the upload is not there any more: thrown away in the store, by its own rules for example."""
    if isinstance(error, ApiError):
        return error.type == "upload-gone"
    return isinstance(error, TransferRefused) and error.status == _GONE


def _is_final(error: BaseException) -> bool:
    """Whether another run would fare no better with what has been uploaded."""
    return isinstance(error, (ChecksumMismatch, SourceChanged, TransferRefused, OSError)) or (
        isinstance(error, ApiError) and error.status in (409, _TOO_LARGE)
    )


def _first(error: BaseException) -> BaseException:
    """The error itself, or, where several parts failed side by side, one that stands for them. A cancellation, or
    what is none of these errors, stays as it is."""
    found = list(leaves(error))
    known = all(isinstance(each, (ClientError, OSError)) for each in found)
    return found[0] if known or len(found) == 1 else error


Stamp = tuple[int, int, int, int]


def stamp(status: os.stat_result) -> Stamp:
    """File attributes that change with every write. The ctime is the only one that a program cannot set back."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _stamp(path: Path) -> Stamp:
    return stamp(path.stat())


def _md5(path: Path, span: tuple[int, int]) -> bytes:
    """Against faults of the line and the disk, not against people: the whole's SHA-256 is for those."""
    digest = hashlib.md5(usedforsecurity=False)
    left = span[1]
    with path.open("rb") as file:
        file.seek(span[0])
        while left and (chunk := file.read(min(CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.digest()
