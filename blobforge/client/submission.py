"""A file becomes a job: hash it, submit the hash, upload the bytes if the server lacks them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from blobforge.client.api import Endpoints
from blobforge.client.errors import ChecksumMismatch, TransferRefused
from blobforge.client.multipart import MULTIPART_ABOVE, upload_in_parts
from blobforge.client.transfer import FileFacts, OnBytes, hash_file
from blobforge.client.types import PartsDestination


class SubmittedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one file. `existing`: the job was there already. `uploaded`: bytes went over the wire.
    `ignored`: what was said of it and that job has otherwise, as "group": it stays as it is."""

    path: str
    job_id: int
    status: str
    existing: bool
    uploaded: bool
    size: int
    sha256: str
    ignored: list[str] | None = None


async def submit_file(
    client: Endpoints,
    path: Path,
    type: str,
    *,
    priority: int | None = None,
    max_attempts: int | None = None,
    tags: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    requires: Sequence[str] | None = None,
    not_before: datetime | None = None,
    group: str | None = None,
    expires_at: datetime | None = None,
    batch: int | None = None,
    then: Sequence[Mapping[str, Any]] | None = None,
    name: str | None = None,
    on_bytes: OnBytes | None = None,
) -> SubmittedFile:
    """Submit `path` as a job of `type`. Memory stays bounded whatever its size. `name` is the source's path for the
    server, where that is another.

    Raises OSError (the file cannot be read), ChecksumMismatch (it changed while it was read) and what the
    client raises.
    """
    facts = await hash_file(path)
    name = name or os.fsencode(path).decode(
        "utf-8", "replace"
    )  # a file's name is bytes; JSON has no place for bad ones
    answer = await client.submit_job(
        type,
        facts.sha256,
        source_path=name,
        source_size=facts.size,
        priority=priority,
        max_attempts=max_attempts,
        tags=tags,
        metadata=metadata,
        options=options,
        requires=requires,
        not_before=not_before,
        group=group,
        expires_at=expires_at,
        batch=batch,
        then=then,
    )
    status = answer.status or "pending"
    if answer.upload_url is not None:
        await upload_source(
            client, path, facts, answer.upload_url, headers=answer.upload_headers or {}, on_bytes=on_bytes
        )
        status = (await client.source_uploaded(answer.job_id)).status or "pending"
    return SubmittedFile(
        path=name,
        job_id=answer.job_id,
        status=status,
        existing=answer.existing,
        uploaded=answer.upload_url is not None,
        size=facts.size,
        sha256=facts.sha256,
        ignored=answer.ignored,
    )


async def upload_source(
    client: Endpoints,
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
        to = PartsDestination(source_hash=facts.sha256)
        if await upload_in_parts(client, to, path, facts, on_bytes=on_bytes):
            return
    try:
        sent = await client.upload(url, path, headers=headers, on_bytes=on_bytes)
    except TransferRefused as refused:
        if refused.status in (400, 422) and (now := await hash_file(path)).sha256 != facts.sha256:
            raise ChecksumMismatch(
                f"{path} changed before it was uploaded: it", facts.sha256, now.sha256
            ) from refused
        if refused.status not in (401, 403):
            raise
        # It may have waited for its turn longer than its URL lasted.
        fresh = await client.source_upload_url(facts.sha256)
        sent = await client.upload(fresh.url, path, headers=fresh.headers, on_bytes=on_bytes)
    if sent.sha256 != facts.sha256:
        raise ChecksumMismatch(f"{path} changed while it was uploaded: it", facts.sha256, sent.sha256)
