"""One run of `submit` or `ingest`, from the first file to the summary; how it ends early, too."""

from __future__ import annotations

from collections.abc import Iterable

import trio
from msgspec.structs import replace

from blobforge.cli.ingest.batches import JobOptions
from blobforge.cli.ingest.cache import HashCache, open_cache
from blobforge.cli.ingest.find import Candidate, RejectedPath
from blobforge.cli.ingest.pipeline import ingest
from blobforge.cli.ingest.report import Report
from blobforge.cli.ingest.waiting import wait_for_batch, wait_for_ends
from blobforge.cli.naming import BatchCall, open_one
from blobforge.cli.outage import PATIENCE
from blobforge.cli.progress import Progress
from blobforge.cli.signals import until_terminated
from blobforge.client import AsyncClient
from blobforge.login import folders


async def run(
    client: AsyncClient,
    found: Iterable[Candidate | RejectedPath],
    options: JobOptions,
    report: Report,
    *,
    pointers: bool,
    cached: bool,
    rehash: bool,
    wait: bool,
    batch: str | None = None,
    stays_open: bool = False,
    callback: BatchCall | None = None,
) -> None:
    """Submit all, then with `wait` follow the jobs to their ends. For a `batch`: the open one of that name, which is
    made where there is none (with this `callback`), and closed when all that was found is in it, unless it
    `stays_open`."""
    folder = folders.cache() if cached else None
    cache = open_cache(folder, distrusted=rehash) if folder is not None else HashCache(None)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(until_terminated)
            if batch is not None:
                report.batch = await open_one(client.with_patience(PATIENCE), batch, callback)
                options = replace(options, batch=report.batch)
            with Progress(shown=not report.session.quiet) as report.progress:
                await ingest(client, found, options, report, cache, pointers=pointers)
            closed = await _close(client, report) if report.batch is not None and not stays_open else False
            if wait and closed and report.batch is not None:
                await wait_for_batch(client, report, report.batch)
            elif wait:
                await wait_for_ends(client, report)
            nursery.cancel_scope.cancel()
    finally:
        cache.close()


async def _close(client: AsyncClient, report: Report) -> bool:
    """The batch takes no further jobs, if all that was found is in it; whether it does not."""
    assert report.batch is not None
    if report.failed or report.found == 0:
        report.session.note(f"Batch {report.batch} stays open: run the same command again for what has failed.")
        return False
    await client.with_patience(PATIENCE).close_batch(report.batch)
    return True


def what_now(report: Report) -> str:
    """The advice after a run that ended early."""
    if report.found == report.new + report.existing + report.failed and report.keep_ids:
        return "All were submitted; the jobs go on without being watched."
    return "Run the same command again to go on: what the server has is skipped."
