"""`blobforge stats`: the queue in numbers, once or as they change."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import click

from blobforge.cli import output
from blobforge.cli.common import CliSession, pass_session, session_options
from blobforge.cli.live import Shown
from blobforge.cli.outage import Outages, follow
from blobforge.cli.statcharts import WINDOWS, show_causes, show_times

if TYPE_CHECKING:
    import trio
    from rich.console import RenderableType
    from rich.live import Live

    from blobforge.client import AsyncClient, BatchEta, EventStream, QueueEta, Stats, TagSize

_LATEST = 10.0  # seconds after which the numbers are fetched although nothing happened: ages grow by themselves
_STATUSES = ("pending", "running", "completed", "failed", "dead", "cancelled", "uploading")


@click.command()
@click.option("-w", "--watch", is_flag=True, help="Go on and show each change, until Ctrl-C.")
@click.option("--tags", is_flag=True, help="What the jobs of each tag take, those with most first.")
@click.option("--times", is_flag=True, help="How long jobs stood in the queue, and ran.")
@click.option("--causes", is_flag=True, help="Why attempts failed: the most frequent causes.")
@click.option("--window", type=click.Choice(WINDOWS), default="24h", show_default=True, help="For --times, --causes.")
@click.option("--type", metavar="TYPE", help="For --times and --causes: only of jobs of this type.")
@session_options
@pass_session
def stats(
    session: CliSession, /, *, watch: bool, tags: bool, times: bool, causes: bool, window: str, type: str | None
) -> None:
    """Show the queue in numbers: jobs by status and type, workers, how fast it goes.

    \b
      blobforge stats
      blobforge stats --watch
      blobforge stats --tags
      blobforge stats --times --window 7d --type pdf
      blobforge stats --causes
      blobforge stats --json
    """
    if watch + tags + times + causes > 1:
        raise click.UsageError("--watch, --tags, --times and --causes do not go together: say one of them.")
    if times:
        show_times(session, window, type)
        return
    if causes:
        show_causes(session, window, type)
        return
    if watch:
        follow(session, lambda client, outages: _watch(session, client, outages))
        return
    if tags:
        _show_tags(session)
        return
    found, outlook = session.run(_look)
    if session.json:
        output.print_json(found)
    else:
        output.print_fields(_fields(found, outlook))
        if output.is_terminal() and found.by_type:
            click.echo()
            columns = ("TYPE", *(status.upper() for status in _STATUSES), "DONE IN")
            output.print_table(columns, _types(found, outlook))


async def _look(client: AsyncClient) -> tuple[Stats, QueueEta]:
    return await client.stats(), await client.outlook()


def _show_tags(session: CliSession) -> None:
    async def gather(client: AsyncClient) -> list[TagSize]:
        page = await client.tag_sizes(limit=200)
        found = list(page.tags)
        while page.next_cursor is not None:
            page = await client.tag_sizes(limit=200, cursor=page.next_cursor)
            found += page.tags
        return found

    found = session.run(gather)
    if session.json:
        output.print_json(found)
    else:
        rows = [
            (each.tag, each.jobs, output.size_text(each.source_bytes), output.size_text(each.output_bytes))
            for each in found
        ]
        output.print_table(("TAG", "JOBS", "SOURCES", "RESULTS"), rows)


def _fields(found: Stats, outlook: QueueEta) -> list[tuple[str, object]]:
    rate = found.jobs_per_minute
    return [
        ("pending", found.pending_jobs),
        ("not to be started yet", found.deferred_jobs or None),
        ("running", found.running_jobs),
        ("completed", found.completed_jobs),
        ("failed", found.failed_jobs),
        ("dead", found.dead_jobs),
        ("cancelled", found.cancelled_jobs),
        ("uploading", found.uploading_jobs),
        ("total", found.total_jobs),
        ("workers online", found.online_workers),
        ("workers draining", found.draining_workers),
        ("workers offline", found.offline_workers),
        ("oldest pending", output.duration(found.oldest_pending_seconds)),
        ("jobs per minute", f"{rate:.1f}" if rate is not None else None),
        ("done in", _end(outlook) or outlook.words if outlook.by_type else None),
        ("sources take", output.size_text(found.bytes.sources) if found.bytes is not None else None),
        ("results take", output.size_text(found.bytes.outputs) if found.bytes is not None else None),
    ]


def _end(eta: BatchEta | None) -> str:
    return output.span(eta.low_seconds, eta.high_seconds) if eta is not None else ""


def _types(found: Stats, outlook: QueueEta) -> list[tuple[object, ...]]:
    return [
        (name, *(counts.get(status, 0) for status in _STATUSES), _end(outlook.by_type.get(name)))
        for name, counts in sorted(found.by_type.items())
    ]


async def _watch(session: CliSession, client: AsyncClient, outages: Outages) -> None:
    """Show the numbers, and again whenever they changed."""
    import trio

    shown = None
    send, changed = trio.open_memory_channel[None](1)
    async with (
        client.events(types=("stats_updated",), on_break=outages.broken) as stream,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_listen, stream, send)
        await changed.receive()
        with _StatsScreen(session) as screen:
            while True:
                found, outlook = await _look(client)
                if found != shown:
                    screen.show(found, outlook)
                    shown = found
                with trio.move_on_after(_LATEST):
                    await changed.receive()


async def _listen(stream: EventStream, send: trio.MemorySendChannel[None]) -> None:
    """Wake the reader when something has changed. A reader that is to wake already is not woken twice."""
    import trio

    while True:
        await stream.next()
        with contextlib.suppress(trio.WouldBlock):
            send.send_nowait(None)


class _StatsScreen(Shown):
    """The numbers in place on a terminal; elsewhere one after the other, with an empty line or JSON lines."""

    def __init__(self, session: CliSession) -> None:
        self._json = session.json
        self._first = True
        self._live: Live | None = None
        if not self._json and output.is_terminal():
            from rich.live import Live

            self._live = Live(auto_refresh=False)
        self.picture = self._live

    def show(self, found: Stats, outlook: QueueEta) -> None:
        if self._live is not None:
            self._live.update(_picture(found, outlook), refresh=True)
        elif self._json:
            click.echo(output.json_line(found))
        else:
            if not self._first:
                click.echo()
            output.print_fields(_fields(found, outlook))
        self._first = False


def _picture(found: Stats, outlook: QueueEta) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    for name, value in _fields(found, outlook):
        if value not in (None, ""):
            style = output.STYLES.get(name, "") if value else "dim"
            table.add_row(Text(name, style="bold"), Text(str(value), style=style))
    return table
