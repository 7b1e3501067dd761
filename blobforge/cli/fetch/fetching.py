"""One round of a fetch: all results that match and are not in the folder yet.

    list -> sign by the five hundred -> give each its path -> fetch, many side by side

The list is read first, whole: which of two results gets a path must not hang on which was listed first. What is
listed is only what has changed since the last round that ended well, unless something is missing in the folder.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import trio

from blobforge.cli.common import CONFLICT, CliError
from blobforge.cli.fetch.folder import Folder, Written
from blobforge.cli.fetch.ledger import FetchedResult, GivenPath, Ledger, Wanted
from blobforge.cli.fetch.names import Layout
from blobforge.cli.fetch.report import FetchReport
from blobforge.cli.selection import Filters, each_page
from blobforge.client import AsyncClient, ClientError, FileLink, Job, ServerUnreachable, TransferRefused

SIGNED: Final = 500  # in one request: the server's own limit
SIDE_BY_SIDE: Final = 16
SMALL: Final = 1 << 20  # bytes; larger ones pass through a file in the cache folder
_NOTED: Final = 64  # results that the ledger is told of at once
_GONE: Final = "no-such-job"  # it was deleted since it was listed
_EXPIRED: Final = (401, 403)
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # all others would fail, too
# What was being written while we listed may be dated before it: a transaction, a clock that was put back a little.
_OVERLAP: Final = timedelta(minutes=2)


class ResultFilter(NamedTuple):
    """Which results are meant: of the jobs that match. `since`: completed since then."""

    filters: Filters
    since: datetime | None = None

    @property
    def named(self) -> str:
        """What the same selection is noted under."""
        said = msgspec.json.encode([sorted(self.filters.items()), self.since])
        return f"seen {hashlib.sha256(said).hexdigest()[:32]}"


class PlacedResult(NamedTuple):
    """A result to fetch, and its place."""

    wanted: Wanted
    link: FileLink
    given: GivenPath


class Fetch:
    """What belongs together for a run. `parts`: the folder for the beginnings of large results. State owned here: the
    results that the ledger has not been told of."""

    def __init__(
        self, client: AsyncClient, ledger: Ledger, folder: Folder, layout: Layout, parts: Path, report: FetchReport
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._folder = folder
        self._layout: Layout = layout
        self._parts = parts
        self._report = report
        self._done: list[FetchedResult] = []

    async def round(self, selection: ResultFilter, *, everything: bool = False) -> None:
        """Fetch what matches and is new. `everything`: look at all, whatever was seen before.

        Raises what ends a run: ServerUnreachable, ApiError for what is wrong with the credential or the server, a
        disk that takes no more. What is in the folder by then is known to the next run.
        """
        began = await self._client.clock()
        failed = self._report.failed
        seen = None if everything else self._seen(selection, began)
        bounds = [each for each in (selection.since, seen - _OVERLAP if seen else None) if each is not None]
        changed = {"updated_since": max(bounds).astimezone(UTC).isoformat()} if bounds else {}
        await each_page(
            self._client,
            selection.filters | changed,
            lambda page: self._want(job for job in page.jobs if _is_since(job, selection.since)),
            limit=None,
        )
        await self._fetch_wanted()
        if began is not None and self._report.failed == failed:
            self._ledger.note(selection.named, began.isoformat())

    async def these(self, jobs: Iterable[Job]) -> None:
        """Fetch the results of these jobs, those that have one. Raises what `round` does."""
        self._want(jobs)
        await self._fetch_wanted()

    def _seen(self, selection: ResultFilter, now: datetime | None) -> datetime | None:
        """Up to when all that matches has been fetched. None where the server's clock went back behind it."""
        noted = self._ledger.about(selection.named)
        seen = datetime.fromisoformat(noted) if noted else None
        return seen if seen is not None and now is not None and seen <= now else None

    def _want(self, jobs: Iterable[Job]) -> None:
        results = [(Wanted(job.id, job.source_hash, job.source_path), job.output_key) for job in jobs]
        self._report.discovered(self._ledger.want((wanted, key) for wanted, key in results if key is not None))

    async def _fetch_wanted(self) -> None:
        due, work = trio.open_memory_channel[PlacedResult](SIGNED)
        try:
            async with trio.open_nursery() as nursery, work:
                for _ in range(SIDE_BY_SIDE):
                    nursery.start_soon(self._work, work.clone())
                async with due:
                    for some in self._ledger.wanted(SIGNED):
                        for each in await self._placed(some):
                            await due.send(each)
        finally:
            self._note()

    async def _placed(self, some: Sequence[Wanted]) -> list[PlacedResult]:
        """Sign them and give them their paths, in their order; what is in the folder already is done by that."""
        links = await self._client.download_urls([each.job_id for each in some])
        for wanted, link in zip(some, links, strict=True):
            if link.type.endswith(_GONE):
                self._report.vanished()
            elif link.error is not None:
                self._report.failure(wanted.job_id, CliError(link.error, CONFLICT))
        good = [(wanted, link) for wanted, link in zip(some, links, strict=True) if link.error is None]
        given = self._ledger.give_paths(self._layout, [(wanted, link.filename) for wanted, link in good])
        dues = [PlacedResult(wanted, link, path) for (wanted, link), path in zip(good, given, strict=True)]
        there = await trio.to_thread.run_sync(self._there, dues)
        for due, written in zip(dues, there, strict=True):
            if written is not None:
                await self._settle(due, written, moved=False)
        return [due for due, written in zip(dues, there, strict=True) if written is None]

    def _there(self, dues: Sequence[PlacedResult]) -> list[Written | None]:
        return [self._folder.adopt(due.given.path, due.link.size, due.link.sha256) for due in dues]

    async def _work(self, dues: trio.MemoryReceiveChannel[PlacedResult]) -> None:
        async with dues:
            async for due in dues:
                try:
                    await self._settle(due, await self._fetched(due.link, due.given), moved=True)
                except OSError as error:
                    if error.errno in _NO_ROOM:
                        raise
                    self._report.failure(due.wanted.job_id, error)
                except ServerUnreachable:
                    raise
                except (CliError, ClientError) as error:
                    self._report.failure(due.wanted.job_id, error)

    async def _settle(self, due: PlacedResult, written: Written, *, moved: bool) -> None:
        for former in due.given.former:
            await trio.to_thread.run_sync(self._folder.remove, former)
        result = FetchedResult(due.wanted.job_id, due.link.key, due.given.path, *written)
        self._done.append(result)
        if len(self._done) >= _NOTED:
            self._note()
        self._report.done(result, moved=moved)

    async def _fetched(self, link: FileLink, given: GivenPath) -> Written:
        try:
            return await self._fetch(link, given)
        except TransferRefused as refused:
            if refused.status not in _EXPIRED:
                raise
        # It may have waited for its turn longer than its URL lasted.
        (fresh,) = await self._client.download_urls([link.job_id])
        if fresh.error is not None or fresh.key != link.key:
            raise CliError(fresh.error or "It was converted again meanwhile: the next run fetches it.", CONFLICT)
        return await self._fetch(fresh, given)

    async def _fetch(self, link: FileLink, given: GivenPath) -> Written:
        on_bytes = self._report.progress.on_bytes
        folder = self._folder
        if link.size is not None and link.size <= SMALL:
            content = await self._client.read(link.url, sha256=link.sha256, on_bytes=on_bytes)
            if len(content) != link.size:
                raise CliError(f"{len(content)} bytes came, of {link.size}.")
            digest = link.sha256 or hashlib.sha256(content).hexdigest()
            return await trio.to_thread.run_sync(
                partial(folder.write, given.path, content, digest, known=given.known)
            )
        named = hashlib.sha256(link.key.encode()).hexdigest()[:32]
        whole = self._parts / f"{named}.whole"
        await trio.to_thread.run_sync(partial(self._parts.mkdir, mode=0o700, parents=True, exist_ok=True))
        try:
            facts = await self._client.download(
                link.url, whole, sha256=link.sha256, on_bytes=on_bytes, beginning=self._parts / f"{named}.part"
            )
            return await trio.to_thread.run_sync(
                partial(folder.take, given.path, whole, facts.sha256, known=given.known)
            )
        finally:
            whole.unlink(missing_ok=True)

    def _note(self) -> None:
        done, self._done = self._done, []
        self._ledger.done(done)


def _is_since(job: Job, since: datetime | None) -> bool:
    """Whether the job completed since then: it may have been updated later than it completed."""
    return since is None or job.completed_at is None or job.completed_at >= since
