"""Bytes to and from signed URLs, streamed: memory stays at one chunk whatever the file's size.

A signed URL is its own credential, so no other one goes along: it may point at a store that is not ours.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import httpx
import msgspec
import trio

from blobforge.client.errors import ApiError, ChecksumMismatch, TransferRefused
from blobforge.client.transport import LATER, Transport, unreachable_as_client_error, without_query

CHUNK = 256 * 1024
_TAG = re.compile(r"<[^>]*>")
_TIMEOUT = httpx.Timeout(120.0, connect=10.0)

OnBytes = Callable[[int], None]
"""Told how many bytes more have gone over the wire; a negative number takes back what a failed try had told."""


class FileFacts(msgspec.Struct, frozen=True):
    """A file's size in bytes and its SHA-256 in lowercase hex."""

    size: int
    sha256: str


async def hash_file(path: Path) -> FileFacts:
    """Read `path` in a thread. Raises OSError."""
    return await trio.to_thread.run_sync(_hash_file, path, abandon_on_cancel=True)


def _hash_file(path: Path) -> FileFacts:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return FileFacts(file.tell(), digest.hexdigest())


async def download(
    transport: Transport,
    url: str,
    target: Path,
    *,
    patience: float,
    sha256: str | None = None,
    on_bytes: OnBytes | None = None,
) -> FileFacts:
    """GET `url` into `target`, which appears whole or not at all.

    Raises TransferRefused, ServerUnreachable, ChecksumMismatch (when `sha256` is given and differs) and OSError.
    """
    part = target.with_name(target.name + ".part")

    async def once() -> FileFacts:
        counter = _Counter(on_bytes)
        try:
            with unreachable_as_client_error(url):
                # identity: the hash is that of the object's bytes, which an encoding in between would hide.
                headers = {"Accept-Encoding": "identity"}
                async with transport.http.stream("GET", url, headers=headers, timeout=_TIMEOUT) as response:
                    await _refuse(response, url)
                    return await _write(response, part, counter)
        except BaseException:
            counter.take_back()
            raise

    try:
        facts: FileFacts = await transport.patiently(once, patience)
        if sha256 is not None and facts.sha256 != sha256:
            raise ChecksumMismatch("the download", sha256, facts.sha256)
        await trio.to_thread.run_sync(os.replace, part, target)
    finally:
        with trio.CancelScope(shield=True):
            await trio.Path(part).unlink(missing_ok=True)
    return facts


async def upload(
    transport: Transport,
    url: str,
    source: Path,
    *,
    patience: float,
    headers: Mapping[str, str] | None = None,
    on_bytes: OnBytes | None = None,
) -> FileFacts:
    """PUT the bytes of `source` to `url` and return what was sent.

    `headers` are those that the URL was signed with. Raises TransferRefused, ServerUnreachable and OSError.
    """

    async def once() -> FileFacts:
        counter = _Counter(on_bytes)
        digest = hashlib.sha256()
        try:
            async with await trio.open_file(source, "rb") as file:
                size = (await trio.to_thread.run_sync(os.fstat, file.fileno())).st_size

                async def chunks() -> AsyncIterator[bytes]:
                    left = size  # a file that grows meanwhile must not send more than Content-Length says
                    while left and (chunk := await file.read(min(CHUNK, left))):
                        digest.update(chunk)
                        left -= len(chunk)
                        counter.add(len(chunk))
                        yield chunk

                request = transport.http.build_request(
                    "PUT",
                    url,
                    content=chunks() if size else b"",
                    headers={
                        "Content-Type": "application/octet-stream",
                        **(headers or {}),
                        # S3 takes no chunked bodies.
                        "Content-Length": str(size),
                    },
                    timeout=_TIMEOUT,
                )
                with unreachable_as_client_error(url):
                    response = await transport.http.send(request)
                await _refuse(response, url)
                return FileFacts(counter.count, digest.hexdigest())
        except BaseException:
            counter.take_back()
            raise

    facts: FileFacts = await transport.patiently(once, patience)
    return facts


async def _refuse(response: httpx.Response, url: str) -> None:
    if response.is_success:
        return
    detail = _TAG.sub(" ", (await response.aread())[:1000].decode("utf-8", "replace"))  # S3 answers in XML
    if response.status_code in LATER or response.status_code == 500:
        # An object store's 500 means "try again" (S3's own advice); told as a 503, the transport repeats it.
        raise ApiError(503, "object-store-busy", f"{without_query(url)} answered {response.status_code}")
    raise TransferRefused(response.status_code, without_query(url), " ".join(detail.split())[:300])


async def _write(response: httpx.Response, part: Path, counter: _Counter) -> FileFacts:
    digest = hashlib.sha256()
    async with await trio.open_file(part, "wb") as file:
        async for chunk in response.aiter_raw(CHUNK):
            digest.update(chunk)
            await file.write(chunk)
            counter.add(len(chunk))
    return FileFacts(counter.count, digest.hexdigest())


class _Counter:
    """Counts the bytes of one try and passes them on."""

    def __init__(self, on_bytes: OnBytes | None) -> None:
        self.count = 0
        self._on_bytes = on_bytes

    def add(self, count: int) -> None:
        self.count += count
        if self._on_bytes is not None:
            self._on_bytes(count)

    def take_back(self) -> None:
        if self._on_bytes is not None and self.count:
            self._on_bytes(-self.count)
