"""Which jobs a command means: ids, or a filter as `jobs list` takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from blobforge.cli import common, suggest
from blobforge.cli.common import CliError

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, JobPage

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Filters = dict[str, Any]
_A_TIME = "2026-11-23T10:00:00Z"

STATUSES = ("uploading", "pending", "running", "completed", "failed", "dead", "cancelled")
SORTS = ("created", "-created", "ended", "-ended", "duration", "-duration", "-size", "-tries")
LARGEST_PAGE = 100

_job_id = partial(click.argument, type=click.IntRange(min=1), shell_complete=suggest.jobs)
some_ids = _job_id("job_ids", metavar="[ID]...", nargs=-1)
several_ids = _job_id("job_ids", metavar="ID...", nargs=-1, required=True)
one_id = _job_id("job_id", metavar="ID")


def job_filters(command: Decorated) -> Decorated:
    """All filters that the API has for jobs, for commands that look at them."""
    return _filters(command, "--priority")


def bulk_filters(command: Decorated) -> Decorated:
    """The same for commands that change jobs: there --priority is what they are to have."""
    return _filters(command, "--only-priority")


def _filters(command: Decorated, priority: str) -> Decorated:
    for add in (
        *(
            click.option(f"--{what}-{side}", metavar="TIME", help=f"Only jobs {what} {words} this, as {_A_TIME}.")
            for what in ("updated", "created")
            for side, words in (("until", "before"), ("since", "since"))
        ),
        click.option(
            "--made-by", metavar="'NAME<VERSION'", help="Only jobs with a result of these converters; or none."
        ),
        click.option(
            "--compared/--not-compared", default=None, help="Only jobs beside whose result a former one is kept."
        ),
        click.option(
            "--requiring",
            metavar="LABEL",
            help="Only jobs that require this of their workers, as gpu or 'memory_gib>=32'; or none.",
        ),
        click.option("--group", metavar="NAME", help="Only jobs of this group."),
        click.option(
            "--batch", type=click.IntRange(min=1), metavar="ID", help="Only jobs of the batch with this number."
        ),
        click.option(
            "--failure", type=click.IntRange(min=1), metavar="ID", help="Only jobs of this cause of failure."
        ),
        click.option(priority, type=click.IntRange(1, 5), help="Only jobs of this priority."),
        click.option(
            "--search",
            "q",
            metavar="TEXT",
            help="Only jobs with this in a path or tag, this worker, or a source whose hash begins so.",
        ),
        click.option("--worker", metavar="ID", shell_complete=suggest.workers, help="Only jobs of this worker."),
        click.option("--tag", metavar="TAG", shell_complete=suggest.tags, help="Only jobs with this tag."),
        click.option("--type", metavar="TYPE", shell_complete=suggest.types, help="Only jobs of this type."),
        click.option("--status", type=click.Choice(STATUSES), help="Only jobs in this status."),
    ):
        command = add(command)
    return command


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
    client: AsyncClient,
    filters: Filters,
    show: Callable[[JobPage], None],
    *,
    limit: int | None,
    cursor: str | None = None,
    sort: str | None = None,
) -> None:
    """Hand on page after page, until there is no more or `limit` jobs have been (None: all of them)."""
    seen = 0
    while True:
        size = LARGEST_PAGE if limit is None else min(limit - seen, LARGEST_PAGE)
        page = await client.list_jobs(**filters, limit=size, cursor=cursor, sort=sort)
        seen += len(page.jobs)
        show(page)
        cursor = page.next_cursor
        # A page may be short, even empty, and still not be the last: the server looks at so many rows at a time.
        if cursor is None or (limit is not None and seen >= limit):
            return


def for_each(job_ids: Sequence[int], work: Callable[[int], None]) -> None:
    """Do the work for each of these jobs. Of several, the failure of one is reported and is the exit code, and the
    others go on. Raises CliError where there is one job, or where all of them would meet the error."""
    failed = 0
    for job_id in job_ids:
        try:
            work(job_id)
        except CliError as error:
            if len(job_ids) == 1 or error.exit_code in (common.UNREACHABLE, common.UNAUTHORISED):
                raise
            error.show()
            failed = failed or error.exit_code
    if failed:
        common.fail(failed)


def moment(_ctx: click.Context, _param: click.Parameter, value: str | None) -> datetime | None:
    """A time as a person types it, in UTC where no zone is said."""
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no time; one is {_A_TIME}") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
