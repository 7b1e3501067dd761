"""`blobforge submit` and `blobforge ingest`: files become jobs. The work is in `blobforge/cli/ingest/`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, Session, pass_session, session_options
from blobforge.cli.ingest.find import Candidate, Problem, find, no_tags, tags_of_path


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
        click.option("--dry-run", is_flag=True, help="Only list the files; ask no server."),
        click.option("--no-lfs", is_flag=True, help="Take Git LFS pointers for the small files that they are."),
        click.option("--no-cache", is_flag=True, help="Read every file, and trust no hash of an earlier run."),
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
def submit(session: Session, /, paths: tuple[Path, ...], job_type: str | None, **options: Any) -> None:
    """Submit files as jobs, and upload what the server does not have yet.

    A folder stands for the files in it, and below, that have the type's suffix (.pdf without --type). The same
    file submitted twice is one job. With --json: one line of JSON a file, as it is done.
    """
    if not paths:
        raise click.UsageError("Name at least one file or folder: blobforge submit report.pdf")
    _submit(session, find(paths, job_type), lines=True, **options)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--type", "job_type", default="pdf", show_default=True, metavar="TYPE", help="The job type and suffix.")
@click.option("--no-tags", is_flag=True, help="Make no tags of the folders and names of the files.")
@_job_options
@session_options
@pass_session
def ingest(session: Session, /, folder: Path, job_type: str, no_tags: bool, **options: Any) -> None:
    """Submit every file of one type in a folder and below it, however many there are.

    Folders and names become tags: books/comics/obelix.pdf gets books, comics and obelix. Run again, only what is new
    is uploaded; files that have not changed since are not even read.
    """
    found = find([folder], job_type, _tagger(not no_tags))
    # On a terminal, a bar says how far it is, and only what failed has a line.
    _submit(session, found, lines=not common.on_terminal(), **options)


def _tagger(wanted: bool) -> Callable[[str, str], tuple[str, ...]]:
    return tags_of_path if wanted else no_tags


def _submit(
    session: Session,
    found: Iterable[Candidate | Problem],
    *,
    lines: bool,
    dry_run: bool,
    no_lfs: bool,
    no_cache: bool,
    wait: bool,
    **job: Any,
) -> None:
    if dry_run:
        _list(session, found, job["tags"])
        return
    from blobforge.cli.ingest import run
    from blobforge.cli.ingest.batches import Options
    from blobforge.cli.ingest.report import Report

    report = Report(session, keep_ids=wait, lines=lines)
    how: Any = {"pointers": not no_lfs, "cached": not no_cache, "wait": wait}
    try:
        session.run(
            lambda client: run.run(client, found, Options(**job), report, **how), on_retry=run.tell_retries(session)
        )
    except (CliError, click.exceptions.Exit, KeyboardInterrupt):
        if report.found:
            session.note(f"{report.summary()}\n{run.what_now(report)}")
        raise
    if report.found == report.misnamed:
        raise CliError("Nothing to submit.", common.USAGE)
    session.note(report.summary())
    if report.failed:
        common.fail(report.code or common.FAILED)
    if report.unfinished:
        common.fail()


def _list(session: Session, found: Iterable[Candidate | Problem], tags: tuple[str, ...]) -> None:
    """What would be submitted: a line each."""
    files = size = failed = 0
    for each in found:
        if isinstance(each, Problem):
            failed += 1
            click.echo(f"{output.one_line(each.path)}: {each.reason}", err=True)
            continue
        files += 1
        size += each.size
        tagged = list(dict.fromkeys((*tags, *each.tags)))
        path = each.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if session.json:
            click.echo(output.json_line({"path": path, "type": each.type, "size": each.size, "tags": tagged}))
        else:
            click.echo(f"{each.type}\t{output.one_line(path)}\t{output.one_line(', '.join(tagged))}")
    session.note(f"{files} file{'s' if files != 1 else ''} ({output.size_text(size)}) would be submitted.")
    if failed:
        common.fail(common.FAILED if files else common.USAGE)
