"""`blobforge batches`: jobs that were submitted for one thing, followed, cancelled and retried as a whole."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, manifests, output
from blobforge.cli.common import CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.following import eta_text, in_vain, sum_up, until_ended
from blobforge.cli.listing import gathered, print_list, print_one
from blobforge.cli.naming import callback_of, callback_options, is_number, named, number_of, one_batch, open_one
from blobforge.cli.operations import begun, watch
from blobforge.cli.outage import Outages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from blobforge.client import AsyncClient, BatchInfo

_wait = click.option("--wait", is_flag=True, help="Wait until it is done.")
_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@click.group(cls=CommandGroup)
def batches() -> None:
    """Follow the jobs that were submitted for one thing (`--batch NAME`), cancel and retry them as a whole.

    BATCH is a batch's number, or its name: of several of one name the latest is meant.
    """


@batches.command("list")
@click.option("--name", metavar="NAME", callback=named, help="Only batches of this name.")
@click.option("--going", is_flag=True, help="Only those that have not ended.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, at most.")
@session_options
@pass_session
def list_batches(session: CliSession, /, *, name: str | None, going: bool, limit: int) -> None:
    """List the batches, newest first."""
    if name is not None and going:
        raise click.UsageError("--name and --going do not go together.")

    async def gather(client: AsyncClient) -> list[BatchInfo]:
        async def read(size: int, cursor: int | None) -> tuple[list[BatchInfo], int | None]:
            page = await client.list_batches(name=name, going=going or None, limit=size, cursor=cursor)
            return page.batches, page.next_cursor

        return await gathered(read, limit=limit)

    print_list(
        session,
        session.run(gather),
        ("ID", "STATE", "ENDED", "IN VAIN", "MADE", "NAME"),
        lambda each: (
            each.id, each.state, f"{each.total - each.unfinished}/{each.total}", in_vain(each), each.created_at,
            output.one_line(each.name),
        ),
    )  # fmt: skip


@batches.command("make")
@click.argument("name", metavar="NAME", callback=named)
@callback_options
@session_options
@pass_session
def make_batch(session: CliSession, /, *, name: str, callback_url: str | None, callback_secret: str | None) -> None:
    """Make a batch, where none of this name is open; say its number. `submit --batch` makes one by itself."""
    if is_number(name):
        raise click.UsageError("A name is not of digits only: that is the number of a batch.")
    callback = callback_of(callback_url, callback_secret)
    number = session.run(lambda client: open_one(client, name, callback))
    if session.json:
        output.print_json({"id": number, "name": name})
    else:
        click.echo(str(number))


@batches.command("show")
@one_batch
@session_options
@pass_session
def show_batch(session: CliSession, batch: str) -> None:
    """Show how many of a batch's jobs have come to what, and when all will have ended."""
    _show(session, session.run(lambda client: _found(client, batch)))


@batches.command("watch")
@one_batch
@session_options
@pass_session
def watch_batch(session: CliSession, batch: str) -> None:
    """Wait until a batch has ended. The exit code is 0 where all of its jobs completed, and 1 where not all did.

    An open batch ends once it is closed: `blobforge batches close`.
    """

    async def wait(client: AsyncClient) -> BatchInfo:
        return await until_ended(session, client, await number_of(client, batch))

    ended = session.run(wait, on_retry=Outages(session))
    if not session.json:
        click.echo(sum_up(ended))
    if in_vain(ended):
        common.fail()


@batches.command("close")
@one_batch
@session_options
@pass_session
def close_batch(session: CliSession, batch: str) -> None:
    """Close a batch: it takes no further jobs, and ends when all that it has do."""

    async def close(client: AsyncClient) -> BatchInfo:
        return await client.close_batch(await number_of(client, batch))

    _show(session, session.run(close))


@batches.command("cancel")
@one_batch
@click.option("--reason", metavar="TEXT", help="Why; the jobs show it.")
@_wait
@_yes
@session_options
@pass_session
def cancel_batch(session: CliSession, /, *, batch: str, reason: str | None, wait: bool, yes: bool) -> None:
    """Close a batch, and cancel all of its jobs that have not ended. `blobforge operations undo` takes it back."""

    async def cancel(client: AsyncClient, number: int) -> int:
        return await client.cancel_batch(number, reason=reason)

    _as_a_whole(session, batch, "Cancel what has not ended of batch {id} ({name}): {unfinished}?", cancel,
                wait=wait, yes=yes)  # fmt: skip


