"""`blobforge results`: what the jobs have made, many at a time. The work is in `blobforge/cli/fetch/`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from blobforge.cli import common, comparing, manifests, output, suggest
from blobforge.cli.common import CliError, CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.naming import named, number_of
from blobforge.cli.selection import STATUSES, chosen, moment


@click.group(cls=CommandGroup)
def results() -> None:
    """Fetch what the jobs have made, and prove that a folder holds it."""


for command in (manifests.manifest, manifests.verify, manifests.key, comparing.diff):
    results.add_command(command)


@results.command("superseded")
@click.option(
    "--older-than", type=common.duration, metavar="TIME", help="Would go if replaced longer ago (30d, 12h)."
)
@click.option(
    "--keep", type=click.IntRange(min=0), metavar="N", help="Would go if not among the latest N of its job."
)
@session_options
@pass_session
def superseded(session: CliSession, /, *, older_than: float | None, keep: int | None) -> None:
    """Say what results that others have replaced take, and what a rule would delete. Nothing is deleted.

    Without --older-than and --keep the rule is that of the server's settings, BLOBFORGE_RETENTION_SUPERSEDED and
    BLOBFORGE_RETENTION_SUPERSEDED_COUNT, by which the server deletes in the background.

    \b
      blobforge results superseded --older-than 30d --keep 1
    """
    found = session.run(lambda client: client.superseded(older_than=older_than, keep=keep))
    if session.json:
        output.print_json(found)
        return
    rule = [] if found.older_than is None else [f"replaced more than {output.duration(found.older_than)} ago"]
    rule += [] if found.keep is None else [f"not among the latest {found.keep} of their job"]
    output.print_fields(
        [
            ("Replaced results", f"{found.results} ({output.size_text(found.bytes)})"),
            ("Rule", " or ".join(rule) or "none: all are kept"),
            ("Would go", f"{found.due_results} ({output.size_text(found.due_bytes)})"),
        ]
    )


@results.command("download")
@click.option(
    "--to",
    "folder",
    type=common.NamedPath(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="The folder to fetch into; made if it is not there.",
)
@click.option("--job", "job_ids", type=int, multiple=True, metavar="ID", help="Only of this job; may be repeated.")
@click.option("--type", metavar="TYPE", shell_complete=suggest.types, help="Only results of jobs of this type.")
@click.option("--tag", metavar="TAG", shell_complete=suggest.tags, help="Only of jobs with this tag.")
@click.option("--batch", metavar="BATCH", callback=named, help="Only of jobs of this batch: its number, or its name.")
@click.option("--made-by", metavar="'NAME<VERSION'", help="Only results of these converters, as 'marker<1.3'.")
@click.option(
    "--search",
    "q",
    metavar="TEXT",
    help="Only of jobs with this in a path or tag, this worker, or a source whose hash begins so.",
)
@click.option("--since", metavar="TIME", callback=moment, help="Only of jobs completed since this, as in 2026-11-23.")
@click.option(
    "--status",
    type=click.Choice([*STATUSES, "any"]),
    help="Of jobs in this status [completed]: one that is tried again keeps its result until there is another.",
)
@click.option(
    "--layout",
    type=click.Choice(["path", "id", "hash"]),
    default="path",
    show_default=True,
    help="In the source's folders, in one for each job, or in one for each source's hash.",
)
@click.option("--watch", is_flag=True, help="Go on as results come, until Ctrl-C.")
@click.option("--full", is_flag=True, help="Look at all results again, not only at those since the last run.")
@click.option("--verify", is_flag=True, help="Read what is in the folder, and fetch again what has other bytes.")
@click.option("--overwrite", is_flag=True, help="Replace files that were not fetched by this command.")
@session_options
@pass_session
def download(
    session: CliSession,
    /,
    *,
    folder: Path,
    job_ids: tuple[int, ...],
    status: str | None,
    since: datetime | None,
    layout: Any,
    watch: bool,
    full: bool,
    verify: bool,
    overwrite: bool,
    **filters: Any,
) -> None:
    """Fetch results into a folder: many side by side, each verified, and only those that are not there yet.

    Run again, it goes on where it was, and fetches what is new. Files are named by the worker and stand where their
    sources stood; of two with one name, one has its job's id in it. Several outputs of a job are in a folder of its
    own. With --json: a line a file.

    \b
      blobforge results download --type pdf --to results/
      blobforge results download --tag scan-2026 --since 2026-11-01 --to results/
      blobforge results download --batch 'scans of November' --to results/
      blobforge results download --made-by 'marker>=1.3' --to results/
      blobforge results download --to results/ --watch
      blobforge results download --job 17 --to seventeen/
    """
    if job_ids and (chosen(filters) or status or since or watch or full):
        raise click.UsageError("--job names the jobs: it goes without filters, --since, --full and --watch.")
    from blobforge.cli.fetch import run
    from blobforge.cli.fetch.fetching import ResultFilter
    from blobforge.cli.fetch.report import FetchReport
    from blobforge.cli.outage import Outages, follow

    if (batch := filters.get("batch")) is not None:
        filters["batch"] = session.run(lambda client: number_of(client, batch))
    wanted = chosen(filters) | ({} if status == "any" else {"status": status or "completed"})
    selection = ResultFilter(wanted, since)
    into = run.Into(folder, layout, overwrite=overwrite, everything=full, verify=verify)
    # On a terminal, a bar says how far it is, and only what failed has a line.
    report = FetchReport(session, lines=not common.on_terminal() or watch)
    if watch:
        follow(session, lambda client, outages: run.keep_fetching(client, selection, into, report, outages))
        return
    try:
        held = session.run(
            lambda client: (
                run.fetch_by_id(client, job_ids, into, report)
                if job_ids
                else run.fetch_matching(client, selection, into, report)
            ),
            on_retry=Outages(session),
        )
    except (CliError, click.exceptions.Exit, KeyboardInterrupt):
        if report.found:
            session.note(
                f"{report.summary()}\nRun the same command again to go on: what is there is not fetched twice."
            )
        raise
    session.note(report.summary(held))
    if report.failed:
        common.fail(report.code or common.FAILED)
