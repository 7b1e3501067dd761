"""From hashed files to jobs, by the thousand. State owned here: the sources that are being uploaded, and the files
that wait for each.

A file whose source is on its way already (the same bytes under another name) is not uploaded a second time: it is
done when that upload is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import trio

from blobforge.cli.common import USAGE, CliError
from blobforge.cli.ingest.find import MOST_TAGS, RejectedPath
from blobforge.cli.ingest.hashing import Hashed
from blobforge.cli.ingest.report import Report, shown
from blobforge.cli.outage import PATIENCE
from blobforge.client import ApiError, AsyncClient, BatchAnswer, BatchItem

LARGEST = 1000  # jobs in one request: the server's own limit
MOST_BYTES = 900_000  # of one request: below BLOBFORGE_MAX_BODY as it is by default
LINGER = 1.0  # seconds that a batch waits to become full
_LONGEST_PATH = 4096
_NOT_OURS = (403, 404, 405, 409)  # an older server; another was faster; the source is there after all
_UNACCEPTABLE = (400, 413, 422)  # of one item, or of their number

MOST_TOLD = 16  # uploads of one batch that the server is told of
SMALL = 64 * 1024  # bytes: larger ones are a request each
BUNDLE_BYTES = 600_000  # 800,000 as base64
BUNDLE_FILES = 500


class JobOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that every submitted job is given."""

    priority: int | None = None
    max_attempts: int | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    options: dict[str, Any] = {}
    requires: tuple[str, ...] = ()
    not_before: datetime | None = None
    group: str | None = None
    expires_at: datetime | None = None
    batch: int | None = None
    then: list[dict[str, Any]] | None = None


class AwaitedUpload(NamedTuple):
    """A file whose job is there, and whose source is not yet."""

    hashed: Hashed
    answer: BatchItem


class SourceUpload(NamedTuple):
    """A piece of work: sources to upload, each under the first file that it was found in. More than one: in one
    request. `tell`: the server hears of each, and answers when it has found and checked it; else the jobs are in
    `status` then.
    """

    sources: list[AwaitedUpload]
    tell: bool
    status: str


