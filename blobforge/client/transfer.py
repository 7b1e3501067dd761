"""Bytes to and from signed URLs, streamed: memory stays at one chunk whatever the file's size.

A signed URL is its own credential, so no other one goes along: it may point at a store that is not ours.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import trio

from blobforge.client import recognise
from blobforge.client.errors import ApiError, ChecksumMismatch, SourceChanged
from blobforge.client.transport import LATER, Transport, unreachable_as_client_error, without_query

CHUNK = 256 * 1024
_REMOVE_SECONDS = 10.0
# The hash is that of the object's bytes, which an encoding in between would hide.
_AS_IT_IS = {"Accept-Encoding": "identity"}
_TIMEOUT = httpx.Timeout(120.0, connect=10.0)

OnBytes = Callable[[int], None]
"""Told how many bytes more have gone over the wire; a negative number takes back what a failed try had told."""


class FileFacts(msgspec.Struct, frozen=True):
    """A file's size in bytes and its SHA-256 in lowercase hex."""

    size: int
    sha256: str


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of a write or a read says of itself no file: this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


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
    beginning: Path | None = None,
) -> FileFacts:
    """GET `url` into `target`, which appears whole or not at all.

    With `beginning`, on the same file system, and `sha256`, which tells whether the two go together, what came of it
    is kept there when this ends early, and the next call goes on from it.
    Raises TransferRefused, ServerUnreachable, ChecksumMismatch (when `sha256` is given and differs) and OSError.
    """
    # A name of its own: there may be a file `report.txt.part`, or another download to the same target.
    part = _Part(beginning or target.with_name(f".{secrets.token_hex(6)}.part"), on_bytes)
    kept = beginning is not None and sha256 is not None
    if kept:
        await part.take_up()

    async def once() -> FileFacts:
        with unreachable_as_client_error(url):
            headers = {**_AS_IT_IS, **part.rest()}
            async with transport.http.stream("GET", url, headers=headers, timeout=_TIMEOUT) as response:
                if response.status_code == 416 and "Range" in headers:
                    part.forget()  # the object is not what it was; the next try takes all of it
                    raise ApiError(503, "range-outside", f"{without_query(url)} has no such part any more")
                await _refuse(response, url)
                if not recognise.object_given(response):
                    raise recognise.unexpected_object(response, without_query(url))
                with naming(beginning or target):
                    return await part.take(response)

    try:
        facts: FileFacts = await transport.patiently(once, patience)
        if kept and part.taken_up and facts.sha256 != sha256:
            part.forget()  # what was left there was of something else
            facts = await transport.patiently(once, patience)
        _check(facts, sha256)
        await trio.to_thread.run_sync(os.replace, part.path, target)
    except BaseException as error:
        part.forget()
        kept = kept and not isinstance(error, ChecksumMismatch)
        raise
    finally:
        if not kept:
            with trio.move_on_after(_REMOVE_SECONDS, shield=True):
                await trio.Path(part.path).unlink(missing_ok=True)
    return facts


async def read(
    transport: Transport, url: str, *, patience: float, sha256: str | None = None, on_bytes: OnBytes | None = None
) -> bytes:
    """GET `url` into memory: for small objects, of which a file would cost more than its bytes.

    Raises TransferRefused, ServerUnreachable and ChecksumMismatch.
    """

    async def once() -> bytes:
        with unreachable_as_client_error(url):
            response = await transport.http.get(url, headers=_AS_IT_IS, timeout=_TIMEOUT)
        await _refuse(response, url)
        if not recognise.object_given(response):
            raise recognise.unexpected_object(response, without_query(url))
        return response.content

    content: bytes = await transport.patiently(once, patience)
    _check(FileFacts(len(content), hashlib.sha256(content).hexdigest()), sha256)
    if on_bytes is not None:
        on_bytes(len(content))
    return content


def _check(facts: FileFacts, sha256: str | None) -> None:
    if sha256 is not None and facts.sha256 != sha256:
        raise ChecksumMismatch("the download", sha256, facts.sha256)


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
        return (await _put(transport, url, source, headers, on_bytes))[0]

    facts: FileFacts = await transport.patiently(once, patience)
    return facts


async def upload_part(
    transport: Transport,
    url: str,
    source: Path,
    span: tuple[int, int],
    *,
    headers: Mapping[str, str],
    on_bytes: OnBytes | None = None,
) -> str:
    """PUT (start, length) of `source` to `url`, once, and return the ETag, without quotes, that the store gave it.

    Raises TransferRefused, ServerUnreachable, ApiError (503: try again) and OSError.
    """
    _, response = await _put(transport, url, source, headers, on_bytes, span)
    return str(response.headers["ETag"]).strip('"')


