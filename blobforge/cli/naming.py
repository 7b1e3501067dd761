"""Which batch a command means: by its number, or by its name, of which the latest is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from blobforge.cli import common
from blobforge.cli.common import CliError

if TYPE_CHECKING:
    from blobforge.client import AsyncClient

one_batch = click.argument("batch", metavar="BATCH")


async def number_of(client: AsyncClient, batch: str) -> int:
    """The number of the batch. Raises CliError where none is called so."""
    if _is_number(batch):
        return int(batch)
    found = await client.list_batches(name=batch, limit=1)
    if not found.batches:
        hint = "`blobforge batches list` has all."
        raise CliError(f"No batch is called {batch!r}.", common.CONFLICT, hint)
    return found.batches[0].id


async def open_one(client: AsyncClient, batch: str) -> int:
    """The number of the open batch of this name, which is made where there is none; a number is that batch's."""
    from blobforge.client import ApiError

    if _is_number(batch):
        return int(batch)
    while True:
        found = await client.list_batches(name=batch, limit=1)
        if found.batches and found.batches[0].state == "open":
            return found.batches[0].id
        try:
            return (await client.make_batch(batch)).id
        except ApiError as error:
            if error.type != "batch-exists":  # another has made it meanwhile
                raise


def _is_number(batch: str) -> bool:
    return batch.isascii() and batch.isdigit()
