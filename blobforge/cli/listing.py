"""Lists of what has an id: gathered page by page, and shown as JSON, as ids, or as a table."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import click

from blobforge.cli import output

if TYPE_CHECKING:
    from blobforge.cli.common import CliSession

T = TypeVar("T")

PAGE = 100


async def gathered(
    read: Callable[[int, int | None], Awaitable[tuple[Sequence[T], int | None]]], *, limit: int | None = None
) -> list[T]:
    """All of a list, or the first `limit` of it. `read` gets a page of so many behind a cursor, and the next
    cursor."""
    found: list[T] = []
    cursor: int | None = None
    while limit is None or len(found) < limit:
        page, cursor = await read(PAGE if limit is None else min(PAGE, limit - len(found)), cursor)
        found += page
        if cursor is None:
            break
    return found


def print_list(
    session: CliSession,
    found: Sequence[T],
    heads: tuple[str, ...],
    row: Callable[[T], tuple[object, ...]],
    *,
    name: Callable[[Any], object] = attrgetter("id"),
) -> None:
    """On stdout, as it was asked for: a table with a `row` for each, or with --quiet the `name` of each."""
    if session.json:
        output.print_json(found)
    elif session.quiet:
        for each in found:
            click.echo(str(name(each)))
    else:
        output.print_table(heads, [row(each) for each in found])
