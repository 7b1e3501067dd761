"""`blobforge jobs export`: jobs as a table in a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import output
from blobforge.cli.common import CliSession, pass_session, session_options
from blobforge.cli.manifests import to_file
from blobforge.cli.outage import Outages
from blobforge.cli.selection import chosen, job_filters

if TYPE_CHECKING:
    from blobforge.client import AsyncClient


@click.command("export")
@job_filters
@click.option(
    "--columns",
    metavar="NAMES",
    default="",
    help="Some of its columns, with commas between them, after the id. Without this it has all, by its first line.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "ndjson"]),
    default="csv",
    show_default=True,
    help="CSV, or a JSON object a line.",
)
@to_file
@session_options
@pass_session
def export_jobs(session: CliSession, /, *, file: Path | None, format_: str, columns: str, **filters: Any) -> None:
    """Write all jobs that match as a table, by id.

    In CSV a text that a spreadsheet would take for a formula has a ' before it; tags, batches and requirements are
    JSON in their cells.

    \b
      blobforge jobs export --status dead --columns source_path,last_error --to dead.csv
      blobforge jobs export --type pdf --format ndjson | jq -r 'select(.seconds > 60) | .id'
    """
    names = [name.strip() for name in columns.split(",") if name.strip()]
    write = partial(_write, file, {"format": format_, "columns": names, **chosen(filters)})
    session.run(write, on_retry=Outages(session))
    if file is not None:
        session.note(f"Written to {file}.")


async def _write(file: Path | None, wanted: dict[str, Any], client: AsyncClient) -> None:
    if file is not None:
        await client.save_export(file, **wanted)
        return
    await output.print_pieces(client.export_jobs(**wanted))