@batches.command("retry")
@one_batch
@click.option("--cancelled", is_flag=True, help="Those that were cancelled, too.")
@click.option("--reset-attempts", is_flag=True, help="Give the jobs all their tries again.")
@_wait
@_yes
@session_options
@pass_session
def retry_batch(
    session: CliSession, /, *, batch: str, cancelled: bool, reset_attempts: bool, wait: bool, yes: bool
) -> None:
    """Bring the dead jobs of a batch back. Where it had ended, it ends once more after them."""

    async def retry(client: AsyncClient, number: int) -> int:
        return await client.retry_batch(number, cancelled=cancelled or None, reset_attempts=reset_attempts or None)

    too = " and {cancelled:,} cancelled" if cancelled else ""
    question = f"Bring jobs of batch {{id}} ({{name}}) back: {{dead:,}} dead{too}?"
    _as_a_whole(session, batch, question, retry, wait=wait, yes=yes)


@batches.command("delete")
@one_batch
@click.option("--results", is_flag=True, help="Delete its jobs, too, with all that they have, but for others' jobs.")
@_wait
@_yes
@session_options
@pass_session
def delete_batch(session: CliSession, /, *, batch: str, results: bool, wait: bool, yes: bool) -> None:
    """Forget a batch. Its jobs stay; with --results they go for good, but for those of another batch, too."""

    async def delete(client: AsyncClient, number: int) -> int:
        return await client.delete_batch(number, results=results or None)

    what = ", with all that its jobs have, for good ({total})?" if results else "? Its jobs stay ({total})."
    _as_a_whole(session, batch, f"Delete batch {{id}} ({{name}}){what}", delete, wait=wait, yes=yes)


@batches.command("manifest")
@one_batch
@manifests.to_file
@session_options
@pass_session
def manifest(session: CliSession, /, *, batch: str, file: Path | None) -> None:
    """List what the jobs of a batch have made, with hashes, signed by the installation.

    A line of JSON for each job, whatever has become of it, and a last line that signs all of them: see
    `blobforge results manifest` and `verify`.
    """

    async def fetch(client: AsyncClient) -> None:
        number = await number_of(client, batch)
        await client.get_batch(number)
        await manifests.write(client, file, batch=number)

    session.run(fetch, on_retry=Outages(session))
    if file is not None:
        session.note(f"Written to {file}.")


async def _found(client: AsyncClient, batch: str) -> BatchInfo:
    return await client.get_batch(await number_of(client, batch))


def _as_a_whole(
    session: CliSession,
    batch: str,
    question: str,
    begin: Callable[[AsyncClient, int], Awaitable[int]],
    *,
    wait: bool,
    yes: bool,
) -> None:
    """Ask, and have it done by an operation. Raises CliError."""
    found = session.run(lambda client: _found(client, batch))
    about: dict[str, Any] = {"id": found.id, "name": output.one_line(found.name)}
    jobs = {name: output.count(n, "job") for name, n in (("total", found.total), ("unfinished", found.unfinished))}
    asked = question.format(**about, **jobs, **_counts(found))
    common.confirm(asked, yes=yes, hint="Give --yes to do it; `blobforge batches show` says what is in it.")
    operation = session.run(lambda client: begin(client, found.id))
    if wait:
        watch(session, operation)
    else:
        begun(session, operation)


def _counts(batch: BatchInfo) -> dict[str, int]:
    return {status: batch.counts.get(status, 0) for status in ("dead", "cancelled")}


def _show(session: CliSession, batch: BatchInfo) -> None:
    print_one(session, batch, _fields, name=attrgetter("state"))


def _fields(batch: BatchInfo) -> list[tuple[str, object]]:
    eta = batch.eta
    return [
        ("id", batch.id),
        ("name", output.one_line(batch.name)),
        ("state", batch.state),
        ("jobs", f"{batch.total:,}"),
        ("ended", f"{batch.total - batch.unfinished:,} ({batch.percent:g} %)"),
        *((status, f"{n:,}") for status, n in batch.counts.items() if n),
        ("expected", (eta_text(batch) or eta.words) if eta is not None else None),
        ("made", batch.created_at),
        ("closed", batch.closed_at),
        ("started", batch.started_at),
        ("ended at", batch.ended_at),
        ("endings", batch.endings or None),
        ("calls", batch.callback),
        ("metadata", batch.metadata),
    ]
