"""What was found or done, on stdout: as JSON, with --quiet as ids, else as a table, as fields or in a line. Lists are
gathered page by page."""

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


def print_one(
    session: CliSession,
    found: T,
    fields: Callable[[T], Sequence[tuple[str, object]]],
    *,
    name: Callable[[Any], object] = attrgetter("id"),
) -> None:
    """On stdout, as it was asked for: its `fields`, or with --quiet its `name`."""
    if session.json:
        output.print_json(found)
    elif session.quiet:
        click.echo(str(name(found)))
    else:
        output.print_fields(fields(found))


def print_status(session: CliSession, name: str | int, status: str, *, key: str = "id") -> None:
    """On stdout, as it was asked for: what was done to the thing of this name, called `key` in JSON."""
    if session.json:
        output.print_json({key: name, "status": status})
    elif session.quiet:
        click.echo(str(name))
    else:
        click.echo(f"{output.one_line(name)}\t{status}")
