"""One round of a fetch: all results that match and are not in the folder yet.

    list -> sign by the five hundred -> give each its path -> fetch, many side by side

The list is read first, whole: which of two results gets a path must not hang on which was listed first. What is
listed is only what has changed since the last round that ended well, unless something is missing in the folder.

A job with several outputs is gathered: they are listed page by page, and the main one is fetched when all others are
there. Bytes are moved once: at further paths of its source a result is copied.
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
from blobforge.cli.fetch.gathering import FileToFetch, Gathering
from blobforge.cli.fetch.ledger import FetchedFile, GivenPath, Ledger, NamedOutput, WantedResult, WholeResult
from blobforge.cli.fetch.report import FetchReport
from blobforge.cli.selection import Filters, each_page
from blobforge.client import ApiError, AsyncClient, ClientError, FileLink, Job, ServerUnreachable, TransferRefused
from blobforge.resultnames import Layout

SIGNED: Final = 500  # in one request: the server's own limit
SIDE_BY_SIDE: Final = 16
GATHERED: Final = 8  # jobs with several outputs, side by side
SMALL: Final = 1 << 20  # bytes; larger ones pass through a file in the cache folder
_BEGINNINGS: Final = 3  # with a result that is replaced while it is fetched
_NOTED: Final = 64  # files that the ledger is told of at once
_NOTE_SECONDS: Final = 60.0  # in which the ledger is told, whatever happens; the disk may hang
_GONE: Final = "no-such-job"  # it was deleted since it was listed
_SIGN_ANEW: Final = (401, 403, 404, 410)  # the URL has expired, or the object is gone: the server knows
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


SignedResult = tuple[Gathering, Sequence[str | None]]
"""A result, and the paths of its source at which it is to stand."""


class Fetch:
    """What belongs together for a run. `parts`: the folder for the beginnings of large results. State owned here: the
    files and the results that the ledger has not been told of."""

    def __init__(
        self, client: AsyncClient, ledger: Ledger, folder: Folder, layout: Layout, parts: Path, report: FetchReport
    ) -> None:
        self._client = client
        self._ledger = ledger
        self._folder = folder
        self._layout: Layout = layout
        self._parts = parts
        self._report = report
        self._done: list[FetchedFile] = []
        self._whole: list[WholeResult] = []
        self._noting = trio.Lock()  # what is noted first is no part of what is replaced

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
        results = []
        for job in jobs:
            paths = job.paths_total or 1 if self._layout == "path" else 1
            results.append((WantedResult(job.id, job.source_hash, job.source_path, paths), job.output_key))
        self._report.discovered(self._ledger.want((wanted, key) for wanted, key in results if key is not None))

    async def _fetch_wanted(self) -> None:
        due, work = trio.open_memory_channel[FileToFetch](SIGNED)
        slots = trio.Semaphore(GATHERED)
        try:
            async with trio.open_nursery() as nursery, work:
                for _ in range(SIDE_BY_SIDE):
                    nursery.start_soon(self._work, work.clone())
                async with due, trio.open_nursery() as gathering:
                    for some in self._ledger.wanted(SIGNED):
                        for each in await self._send_single(some, due):
                            await slots.acquire()
                            gathering.start_soon(self._gather, each, due, slots)
        finally:
            await self._note()

    async def _send_single(
        self, some: Sequence[WantedResult], due: trio.MemorySendChannel[FileToFetch]
    ) -> list[SignedResult]:
        """Sign them, and send on those of one output; those of several are returned, and have their folders."""
        links = await self._client.download_urls([each.job_id for each in some])
        found: list[SignedResult] = []
        for wanted, link in zip(some, links, strict=True):
            if link.type.endswith(_GONE):
                self._report.vanished()
            elif link.error is not None:
                self._report.failure(wanted.job_id, CliError(link.error, CONFLICT))
            elif (paths := await self._paths_of(wanted)) is not None:
                found.append((Gathering(wanted, link), paths))
        single = [each for each in found if each[0].main.name is None]
        if len(single) < len(found):  # by their ids, whichever is fetched first
            self._give_paths([(gathering, gathering.main, paths) for gathering, paths in found])
        await self._send([(gathering, gathering.main, paths) for gathering, paths in single], due, last=True)
        return [each for each in found if each[0].main.name is not None]

    async def _send(
        self,
        files: Sequence[tuple[Gathering, FileLink, Sequence[str | None]]],
        due: trio.MemorySendChannel[FileToFetch],
        *,
        last: bool,
    ) -> None:
        """Give them their paths, in their order, and send them on; what is in the folder already is done by that."""
        placed = self._give_paths(files)
        there = await trio.to_thread.run_sync(self._there, [(link, paths) for _, link, paths in placed])
        for (gathering, link, _), paths in zip(placed, there, strict=True):
            gathering.begun()
            file = FileToFetch(gathering, link, paths, last)
            if all(written is not None for _, written in paths):
                await self._settle(file, [(each, written, False) for each, written in paths if written is not None])
            else:
                await due.send(file)

    def _give_paths(
        self, files: Sequence[tuple[Gathering, FileLink, Sequence[str | None]]]
    ) -> list[tuple[Gathering, FileLink, list[GivenPath]]]:
        asked = [
            NamedOutput(gathering.whole.wanted, path, link.name or "", link.filename, gathering.whole.key)
            for gathering, link, paths in files
            for path in paths
        ]
        given = iter(self._ledger.give_paths(self._layout, asked))
        return [
            # Two paths of a source may lead to the same one.
            (gathering, link, list(dict.fromkeys(next(given) for _ in paths)))
            for gathering, link, paths in files
        ]

    def _there(
        self, files: Sequence[tuple[FileLink, Sequence[GivenPath]]]
    ) -> list[list[tuple[GivenPath, Written | None]]]:
        return [
            [
                (each, Written(*each.there) if each.there else self._folder.adopt(each.path, link.size, link.sha256))
                for each in paths
            ]
            for link, paths in files
        ]

    async def _gather(
        self, result: SignedResult, due: trio.MemorySendChannel[FileToFetch], slots: trio.Semaphore
    ) -> None:
        """All outputs of one job, at all paths of its source, the main one when the others are there."""
        gathering, paths = result
        try:
            for _ in range(_BEGINNINGS):
                if await self._send_others(gathering, paths, due):
                    if await gathering.settled():
                        await self._send([(gathering, gathering.main, paths)], due, last=True)
                    return
                # It was converted again since it was signed.
                (main,) = await self._client.download_urls([gathering.job_id])
                if main.error is not None:
                    raise CliError(main.error, CONFLICT)
                gathering = Gathering(gathering.whole.wanted, main)
            raise CliError("It is converted again and again: the next run fetches it.", CONFLICT)
        except ServerUnreachable:
            raise
        except (CliError, ClientError) as error:
            self._gone_wrong(gathering, error)
        finally:
            slots.release()

    def _gone_wrong(self, gathering: Gathering, error: Exception) -> None:
        """Told once, whatever many of a job's outputs cannot be fetched."""
        if gathering.failed:
            return
        gathering.failed = True
        if isinstance(error, ApiError) and error.type == _GONE:
            self._report.vanished()
        else:
            self._report.failure(gathering.job_id, error)

    async def _paths_of(self, wanted: WantedResult) -> list[str | None] | None:
        """The paths of its source at which a result is to stand. None: the job is gone."""
        if wanted.paths == 1:
            return [wanted.source_path]
        found: list[str | None] = []
        cursor: int | None = None
        try:
            while True:
                page = await self._client.list_paths(wanted.job_id, cursor=cursor)
                found += page.paths
                if (cursor := page.next_cursor) is None:
                    return found
        except ApiError as error:
            if error.type != _GONE:
                raise
            self._report.vanished()
            return None

    async def _send_others(
        self,
        gathering: Gathering,
        paths: Sequence[str | None],
        due: trio.MemorySendChannel[FileToFetch],
    ) -> bool:
        """All but the main one. False: they are those of another result by now."""
        main = gathering.main
        cursor: str | None = ""
        while cursor is not None and not gathering.failed:
            page = await self._client.output_page(gathering.job_id, cursor=cursor, limit=SIGNED)
            cursor = page.next_cursor
            named = [(gathering.job_id, each.name) for each in page.outputs if each.name != main.name]
            if not named:
                continue
            links = await self._client.output_urls(named)
            if any(link.error is not None or link.attempt_key != main.attempt_key for link in links):
                await gathering.settled()
                return False
            await self._send([(gathering, link, paths) for link in links], due, last=False)
        return True

    async def _work(self, dues: trio.MemoryReceiveChannel[FileToFetch]) -> None:
        async with dues:
            async for due in dues:
                if due.gathering.failed:  # the next run fetches the rest of it
                    due.gathering.ended()
                    continue
                try:
                    await self._settle(due, await self._brought(due))
                except OSError as error:
                    if error.errno in _NO_ROOM:
                        raise
                    self._failed(due, error)
                except ServerUnreachable:
                    raise
                except (CliError, ClientError) as error:
                    self._failed(due, error)

    def _failed(self, due: FileToFetch, error: Exception) -> None:
        self._gone_wrong(due.gathering, error)
        due.gathering.ended()

    async def _brought(self, due: FileToFetch) -> list[tuple[GivenPath, Written, bool]]:
        """Fetch it where it is nowhere in the folder, and copy it to its other paths. With each path goes whether the
        bytes were moved for it."""
        done = [(given, written, False) for given, written in due.paths if written is not None]
        missing = [given for given, written in due.paths if written is None]
        if not due.last:
            self._withdraw(due.gathering)
        if not done:
            first = missing.pop(0)
            done.append((first, await self._fetched(due.link, first), True))
        there, written, _ = done[0]
        for given in missing:
            copy = partial(self._folder.copy, given.path, there.path, written.sha256, known=given.known)
            done.append((given, await trio.to_thread.run_sync(copy), False))
        return done

    def _withdraw(self, gathering: Gathering) -> None:
        """The former main output goes before anything of the new result is written: where one is, all of its own
        attempt are, wherever this run is cut. Blocking for an unlink, so that none is written meanwhile."""
        if not gathering.withdrawn:
            for path in self._ledger.former_main(gathering.whole):
                self._folder.remove(path)
            gathering.withdrawn = True

    async def _settle(self, due: FileToFetch, at: Sequence[tuple[GivenPath, Written, bool]]) -> None:
        gathering = due.gathering
        for given, written, moved in at:
            file = FetchedFile(gathering.job_id, gathering.whole.key, given.path, *written)
            self._done.append(file)
            if moved:
                gathering.moved = True
                gathering.bytes += written.size
            if given.there is None:
                self._report.file(file, name=due.link.name, moved=moved)
        gathering.ended()
        if due.last:
            self._whole.append(gathering.whole)
            self._report.done(gathering.job_id, gathering.bytes, moved=gathering.moved)
        if len(self._done) >= _NOTED:
            await self._note()

    async def _fetched(self, link: FileLink, given: GivenPath) -> Written:
        try:
            return await self._fetch(link, given)
        except TransferRefused as refused:
            if refused.status not in _SIGN_ANEW:
                raise
        # It may have waited for its turn longer than its URL lasted, or its job was deleted meanwhile.
        if link.name is None:
            (fresh,) = await self._client.download_urls([link.job_id])
        else:
            (fresh,) = await self._client.output_urls([(link.job_id, link.name)])
        if fresh.type.endswith(_GONE):
            raise ApiError(fresh.status_code, _GONE, fresh.error or "")
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
        # Before it is fetched: what is large, and has no place to stand, would be fetched by each run.
        await trio.to_thread.run_sync(partial(folder.ready, given.path, known=given.known))
        # The jobs of one source that were taken over have one object: each is fetched for itself.
        named = hashlib.sha256(f"{link.key}\0{link.job_id}".encode()).hexdigest()[:32]
        whole = self._parts / f"{named}.whole"
        await trio.to_thread.run_sync(partial(self._parts.mkdir, mode=0o700, parents=True, exist_ok=True))
        try:
            facts = await self._client.download(
                link.url, whole, sha256=link.sha256, on_bytes=on_bytes, beginning=self._parts / f"{named}.part"
            )
            if link.size is not None and facts.size != link.size:
                raise CliError(f"{facts.size} bytes came, of {link.size}.")
            return await trio.to_thread.run_sync(
                partial(folder.take, given.path, whole, facts.sha256, known=given.known)
            )
        finally:
            whole.unlink(missing_ok=True)

    async def _note(self) -> None:
        """Tell the ledger what is there. What a result has replaced is removed when all of that result is."""
        with trio.move_on_after(_NOTE_SECONDS, shield=True):  # a few files, and two transactions
            async with self._noting:
                done, whole, self._done, self._whole = self._done, self._whole, [], []
                self._ledger.done(done)
                for former in self._ledger.replaced(whole):
                    await trio.to_thread.run_sync(self._folder.remove, former)
                self._ledger.whole(whole)


def _is_since(job: Job, since: datetime | None) -> bool:
    """Whether the job completed since then: it may have been updated later than it completed."""
    return since is None or job.completed_at is None or job.completed_at >= since
