"""From jobs without a source to jobs with one."""

from __future__ import annotations

import hashlib
from collections import deque
from pathlib import Path

import trio

from blobforge.cli import common
from blobforge.cli.common import FAILED, CliError
from blobforge.cli.ingest import lfs
from blobforge.cli.ingest.batches import AwaitedUpload, Batches, SourceUpload
from blobforge.cli.ingest.cache import HashCache
from blobforge.cli.ingest.report import Report
from blobforge.cli.outage import PATIENCE
from blobforge.client import (
    ApiError,
    AsyncClient,
    ChecksumMismatch,
    FileFacts,
    ServerUnreachable,
    SourceChanged,
    upload_source,
)

CONFIRMED_AT_ONCE = 8  # at the end
MOST_UNCONFIRMED = 1000  # sources that the server may find by itself before it is told of them
_ONE_BY_ONE = (404, 405, 409, 413)  # an older server, another store, a smaller limit


class Uploads:
    """Uploads sources, for many jobs side by side. One file's error is told and counted; a server or store that stays
    away ends the run."""

    def __init__(self, client: AsyncClient, batches: Batches, report: Report, cache: HashCache) -> None:
        self._client = client.with_patience(PATIENCE)
        self._batches = batches
        self._report = report
        self._cache = cache
        self._unconfirmed: deque[list[AwaitedUpload]] = deque()  # by source; 2 KB each

    async def run(self, work: trio.MemoryReceiveChannel[SourceUpload]) -> None:
        """Upload until the channel ends."""
        async with work:
            async for upload in work:
                if len(upload.sources) == 1 or not await self._together(upload.sources):
                    for source in upload.sources:
                        await self._alone(source, tell=upload.tell, status=upload.status)

    async def confirm(self) -> None:
        """Tell the server of the sources that it has not been told of yet. Called at the end: without that, the same
        command run again at once would upload them once more."""
        async with trio.open_nursery() as nursery:
            for _ in range(CONFIRMED_AT_ONCE):
                nursery.start_soon(self._confirm_down_to, 0)

    async def _confirm_down_to(self, left: int) -> None:
        """Until no more than so many are left, the oldest first: most of them the server has found by itself."""
        while len(self._unconfirmed) > left:
            settled = self._unconfirmed.popleft()
            try:
                await self._client.source_uploaded(settled[0].answer.job_id)
            except ApiError as error:
                if common.as_cli_error(error) is None or error.status != 409:
                    raise
                for waiting in settled:
                    self._batches.strand(waiting)
                    self._report.took_back(waiting.hashed, waiting.answer, error)

    async def _together(self, sources: list[AwaitedUpload]) -> bool:
        """Many small ones in one request. False: this server wants them one by one."""
        data = await trio.to_thread.run_sync(_read_all, sources, abandon_on_cancel=True)
        good = [(source, each) for source, each in zip(sources, data, strict=True) if isinstance(each, bytes)]
        if good:
            try:
                stored = await self._client.store_sources(
                    [(source.hashed.content.sha256, each) for source, each in good]
                )
            except ApiError as error:
                if error.status not in _ONE_BY_ONE:
                    raise
                return False
            for (source, sent), item in zip(good, stored, strict=True):
                if item.error is not None:
                    self._failed(source, CliError(item.error, FAILED))
                else:
                    self._report.progress.on_bytes(len(sent))
                    self._batches.settle(source, status="pending")
        for source, unread in zip(sources, data, strict=True):
            if isinstance(unread, Exception):
                self._failed(source, unread)
        return True

    async def _alone(self, source: AwaitedUpload, *, tell: bool, status: str) -> None:
        try:
            settled_as = await self._upload(source, tell=tell, status=status)
        except ServerUnreachable:
            raise
        except Exception as error:
            if common.as_cli_error(error) is None:
                raise
            self._failed(source, error)
        else:
            settled = self._batches.settle(source, status=settled_as or status)
            if not tell and status == "uploading":
                self._unconfirmed.append(settled)
                await self._confirm_down_to(MOST_UNCONFIRMED)

    async def _upload(self, source: AwaitedUpload, *, tell: bool, status: str) -> str | None:
        """Bring the bytes there; return the job's status, where the server was asked."""
        file, content = source.hashed
        if content.pointer:
            async with lfs.content(file.path, content) as path:
                await self._send(path, source)
        else:
            await self._send(Path(file.path), source)
        if not tell:
            return None
        return (await self._client.source_uploaded(source.answer.job_id)).status or "pending"

    async def _send(self, path: Path, source: AwaitedUpload) -> None:
        answer, content = source.answer, source.hashed.content
        assert answer.upload_url is not None
        await upload_source(
            self._client,
            path,
            FileFacts(content.size, content.sha256),
            answer.upload_url,
            headers=answer.upload_headers or {},
            on_bytes=self._report.progress.on_bytes,
        )

    def _failed(self, source: AwaitedUpload, error: Exception) -> None:
        if isinstance(error, (ChecksumMismatch, SourceChanged)) or getattr(error, "status", None) == 422:
            self._cache.forget(source.hashed.file)  # whatever it was, it is another now
        self._batches.fail(source, error)


def _read_all(sources: list[AwaitedUpload]) -> list[bytes | Exception]:
    """The bytes of each, or why not. Blocks."""
    return [_read(source) for source in sources]


def _read(source: AwaitedUpload) -> bytes | Exception:
    file, content = source.hashed
    try:
        with open(file.path, "rb") as opened:
            data = opened.read(content.size + 1)
    except OSError as error:
        return error
    digest = hashlib.sha256(data).hexdigest()
    if digest != content.sha256:
        return ChecksumMismatch(f"{file.path} changed before it was uploaded: it", content.sha256, digest)
    return data
