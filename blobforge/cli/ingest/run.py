"""One run of `submit` or `ingest`, from the first file to the summary; how it ends early, too."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from blobforge.cli.ingest.batches import JobOptions
from blobforge.cli.ingest.cache import HashCache, open_cache
from blobforge.cli.ingest.find import Candidate, RejectedPath
from blobforge.cli.ingest.pipeline import ingest
from blobforge.cli.ingest.report import Report
from blobforge.cli.ingest.waiting import wait_for_ends
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
) -> None:
    """Submit all, then with `wait` follow the jobs to their ends."""
    folder = folders.cache() if cached else None
    cache = open_cache(folder, distrusted=rehash) if folder is not None else HashCache(None)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(until_terminated)
            with Progress(shown=not report.session.quiet) as report.progress:
                await ingest(client, found, options, report, cache, pointers=pointers)
            if wait:
                await wait_for_ends(client, report)
            nursery.cancel_scope.cancel()
    finally:
        cache.close()


def what_now(report: Report) -> str:
    """The advice after a run that ended early."""
    if report.found == report.new + report.existing + report.failed and report.keep_ids:
        return "All were submitted; the jobs go on without being watched."
    return "Run the same command again to go on: what the server has is skipped."
