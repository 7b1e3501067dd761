"""Which batch a command means: by its number, or by its name, of which the latest is meant; and what a new one calls
when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, BatchInfo


def named(_ctx: click.Context, _param: click.Parameter, batch: str | None) -> str | None:
    """What a batch is called. An empty name, as a shell's variable that is not set, would be any batch's."""
    if batch is not None and not batch.strip():
        raise click.BadParameter("the name is empty")
    return batch


SECRET_VARIABLE = "BLOBFORGE_CALLBACK_SECRET"
one_batch = click.argument("batch", metavar="BATCH", callback=named)


def callback_options(command: Any) -> Any:
    """Adds `callback_url` and `callback_secret`."""
    for add in (
        click.option(
            "--callback-secret",
            envvar=SECRET_VARIABLE,
            metavar="SECRET",
            help=f"What such a call is signed with (whsec_...); {SECRET_VARIABLE} keeps it out of process lists.",
        ),
        click.option(
            "--callback-url",
            metavar="URL",
            help="What to call when the batch, as it is made now, ends; at a host that the server may call.",
        ),
    ):
        command = add(command)
    return command


class BatchCall(NamedTuple):
    """What a batch is to call."""

    url: str
    secret: str


def callback_of(url: str | None, secret: str | None) -> BatchCall | None:
    """Raises UsageError where one of them is missing."""
    if url is None:
        return None
    if not secret:
        raise click.UsageError(f"--callback-url needs a secret to sign with: set {SECRET_VARIABLE}.")
    return BatchCall(url, secret)


async def number_of(client: AsyncClient, batch: str) -> int:
    """The number of the batch. Raises CliError where none is called so."""
    if is_number(batch):
        return int(batch)
    found = await client.list_batches(name=batch, limit=1)
    if not found.batches:
        hint = "`blobforge batches list` has all."
        raise CliError(f"No batch is called {batch!r}.", common.CONFLICT, hint)
    return found.batches[0].id


async def open_one(client: AsyncClient, batch: str, callback: BatchCall | None = None) -> int:
    """The number of the open batch of this name, which is made where there is none; a number is that batch's. Raises
    CliError where it is there and calls no URL, or another host."""
    from blobforge.client import ApiError

    if is_number(batch):
        if callback is not None:
            _check(await client.get_batch(int(batch)), callback)
        return int(batch)
    found = None
    while found is None:
        try:  # first: a caller with the scope `submit` alone may not look at what is there
            url, secret = callback if callback is not None else (None, None)
            return (await client.make_batch(batch, callback_url=url, callback_secret=secret)).id
        except ApiError as error:
            if error.type != "batch-exists":
                raise
        found = await _open_of(client, batch)  # it may have been closed meanwhile
    _check(found, callback)
    return found.id


def _check(batch: BatchInfo, callback: BatchCall | None) -> None:
    """What a batch calls is said when it is made. Raises CliError where that was something else."""
    if callback is None or batch.callback == urlsplit(callback.url).hostname:
        return
    calls = f"calls {batch.callback}" if batch.callback else "calls no URL"
    detail = f"Batch {batch.id} ({output.one_line(batch.name)}) is there already, and {calls} when it ends."
    raise CliError(detail, common.CONFLICT, "Close it, or make one of another name.")


async def _open_of(client: AsyncClient, name: str) -> BatchInfo | None:
    """The open one of those of this name. It need not be the latest, but mostly is."""
    cursor = None
    while True:
        page = await client.list_batches(name=name, limit=1 if cursor is None else 100, cursor=cursor)
        for each in page.batches:
            if each.state == "open":
                return each
        if (cursor := page.next_cursor) is None:
            return None


def is_number(batch: str) -> bool:
    return batch.isascii() and batch.isdigit()
