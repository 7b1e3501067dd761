"""Which jobs a command means: ids, or a filter as `jobs list` takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from blobforge.cli import common
from blobforge.cli.common import CliError

if TYPE_CHECKING:
    from blobforge.client import Client, JobPage

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Filters = dict[str, Any]
_A_TIME = "2026-11-23T10:00:00Z"

STATUSES = ("uploading", "pending", "running", "completed", "failed", "dead", "cancelled")
LARGEST_PAGE = 100

some_ids = click.argument("job_ids", metavar="[ID]...", nargs=-1, type=click.IntRange(min=1))
several_ids = click.argument("job_ids", metavar="ID...", nargs=-1, required=True, type=click.IntRange(min=1))
one_id = click.argument("job_id", metavar="ID", type=click.IntRange(min=1))


def job_filters(command: Decorated) -> Decorated:
    """The options --status, --type, --tag, --worker and --search, in that order."""
    for add in (
        click.option("--search", "q", metavar="TEXT", help="Only jobs whose source path contains this."),
        click.option("--worker", metavar="ID", help="Only jobs of this worker."),
        click.option("--tag", metavar="TAG", help="Only jobs with this tag."),
        click.option("--type", metavar="TYPE", help="Only jobs of this type."),
        click.option("--status", type=click.Choice(STATUSES), help="Only jobs in this status."),
    ):
        command = add(command)
    return command


def list_filters(command: Decorated) -> Decorated:
    """All filters that a list has: those of `job_filters`, and what only a list is narrowed by."""
    for add in (
        *(
            click.option(f"--{what}-{side}", metavar="TIME", help=f"Only jobs {what} {words} this, as {_A_TIME}.")
            for what in ("updated", "created")
            for side, words in (("until", "before"), ("since", "since"))
        ),
        click.option(
            "--failure", type=click.IntRange(min=1), metavar="ID", help="Only jobs of this cause of failure."
        ),
        click.option("--priority", type=click.IntRange(1, 5), help="Only jobs of this priority."),
    ):
        command = add(command)
    return job_filters(command)


def chosen(filters: Filters) -> Filters:
    """The filters that were given."""
    return {name: value for name, value in filters.items() if value is not None}


def ids_or_filter(ids: tuple[int, ...] | tuple[str, ...], filters: Filters, *, noun: str = "job") -> None:
    """Refuse both and neither. Raises CliError."""
    if ids and chosen(filters):
        raise CliError("Ids and a filter do not go together.", common.USAGE, "Give one or the other.")
    if not ids and not chosen(filters):
        example = "--status dead" if noun == "job" else "--older-than 30d"
        raise CliError(
            f"No {noun} is named.", common.USAGE, f"Give ids, or a filter such as {example}; --help lists them."
        )


async def each_page(
    client: Client,
    filters: Filters,
    show: Callable[[JobPage], None],
    *,
    limit: int | None,
    cursor: str | None = None,
) -> None:
    """Hand on page after page, until there is no more or `limit` jobs have been (None: all of them)."""
    seen = 0
    while True:
        size = LARGEST_PAGE if limit is None else min(limit - seen, LARGEST_PAGE)
        page = await client.list_jobs(**filters, limit=size, cursor=cursor)
        seen += len(page.jobs)
        show(page)
        cursor = page.next_cursor
        # A page may be short, even empty, and still not be the last: the server looks at so many rows at a time.
        if cursor is None or (limit is not None and seen >= limit):
            return
