"""Which batch a command means: by its number, or by its name, of which the latest is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobforge.cli import common
from blobforge.cli.common import CliError

if TYPE_CHECKING:
    from blobforge.client import AsyncClient


def named(_ctx: click.Context, _param: click.Parameter, batch: str | None) -> str | None:
    """What a batch is called. An empty name, as a shell's variable that is not set, would be any batch's."""
    if batch is not None and not batch.strip():
        raise click.BadParameter("the name is empty")
    return batch


one_batch = click.argument("batch", metavar="BATCH", callback=named)


async def number_of(client: AsyncClient, batch: str) -> int:
    """The number of the batch. Raises CliError where none is called so."""
    if is_number(batch):
        return int(batch)
    found = await client.list_batches(name=batch, limit=1)
    if not found.batches:
        hint = "`blobforge batches list` has all."
        raise CliError(f"No batch is called {batch!r}.", common.CONFLICT, hint)
    return found.batches[0].id


async def open_one(client: AsyncClient, batch: str) -> int:
    """The number of the open batch of this name, which is made where there is none; a number is that batch's."""
    from blobforge.client import ApiError

    if is_number(batch):
        return int(batch)
    while True:
        try:  # first: a caller with the scope `submit` alone may not look at what is there
            return (await client.make_batch(batch)).id
        except ApiError as error:
            if error.type != "batch-exists":
                raise
        if (number := await _open_of(client, batch)) is not None:  # it may have been closed meanwhile
            return number


async def _open_of(client: AsyncClient, name: str) -> int | None:
    """The open one of those of this name. It need not be the latest, but mostly is."""
    cursor = None
    while True:
        page = await client.list_batches(name=name, limit=1 if cursor is None else 100, cursor=cursor)
        for each in page.batches:
            if each.state == "open":
                return each.id
        if (cursor := page.next_cursor) is None:
            return None


def is_number(batch: str) -> bool:
    return batch.isascii() and batch.isdigit()
