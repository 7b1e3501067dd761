"""A file becomes a job: hash it, submit the hash, upload the bytes if the server lacks them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio

from blobforge.client.api import Client
from blobforge.client.errors import ApiError, ChecksumMismatch, ClientError, SourceChanged, TransferRefused
from blobforge.client.transfer import CHUNK, FileFacts, OnBytes, hash_file
from blobforge.client.types import Multipart

MULTIPART_ABOVE = 100 << 20  # bytes; a broken connection then costs a part, not the whole
_PARTS_AT_ONCE = 4
_ABORT_SECONDS = 5.0


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file. `existing`: the job was there already. `uploaded`: bytes went over the wire."""

    path: str
    job_id: int
    status: str
    existing: bool
    uploaded: bool
    size: int
    sha256: str


async def submit_file(
    client: Client,
    path: Path,
    type: str,
    *,
    priority: int | None = None,
    max_attempts: int | None = None,
    tags: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    on_bytes: OnBytes | None = None,
) -> Submitted:
    """Submit `path` as a job of `type`. Memory stays bounded whatever its size.

    Raises OSError (the file cannot be read), ChecksumMismatch (it changed while it was read) and what the
    client raises.
    """
    facts = await hash_file(path)
    name = os.fsencode(path).decode("utf-8", "replace")  # a file's name is bytes; JSON has no place for bad ones
    answer = await client.submit_job(
        type,
        facts.sha256,
        source_path=name,
        source_size=facts.size,
        priority=priority,
        max_attempts=max_attempts,
        tags=tags,
        metadata=metadata,
    )
    status = answer.status or "pending"
    if answer.upload_url is not None:
        await upload_source(
            client, path, facts, answer.upload_url, headers=answer.upload_headers or {}, on_bytes=on_bytes
        )
        status = (await client.source_uploaded(answer.job_id)).status or "pending"
    return Submitted(
        path=name,
        job_id=answer.job_id,
        status=status,
        existing=answer.existing,
        uploaded=answer.upload_url is not None,
        size=facts.size,
        sha256=facts.sha256,
    )


async def upload_source(
    client: Client,
    path: Path,
    facts: FileFacts,
    url: str,
    *,
    headers: Mapping[str, str],
    on_bytes: OnBytes | None = None,
) -> None:
    """Upload the bytes that `facts` are about, from `path`: by one PUT to `url`, or in parts where they are many.

    Raises OSError, ChecksumMismatch (the file is another by now) and what the client raises.
    """
    if facts.size > MULTIPART_ABOVE:
        try:
            upload = await client.begin_multipart(facts.sha256, facts.size)
        except ApiError as error:
            # The embedded store takes any size in one stream; a server of an older version knows no parts.
            if error.type not in ("wrong-store", "no-such-route"):
                raise
        else:
            await _in_parts(client, path, facts, upload, on_bytes)
            return
    try:
        sent = await client.upload(url, path, headers=headers, on_bytes=on_bytes)
    except TransferRefused as refused:
        if refused.status not in (401, 403):
            raise
        # It may have waited for its turn longer than its URL lasted.
        fresh = await client.source_upload_url(facts.sha256)
        sent = await client.upload(fresh.url, path, headers=fresh.headers, on_bytes=on_bytes)
    if sent.sha256 != facts.sha256:
        raise ChecksumMismatch(f"{path} changed while it was uploaded: it", facts.sha256, sent.sha256)


async def _in_parts(
    client: Client, path: Path, facts: FileFacts, upload: Multipart, on_bytes: OnBytes | None
) -> None:
    """A few parts side by side, each repeated by itself; those that the store has already are only read.

    What the store refuses for good is thrown away there. What merely broke off (no network, Ctrl-C) stays: the next
    run takes it up.
    """
    if upload.stored or upload.upload_id is None:
        return
    size = upload.part_size
    there = {part.number: part for part in upload.parts}
    etags: dict[int, str] = {}
    slots = trio.Semaphore(_PARTS_AT_ONCE)

    async def one(number: int) -> None:
        async with slots:
            span = ((number - 1) * size, min(size, facts.size - (number - 1) * size))
            digest = await trio.to_thread.run_sync(_md5, path, span, abandon_on_cancel=True)
            known = there.get(number)
            if known is not None and known.size == span[1] and known.etag == digest.hex():
                etags[number] = known.etag
                return
            md5 = base64.b64encode(digest).decode()
            assert upload.upload_id is not None
            etags[number] = await client.upload_part(
                facts.sha256, upload.upload_id, number, path, span, md5, on_bytes=on_bytes
            )

    async def same_as_before() -> None:
        # The store checks each part as it was read. That all are parts of the file that was announced, this says.
        now = await hash_file(path)
        if now != facts:
            raise ChecksumMismatch(f"{path} changed before it was uploaded: it", facts.sha256, now.sha256)

    before = await trio.to_thread.run_sync(_stamp, path)
    changed = SourceChanged(f"{path} was written to while it was uploaded; submit it again")
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(same_as_before)
            for number in range(1, math.ceil(facts.size / size) + 1):
                nursery.start_soon(one, number)
        if before != await trio.to_thread.run_sync(_stamp, path):
            raise changed
        await client.complete_multipart(facts.sha256, upload.upload_id, sorted(etags.items()))
    except BaseException as error:
        alone = _alone(error)
        if isinstance(alone, TransferRefused) and before != _stamp(path):
            alone = changed  # that is why the store found other bytes than were announced
        if _is_final(alone):
            with trio.move_on_after(_ABORT_SECONDS, shield=True), contextlib.suppress(ClientError):
                await client.with_patience(0).abort_multipart(facts.sha256, upload.upload_id)
        if alone is error:
            raise
        raise alone from None


def _is_final(error: BaseException) -> bool:
    """Whether another run would fare no better with what has been uploaded."""
    return isinstance(error, (ChecksumMismatch, SourceChanged, TransferRefused, OSError)) or (
        isinstance(error, ApiError) and error.status == 409
    )


def _alone(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def stamp(status: os.stat_result) -> tuple[int, int, int, int]:
    """What no write leaves as it is. The ctime is the one of these that nobody can set back."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _stamp(path: Path) -> tuple[int, int, int, int]:
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
