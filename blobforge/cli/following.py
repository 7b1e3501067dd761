"""A batch is waited for: one bar on a terminal, and a line for each change elsewhere."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from blobforge.cli import common, output

if TYPE_CHECKING:
    from blobforge.cli.common import CliSession
    from blobforge.client import AsyncClient, BatchInfo

LOOK_EACH = 2.0  # seconds between two looks
_IN_VAIN = ("dead", "cancelled", "gone")


async def until_ended(session: CliSession, client: AsyncClient, number: int) -> BatchInfo:
    """The batch when it has ended; a server that is away is waited for."""
    import trio

    client = client.with_patience(math.inf)
    with _Bar(session) as bar:
        while True:
            batch = await client.get_batch(number)
            bar.show(batch)
            if batch.ended:
                return batch
            await trio.sleep(LOOK_EACH)


def in_vain(batch: BatchInfo) -> int:
    """How many of its jobs did not complete."""
    return sum(batch.counts.get(status, 0) for status in _IN_VAIN)


def sum_up(batch: BatchInfo) -> str:
    """`batch 7 (scans) is closed: 12 of 40 ended: 11 completed, 1 dead, 28 pending`."""
    counts = ", ".join(f"{n:,} {status}" for status, n in batch.counts.items() if n) or "no jobs"
    ended = batch.total - batch.unfinished
    name = output.one_line(batch.name)
    return f"batch {batch.id} ({name}) is {batch.state}: {ended:,} of {batch.total:,} ended: {counts}"


class _Bar:
    def __init__(self, session: CliSession) -> None:
        self._session = session
        self._told = ""
        self._bar = None
        if common.on_terminal() and not session.quiet:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[more]}"),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("waiting", total=None, more="")

    def __enter__(self) -> _Bar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, batch: BatchInfo) -> None:
        if self._bar is not None:
            done = batch.total - batch.unfinished
            self._bar.update(
                self._task,
                description=output.one_line(batch.name),
                total=batch.total,
                completed=done,
                more=_more(batch),
            )
            return
        line = " ".join([sum_up(batch), *([f"({why})"] if (why := _unknown(batch)) else [])])
        if line != self._told:
            self._told = line
            if self._session.json:
                click.echo(output.json_line(batch))
            elif not batch.ended:  # its end is told by the command
                self._session.note(line)


def _more(batch: BatchInfo) -> str:
    failed = in_vain(batch)
    said = [f"{failed:,} not completed"] if failed else []
    return ", ".join([*said, *([expected] if (expected := eta_text(batch) or _unknown(batch)) else [])])


def _unknown(batch: BatchInfo) -> str:
    """Why it cannot be said when the batch will have ended; empty where it can, and of one that has."""
    return "" if batch.eta is None or batch.ended or eta_text(batch) else batch.eta.words


def eta_text(batch: BatchInfo) -> str:
    """`done in 5 min to 2 h`; empty where it cannot be said."""
    eta = batch.eta
    if eta is None or eta.low_seconds is None or eta.high_seconds is None:
        return ""
    return f"done in {output.span(eta.low_seconds, eta.high_seconds)}"
