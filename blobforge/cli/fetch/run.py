"""One run of `results download`, from the ledger to the summary; how it goes on as results come, and ends early."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from blobforge.cli import common
from blobforge.cli.common import CliError
from blobforge.cli.fetch.fetching import Fetch, ResultFilter
from blobforge.cli.fetch.folder import Folder, FolderBusy
from blobforge.cli.fetch.ledger import Ledger, open_ledger, parts_folder
from blobforge.cli.fetch.report import FetchReport
from blobforge.cli.outage import PATIENCE, Outages
from blobforge.cli.progress import Progress
from blobforge.cli.signals import until_terminated
from blobforge.client import ApiError, AsyncClient, Job
from blobforge.login import folders
from blobforge.machinery.groups import root_cause
from blobforge.resultnames import Layout

_GATHERED: Final = 1.0  # seconds after an event: others come with it
_LOOK_AGAIN: Final = 60.0  # seconds without one


@dataclass(frozen=True)
class Into:
    """Where the results go, and how. `everything`: whatever an earlier run has seen. `verify`: what is there is
    read."""

    root: Path
    layout: Layout = "path"
    overwrite: bool = False
    everything: bool = False
    verify: bool = False


async def fetch_matching(client: AsyncClient, selection: ResultFilter, into: Into, report: FetchReport) -> int:
    """Fetch all that match; returns how many results the folder holds."""
    async with _opened(client.with_patience(PATIENCE), into, report) as (fetch, ledger, missing):
        await fetch.round(selection, everything=into.everything or missing)
        return ledger.count()


async def fetch_these(client: AsyncClient, jobs: Sequence[Job], into: Into, report: FetchReport) -> int:
    """Fetch the results of these jobs; returns how many results the folder holds."""
    async with _opened(client.with_patience(PATIENCE), into, report) as (fetch, ledger, _):
        await fetch.these(jobs)
        return ledger.count()


async def fetch_by_id(client: AsyncClient, ids: Iterable[int], into: Into, report: FetchReport) -> int:
    """Fetch the results of these jobs; returns how many results the folder holds. A job that is not there, or has no
    result, is a failure."""
    found: list[Job] = []
    for job_id in dict.fromkeys(ids):
        try:
            job = await client.with_patience(PATIENCE).get_job(job_id)
            if job.output_key is None:
                raise CliError(f"Job {job_id} has no result.", common.CONFLICT)
            found.append(job)
        except (CliError, ApiError) as error:
            if isinstance(error, ApiError) and error.status != 404:
                raise
            report.discovered(1)
            report.failure(job_id, error)
    return await fetch_these(client, found, into, report)


async def keep_fetching(
    client: AsyncClient, selection: ResultFilter, into: Into, report: FetchReport, outages: Outages
) -> None:
    """Fetch all that match, and from then on what becomes a result, until interrupted."""
    async with _opened(client, into, report) as (fetch, _, missing):
        everything = into.everything or missing
        news, heard = trio.open_memory_channel[None](1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_listen, client, news, outages)
            await heard.receive()  # the subscription stands: what completes from here on is told
            while True:
                await fetch.round(selection, everything=everything)
                everything = False
                with trio.move_on_after(_LOOK_AGAIN):
                    await heard.receive()
                    await trio.sleep(_GATHERED)


async def _listen(client: AsyncClient, news: trio.MemorySendChannel[None], outages: Outages) -> None:
    async with client.events(types=("job_completed",), on_break=outages.broken) as stream:
        while True:
            await stream.next()
            with suppress(trio.WouldBlock):  # a round that is to come will find it
                news.send_nowait(None)


@asynccontextmanager
async def _opened(client: AsyncClient, into: Into, report: FetchReport) -> AsyncIterator[tuple[Fetch, Ledger, bool]]:
    """The folder with its ledger, and whether something is missing there that was fetched before."""
    cache = folders.cache()
    root = into.root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    folder = Folder(root, overwrite=into.overwrite)
    with ExitStack() as until_done:
        try:
            until_done.enter_context(folder.held())
            ledger = open_ledger(cache, root, client.base_url)
        except FolderBusy as busy:
            raise CliError(str(busy), common.CONFLICT, "Wait for it, or name another folder with --to.") from busy
        until_done.callback(ledger.close)
        until_done.enter_context(_noting(cache))
        _check_layout(ledger, into, root)
        missing = await trio.to_thread.run_sync(lambda: ledger.forget_missing(root, read=into.verify)) > 0
        parts = _parts(cache, ledger, root, client, until_done)
        async with trio.open_nursery() as nursery:
            await nursery.start(until_terminated)
            with Progress(shown=not report.session.quiet, doing="fetching", done="fetched") as report.progress:
                yield Fetch(client, ledger, folder, into.layout, parts, report), ledger, missing
            nursery.cancel_scope.cancel()
        if not report.failed:
            await trio.to_thread.run_sync(lambda: shutil.rmtree(parts, ignore_errors=True))


def _parts(cache: Path | None, ledger: Ledger, root: Path, client: AsyncClient, until_done: ExitStack) -> Path:
    """The folder for the beginnings of large results: they are of use for as long as the ledger is."""
    if cache is not None and ledger.lasting:
        return parts_folder(cache, root, client.base_url)
    temporary = tempfile.TemporaryDirectory(prefix="blobforge-", ignore_cleanup_errors=True)
    return Path(until_done.enter_context(temporary))


@contextmanager
def _noting(cache: Path | None) -> Iterator[None]:
    """The disk of the cache folder may be full while that of the results is not."""
    try:
        yield
    except BaseException as error:
        cause = root_cause(error)
        if not isinstance(cause, sqlite3.OperationalError):
            raise
        hint = "Make room there, or name another folder with XDG_CACHE_HOME. What was fetched is not fetched again."
        raise CliError(f"{cache or tempfile.gettempdir()}: {cause}", hint=hint) from error


def _check_layout(ledger: Ledger, into: Into, root: Path) -> None:
    layout = ledger.about("layout")
    if layout not in (None, into.layout) and ledger.count():
        hint = f"Go on with --layout {layout}, or name another folder with --to."
        raise CliError(f"{root} holds results in another layout ({layout}).", common.CONFLICT, hint)
    ledger.note("layout", into.layout)