class Batches:
    """Takes hashed files, submits them, and passes on what has to be uploaded."""

    def __init__(self, client: AsyncClient, options: JobOptions, report: Report) -> None:
        self._client = client.with_patience(PATIENCE)
        self._options = options
        self._report = report
        self._awaited: dict[str, list[AwaitedUpload]] = {}
        self._failed: dict[int, AwaitedUpload] = {}

    async def run(
        self,
        hashed: trio.MemoryReceiveChannel[list[Hashed | RejectedPath]],
        uploads: trio.MemorySendChannel[SourceUpload],
    ) -> None:
        """Submit until there are no more files. A batch goes when it is full, or has waited for LINGER seconds."""
        pending: list[tuple[Hashed, dict[str, Any]]] = []
        due = float("inf")
        ended = False
        async with hashed, uploads:
            while not ended or pending:
                chunk: list[Hashed | RejectedPath] = []
                if not ended:
                    with trio.move_on_at(due):
                        try:
                            chunk = await hashed.receive()
                        except trio.EndOfChannel:
                            ended = True
                pending += [(each, self._job(each)) for each in self._taken(chunk)]
                while len(pending) >= LARGEST or (pending and (ended or trio.current_time() >= due)):
                    count = _fitting(pending)
                    batch, pending = pending[:count], pending[count:]
                    await self._submit(batch, uploads)
                    due = float("inf")
                if pending and due == float("inf"):
                    due = trio.current_time() + LINGER

    def settle(self, source: AwaitedUpload, *, status: str) -> list[AwaitedUpload]:
        """The source is there: returns the files that waited for it, which are done now."""
        settled = self._awaited.pop(source.hashed.content.sha256)
        for place, waiting in enumerate(settled):
            self._report.done(waiting.hashed, waiting.answer, status=status, uploaded=place == 0)
        return settled

    def fail(self, source: AwaitedUpload, error: Exception) -> None:
        """The source cannot be brought there."""
        self.strand(source)
        for waiting in self._awaited.pop(source.hashed.content.sha256):
            self._report.failure(waiting.hashed.file.shown, waiting.hashed.file.size, error)

    def strand(self, source: AwaitedUpload) -> None:
        """The job of this source, if this run made it, waits for what will not come."""
        if not source.answer.existing:
            self._failed[source.answer.job_id] = source

    async def take_back(self) -> None:
        """At the end: delete the jobs that this run made and has no source for. Another file that had the same bytes
        may have brought them meanwhile: the server refuses what is not `uploading` any more.
        """
        for job_id in self._failed:
            try:
                await self._client.delete_job(job_id)
            except ApiError as error:
                if error.status not in _NOT_OURS:
                    raise

    def _taken(self, chunk: Sequence[Hashed | RejectedPath]) -> list[Hashed]:
        """The files; of the others it is told why not."""
        taken = [each for each in chunk if isinstance(each, Hashed)]
        for each in chunk:
            if isinstance(each, RejectedPath):
                self._report.problem(each)
        return taken

    def _job(self, hashed: Hashed) -> dict[str, Any]:
        options = self._options
        tags = list(dict.fromkeys((*options.tags, *hashed.file.tags)))[:MOST_TAGS]
        fields: Mapping[str, Any] = {
            "priority": options.priority,
            "max_attempts": options.max_attempts,
            "tags": tags or None,
            "metadata": options.metadata or None,
            "options": options.options or None,
            "requires": list(options.requires) or None,
            "not_before": options.not_before,
            "group": options.group,
            "expires_at": options.expires_at,
            "batch": options.batch,
            "then": options.then,
        }
        return {
            "type": hashed.file.type,
            "source_hash": hashed.content.sha256,
            "source_path": shown(hashed.file.shown)[-_LONGEST_PATH:],
            "source_size": hashed.content.size,
            **{name: value for name, value in fields.items() if value is not None},
        }

    async def _ask(self, jobs: list[dict[str, Any]]) -> BatchAnswer:
        if len(jobs) > 1:
            return await self._client.submit_jobs(jobs)
        # For a single one, the server also looks whether the object store really has what is on record.
        alone = await self._client.submit_job(**jobs[0])
        item = BatchItem(
            job_id=alone.job_id,
            existing=alone.existing,
            status=alone.status or "pending",
            upload_url=alone.upload_url,
            requires=alone.requires,
            ignored=alone.ignored,
            upload_headers=alone.upload_headers,
        )
        return BatchAnswer(items=[item])

    async def _submit(
        self, batch: list[tuple[Hashed, dict[str, Any]]], uploads: trio.MemorySendChannel[SourceUpload]
    ) -> None:
        try:
            answer = await self._ask([job for _, job in batch])
        except ApiError as error:
            if error.status not in _UNACCEPTABLE:
                raise
            if len(batch) == 1:
                file = batch[0][0].file
                self._report.failure(file.shown, file.size, error)
                return
            # One that the server cannot take spoils the whole request, or there are too many for it: by halves.
            middle = len(batch) // 2
            await self._submit(batch[:middle], uploads)
            await self._submit(batch[middle:], uploads)
            return
        missing = []
        for (hashed, _), item in zip(batch, answer.items, strict=True):
            if item.error is not None:
                code = USAGE if item.status_code in _UNACCEPTABLE else 1
                self._report.failure(hashed.file.shown, hashed.file.size, CliError(item.error, code))
            elif item.upload_url is None:
                self._report.done(hashed, item, status=item.status, uploaded=False)
            elif (others := self._awaited.get(hashed.content.sha256)) is not None:
                others.append(AwaitedUpload(hashed, item))
            else:
                waiting = AwaitedUpload(hashed, item)
                self._awaited[hashed.content.sha256] = [waiting]
                missing.append(waiting)
        # The embedded store has checked the bytes before it answers the PUT. On S3 the server looks for them, at once
        # for a few; of many it finds those that have come by itself, within seconds, and for less than being told.
        tell = not answer.small_sources and len(missing) <= MOST_TOLD
        for sources in _bundles(missing) if answer.small_sources else [[each] for each in missing]:
            await uploads.send(SourceUpload(sources, tell, "pending" if answer.small_sources else "uploading"))


def _fitting(pending: Sequence[tuple[Hashed, dict[str, Any]]]) -> int:
    """How many from the start fit into one request; at least one."""
    size = 0
    for count, (_, job) in enumerate(pending[:LARGEST]):
        size += len(msgspec.json.encode(job)) + len(',"bind_checksum":true')
        if size > MOST_BYTES and count:
            return count
    return min(len(pending), LARGEST)


def _bundles(missing: Sequence[AwaitedUpload]) -> list[list[AwaitedUpload]]:
    """Small ones together, each of the others alone. A pointer's content is somewhere else, and rarely small."""
    bundles: list[list[AwaitedUpload]] = []
    open_: list[AwaitedUpload] = []
    size = 0
    for each in missing:
        content = each.hashed.content
        if content.pointer or content.size > SMALL:
            bundles.append([each])
            continue
        if open_ and (size + content.size > BUNDLE_BYTES or len(open_) >= BUNDLE_FILES):
            bundles.append(open_)
            open_, size = [], 0
        open_.append(each)
        size += content.size
    return [*bundles, open_] if open_ else bundles
