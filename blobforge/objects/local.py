"""The embedded object store: a folder, and URLs that this server signs and serves itself (`web/objects.py`).

    <root>/sources/<first two digits>/<sha256>
    <root>/outputs/<installation>/<job>/<attempt>/<name>
                                                 beside it `.<name>.json`: the checksum and type that came with it
    <root>/accepted/...                          the same files under a name that no URL to upload has
    <root>/incoming/<random>                     uploads under way; swept at start

State owned here: the files below `root`. No key names a sidecar (`paths.py`).
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import trio

from blobforge.machinery.hop import Hop
from blobforge.machinery.tracing import Tracer
from blobforge.objects import ListedPage, Missed, ObjectInfo, SignedUpload, files, listing
from blobforge.objects.breaker import Breaker, patient_threads, threads
from blobforge.objects.files import BATCH, PIECE, ObjectFile
from blobforge.objects.incoming import DIR_MODE, Incoming, TooLargeError, UploadRefusedError, os_failure
from blobforge.objects.keys import check_upload, is_incoming_key, is_key, source_key
from blobforge.objects.links import Denied, Grant, Links
from blobforge.objects.paths import path_of
from blobforge.objects.reading import Moved, Reading, copy_timeout

_THREADS = 16  # at once, for transfers and for questions each: a disk gains nothing from more
_DIGESTS = 4
DISCARD_SECONDS = 5.0  # to wait for a thread that removes a broken upload; else the janitor does it later


class LocalStore:
    """An ObjectStore in the folder `root` (created if absent). `clock` gives Unix seconds for URL lifetimes.

    `reserve` bytes of the disk are never filled; `timeout` and `digest_timeout` (for which no byte comes of the files
    that are read whole) are in seconds, so that a hung network mount is an ObjectStoreError and not a silence. `hop`
    runs the file work.
    """

    name = "local"
    multipart = None  # one streamed PUT takes whatever comes
    learned = True
    write_once = False  # and needs no header: when the PUT comes, the record decides whether it may still write

    def __init__(
        self,
        root: Path,
        secret: bytes,
        clock: Callable[[], float] = time.time,
        *,
        reserve: int = 64 << 20,
        timeout: float = 5.0,
        digest_timeout: float = 900.0,
        hop: Hop | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.root = root.absolute()
        self._links = Links(secret, clock)
        self._reserve = reserve
        self._timeout = timeout
        self._digest_timeout = digest_timeout
        self._breaker = Breaker(f"object folder {self.root}", pause=timeout, tracer=tracer)
        self.calls = self._breaker.calls
        self._asking = hop or threads(_THREADS)
        self._moved = Moved()
        self._digesting = hop or threads(_DIGESTS)  # apart, so that long reads never keep a short question waiting
        self._moving = hop or patient_threads(_THREADS)
        self._incoming = self.root / "incoming"
        self._active: set[Path] = set()
        self._names = threading.Lock()  # held only in threads, while a name comes or goes
        try:
            self.root.mkdir(mode=DIR_MODE, parents=True, exist_ok=True)
            self._incoming.mkdir(mode=DIR_MODE, exist_ok=True)
        except OSError as error:
            raise os_failure("create the object folder", self.root, error) from error

    @property
    def answering(self) -> bool:
        return self._breaker.answering

    # URLs

    def plain_source_key(self, source_hash: str) -> str:
        """Every upload of a source is checked while it comes in."""
        return source_key(source_hash)

    def sign_download(
        self, key: str, *, expires_in: int, filename: str | None = None, version: str | None = None
    ) -> str:
        return self._links.url(Grant("get", key, filename=filename), expires_in=expires_in)

    def sign_upload(
        self,
        key: str,
        *,
        expires_in: int,
        content_type: str | None = None,
        sha256: str | None = None,
        write_once: bool = False,
    ) -> SignedUpload:
        """The checksum travels in the URL: the client has to send no header for it."""
        check_upload(key, sha256)
        grant = Grant("put", key, sha256=sha256, content_type=content_type)
        headers = {} if content_type is None else {"Content-Type": content_type}
        return SignedUpload(self._links.url(grant, expires_in=expires_in), headers)

    def verify(self, method: str, key: str, query: Mapping[str, str]) -> Grant | Denied:
        """Whether `query` allows `method` on `key` now. A URL to GET also allows HEAD."""
        return self._links.verify(method, key, query)

    # Questions

    async def find(self, key: str) -> ObjectFile | None:
        """Look `key` up, for `read`. Raises ObjectStoreError."""
        path = self._path(key)
        work = partial(files.find, key, path)
        return await self._breaker.call(self._asking, work, timeout=self._timeout, op="head")

    async def head(self, key: str, *, version: str | None = None) -> ObjectInfo | None:
        """The checksum is that of the bytes as they came in; `digest` reads them again."""
        found = await self.find(key)
        return found.info if found else None

    async def copy(self, key: str, to: str, *, like: ObjectInfo | None) -> ObjectInfo | Missed:
        """Give the file a second name; make a file of its own where the file system has no such thing."""
        work = partial(files.link, self._names, self.root, (key, self._path(key)), (to, self._path(to)), like=like)
        timeout = copy_timeout(self._digest_timeout, like.size if like is not None else None)
        return await self._breaker.transfer(self._digesting, work, timeout=timeout, op="copy")

    async def put_own(self, key: str, data: bytes) -> None:
        incoming = Incoming(self._incoming, reserve=0)
        finish = partial(files.finish, names=self._names, root=self.root, path=self._path(key), key=key)
        await self._moving(partial(finish, incoming, [data], expected=None, content_type=None))

    async def learn(self, key: str) -> None:
        """Nothing: the folder's abilities are known."""

    async def digest(self, key: str, *, version: str | None = None) -> str | None:
        with Reading(self._moved) as reading:
            work = partial(files.digest, self._path(key), reading)
            return await self._breaker.transfer(
                self._digesting, work, timeout=self._digest_timeout, op="digest", moved=self._moved
            )

    async def beginning(self, key: str, most: int, *, version: str | None = None) -> bytes | None:
        work = partial(files.beginning, self._path(key), most)
        return await self._breaker.call(self._asking, work, timeout=self._timeout, op="read")

    async def delete(self, key: str) -> None:
        path = self._path(key)
        work = partial(files.delete, self._names, self.root, path)
        await self._breaker.call(self._asking, work, timeout=self._timeout, op="delete")

    async def list_page(self, prefix: str, *, cursor: str = "", limit: int = 1000) -> ListedPage:
        work = partial(listing.page, self.root, prefix, after=cursor, limit=limit)
        # Large folders take their time.
        return await self._breaker.transfer(self._digesting, work, timeout=self._digest_timeout, op="list")

    async def clear_unfinished(self, *, before: float, dry_run: bool) -> int:
        work = partial(listing.stale, self._incoming, before=before)
        found = await self._breaker.transfer(self._digesting, work, timeout=self._digest_timeout, op="list")
        stale = [path for path in found if path not in self._active]
        if not dry_run:
            await self._moving(partial(files.remove, stale))
        return len(stale)

    async def check(self) -> None:
        """Check that the folder is there and can be written to."""
        work = partial(files.check, self._incoming, reserve=self._reserve)
        await self._breaker.call(self._asking, work, timeout=self._timeout, op="check")

    # Bytes

    async def receive(
        self,
        key: str,
        chunks: AsyncIterable[bytes],
        *,
        max_size: int,
        expected_sha256: str | None = None,
        content_type: str | None = None,
        permit: Callable[[], Awaitable[None]] | None = None,
    ) -> ObjectInfo:
        """Store what `chunks` yields (at most `max_size` bytes) as `key`, durably and all or nothing.

        The bytes of a source have to hash to its name. Raises TooLargeError, DigestMismatchError, StoreFullError
        and other ObjectStoreErrors; after any of them, and after a cancellation, nothing of the upload is left
        and what was there before is still there. `permit` is asked when all bytes have come, before they get their
        name; it may raise an UploadRefusedError.
        """
        path = self._path(key)
        expected = check_upload(key, expected_sha256)
        incoming = Incoming(self._incoming, reserve=self._reserve)
        self._active.add(incoming.path)
        try:
            batch: list[bytes] = []
            size = held = 0
            async for chunk in chunks:
                size += len(chunk)
                if size > max_size:
                    raise TooLargeError(max_size)
                batch.append(chunk)
                held += len(chunk)
                if held >= BATCH:
                    await self._moving(partial(incoming.write, batch))
                    batch, held = [], 0
            if permit is not None:
                await permit()
            finish = partial(files.finish, names=self._names, root=self.root, path=path, key=key)
            return await self._moving(partial(finish, incoming, batch, expected=expected, content_type=content_type))
        finally:
            if not incoming.done:
                with trio.move_on_after(DISCARD_SECONDS, shield=True):
                    await self._moving(incoming.discard)
            self._active.discard(incoming.path)

    async def receive_many(self, sources: Sequence[tuple[str, bytes]]) -> list[ObjectInfo | UploadRefusedError]:
        """Store small sources, (sha256, bytes) each, durably and in one hop; answer item by item.

        Raises ObjectStoreError: then none of them counts as stored.
        """
        wanted = [(source_key(sha256), data) for sha256, data in sources]
        files_ = [(key, self._path(key), data) for key, data in wanted]
        work = partial(
            files.store_many,
            files_,
            folder=self._incoming,
            active=self._active,
            reserve=self._reserve,
            names=self._names,
            root=self.root,
        )
        return await self._moving(work)

    async def read(self, found: ObjectFile, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield `length` bytes (all by default) of `found` from `start` on, in pieces of up to PIECE bytes.

        The file is open only while the generator runs; close it (`aclosing`) if it is not read to its end.
        Raises ObjectStoreError when the object was replaced or removed since it was found: better a broken
        transfer than the checksum of one and the bytes of another.
        """
        end = found.info.size if length is None else start + length
        file = await self._moving(partial(files.ObjectReader, found))
        try:
            while start < end:
                piece = await self._moving(partial(file.read, start, min(PIECE, end - start)))
                start += len(piece)
                yield piece
        finally:
            file.close()

    def sweep(self) -> int:
        """Remove what uploads cut off by a crash left behind; return how many. Blocks; for the start of a server."""
        count = 0
        with contextlib.suppress(OSError):  # a file that cannot be removed now does no harm
            for path in self._incoming.iterdir():
                if path not in self._active:
                    path.unlink(missing_ok=True)
                    count += 1
        return count

    def _path(self, key: str) -> Path:
        """Where `key` is kept. Raises ValueError for what is no key: this is the confinement."""
        if not is_key(key) or is_incoming_key(key):  # a source is checked while it comes in, and needs no such place
            raise ValueError(f"not a key of this store: {key!r}")
        return path_of(self.root, key)