async def _put(
    transport: Transport,
    url: str,
    source: Path,
    headers: Mapping[str, str] | None,
    on_bytes: OnBytes | None,
    span: tuple[int, int] | None = None,
) -> tuple[FileFacts, httpx.Response]:
    """One PUT of the file, or of `span` (start, length) of it."""
    counter = _Counter(on_bytes)
    digest = hashlib.sha256()
    try:
        async with await trio.open_file(source, "rb") as file:
            size = (await trio.to_thread.run_sync(os.fstat, file.fileno())).st_size
            if span is not None:
                await file.seek(span[0])
                size = span[1]

            async def chunks() -> AsyncIterator[bytes]:
                left = size  # a file that grows meanwhile must not send more than Content-Length says
                while left and (chunk := await file.read(min(CHUNK, left))):
                    digest.update(chunk)
                    left -= len(chunk)
                    counter.add(len(chunk))
                    yield chunk
                if left:
                    raise SourceChanged(f"{source} has become shorter while it was sent")

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
            if not recognise.object_taken(response):
                raise recognise.unexpected_object(response, without_query(url))
            return FileFacts(counter.count, digest.hexdigest()), response
    except BaseException:
        counter.take_back()
        raise


async def _refuse(response: httpx.Response, url: str) -> None:
    if response.is_success:
        return
    body, shown = await response.aread(), without_query(url)
    if response.status_code < 400:
        raise recognise.unexpected_object(response, shown)
    refused = recognise.store_refusal(response, body, shown)
    if response.status_code in LATER:
        # An object store's 500 means "try again" (S3's own advice); told as a 503, the transport repeats it.
        raise ApiError(503, "object-store-busy", f"{shown} answered {response.status_code}")
    raise refused


class _Part:
    """The beginning of a download, kept from one try to the next, with its hash so far."""

    def __init__(self, path: Path, on_bytes: OnBytes | None) -> None:
        self.path = path
        self._etag: str | None = None
        self._digest = hashlib.sha256()
        self._counter = _Counter(on_bytes)
        self.taken_up = False
        self._trusted = False

    async def take_up(self) -> None:
        """Go on from what an earlier call has left. Its hash at the end tells whether it was of the same object."""
        count = await trio.to_thread.run_sync(self._read_beginning)
        self._counter.add(count)
        self.taken_up = self._trusted = count > 0

    def _read_beginning(self) -> int:
        try:
            with self.path.open("rb") as file:
                while chunk := file.read(CHUNK):
                    self._digest.update(chunk)
                return file.tell()
        except FileNotFoundError:
            return 0

    def forget(self) -> None:
        """Start over with the next try."""
        self._trusted = False
        self._counter.take_back()
        self._counter.count = 0
        self._digest = hashlib.sha256()

    def rest(self) -> dict[str, str]:
        """The headers that ask for what is missing, if the object is still the same (RFC 9110, 13.1.5)."""
        if self._trusted and self._etag is None:
            return {"Range": f"bytes={self._counter.count}-"}
        if not self._counter.count or self._etag is None:
            return {}
        return {"Range": f"bytes={self._counter.count}-", "If-Range": self._etag}

    async def take(self, response: httpx.Response) -> FileFacts:
        """Write what comes: the rest (206, from where we are), or all of it anew."""
        goes_on = response.status_code == 206 and self._fits(response.headers.get("Content-Range", ""))
        if not goes_on:
            if response.status_code == 206:
                raise ApiError(503, "wrong-range", f"{without_query(response.url)} sent another part than asked for")
            self.forget()
            etag = response.headers.get("ETag", "")
            self._etag = etag if etag.startswith('"') else None  # a weak one does not vouch for bytes
            self._trusted = False
        async with await trio.open_file(self.path, "ab" if goes_on else "wb") as file:
            if goes_on and await file.tell() != self._counter.count:
                self.forget()  # another program has had its hands on it
                raise ApiError(503, "beginning-gone", f"{self.path} is not what was written there")
            async for chunk in response.aiter_raw(CHUNK):
                await file.write(chunk)
                # Flushed, so that what is counted is what the next try finds there.
                await file.flush()
                self._digest.update(chunk)
                self._counter.add(len(chunk))
        return FileFacts(self._counter.count, self._digest.hexdigest())

    def _fits(self, content_range: str) -> bool:
        return content_range.startswith(f"bytes {self._counter.count}-")


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
