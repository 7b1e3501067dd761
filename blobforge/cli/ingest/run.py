"""One run of `submit` or `ingest`, from the first file to the summary; how it ends early, too."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterable

import click
import trio

from blobforge.cli.common import Session
from blobforge.cli.ingest.batches import PATIENCE, Options
from blobforge.cli.ingest.cache import HashCache, open_cache
from blobforge.cli.ingest.find import Candidate, Problem
from blobforge.cli.ingest.pipeline import ingest
from blobforge.cli.ingest.progress import Progress
from blobforge.cli.ingest.report import Report
from blobforge.cli.ingest.waiting import wait as follow
from blobforge.client import Client, ClientError, OnRetry
from blobforge.login import folders

_TELL_FROM = 2.0  # seconds; a shorter wait for the server is not worth a line
_SAME_OUTAGE = 30.0  # seconds; a call that fails so soon after the try of another has met what that one met


async def run(
    client: Client,
    found: Iterable[Candidate | Problem],
    options: Options,
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
            await nursery.start(_until_terminated)
            with Progress(shown=not report.session.quiet) as report.progress:
                await ingest(client, found, options, report, cache, pointers=pointers)
            if wait:
                await follow(client, report)
            nursery.cancel_scope.cancel()
    finally:
        cache.close()


async def _until_terminated(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Ctrl-C, and SIGTERM, which is the same by other hands: what is under way is cleaned up after.

    As signals and not as Python's KeyboardInterrupt, which comes between any two steps: a file would be counted, and
    not told. What was ignored stays so, as SIGINT in the background of a script.
    """
    heeded = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]
    with trio.open_signal_receiver(*heeded) as signals:
        task_status.started()
        async for number in signals:
            raise KeyboardInterrupt if number == signal.SIGINT else click.exceptions.Exit(128 + number)


def tell_retries(session: Session) -> OnRetry:
    """Say on stderr that the server is waited for: once for each outage, however many calls meet it."""
    until = -math.inf

    def on_retry(error: ClientError, pause: float) -> None:
        nonlocal until
        now = time.monotonic()
        if now >= until and pause < _TELL_FROM:
            return
        if now >= until:
            session.note(f"{error}; trying again for {PATIENCE:.0f} s")
        until = now + pause + _SAME_OUTAGE

    return on_retry


def what_now(report: Report) -> str:
    """What to do after a run that ended early."""
    if report.found == report.new + report.existing + report.failed and report.keep_ids:
        return "All were submitted; the jobs go on without being watched."
    return "Run the same command again to go on: what the server has is skipped."
