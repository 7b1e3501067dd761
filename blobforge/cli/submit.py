"""`blobforge submit` and `blobforge ingest`: files become jobs.

Files are hashed, submitted and uploaded a few at a time, so that memory stays bounded by that number whatever
there is to submit. One that fails is told and counted; the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, Session, pass_session, session_options
from blobforge.cli.find import Found, find

if TYPE_CHECKING:
    from blobforge.cli.upload import Options


def _metadata(_ctx: click.Context, _param: click.Parameter, pairs: Sequence[str]) -> dict[str, str]:
    metadata = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE")
        metadata[name] = value
    return metadata


def _job_options(command: Any) -> Any:
    for add in (
        click.option("--wait", is_flag=True, help="Wait until every job has ended; fail if one did not complete."),
        click.option(
            "--metadata", multiple=True, metavar="NAME=VALUE", callback=_metadata, help="Kept with the job."
        ),
        click.option("--tag", "tags", multiple=True, metavar="TAG", help="Kept with the job; lists filter by it."),
        click.option("--max-attempts", type=click.IntRange(min=1), help="Tries before the job is dead."),
        click.option(
            "--priority", type=click.IntRange(1, 5), help="1 (critical) to 5 (background); the server takes 3."
        ),
    ):
        command = add(command)
    return command


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path(path_type=Path))
@click.option("--type", "job_type", metavar="TYPE", help="The job type; by default a file's suffix names it.")
@_job_options
@session_options
@pass_session
def submit(session: Session, /, paths: tuple[Path, ...], job_type: str | None, wait: bool, **options: Any) -> None:
    """Submit files as jobs, and upload what the server does not have yet.

    A folder stands for the files in it, and below, that have the type's suffix (.pdf without --type). The same
    file submitted twice is one job. With --json: one line of JSON a file, as it is done.
    """
    if not paths:
        raise click.UsageError("Name at least one file or folder: blobforge submit report.pdf")
    _submit(session, find(paths, job_type), wait, **options)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--type", "job_type", default="pdf", show_default=True, metavar="TYPE", help="The job type and suffix.")
@_job_options
@session_options
@pass_session
def ingest(session: Session, /, folder: Path, job_type: str, wait: bool, **options: Any) -> None:
    """Submit every file of one type in a folder and below it."""
    _submit(session, find([folder], job_type), wait, **options)


def _submit(session: Session, found: Found, wait: bool, **job: Any) -> None:
    for path, problem in found.errors:
        click.echo(f"{path}: {problem}", err=True)
    if not found.files:
        raise CliError("Nothing to submit.", common.USAGE)
    from blobforge.cli import upload

    options: Options = upload.Options(**job)
    report = session.run(lambda client: upload.submit_all(client, session, found.files, options, wait=wait))
    report.failed += len(found.errors)
    session.note(_summary(report))
    if report.failed:
        common.fail(report.code if not found.errors and report.code else common.FAILED)
    if report.unfinished:
        common.fail()


def _summary(report: Any) -> str:
    """`5 files: 3 new, 1 known already, 1 failed; 3 uploaded (1.2 MiB)`; the parts add up to the first number."""
    total = report.new + report.existing + report.failed
    parts = [f"{report.new} new"]
    if report.existing:
        parts.append(f"{report.existing} known already")
    if report.failed:
        parts.append(f"{report.failed} failed")
    sent = f"; {report.uploaded} uploaded ({output.size_text(report.bytes)})" if report.uploaded else ""
    left = f"; {report.unfinished} did not complete" if report.unfinished else ""
    return f"{total} file{'s' if total != 1 else ''}: {', '.join(parts)}{sent}{left}"
