"""`blobforge submit` and `blobforge ingest`: files become jobs. The work is in `blobforge/cli/ingest/`."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from blobforge.cli import common, output, suggest
from blobforge.cli.common import CliError, CliSession, pass_session, required, session_options, time_ahead
from blobforge.cli.ingest.find import Candidate, RejectedPath, Selection, find, no_tags, tags_of_path
from blobforge.cli.naming import callback_of, callback_options, named
from blobforge.cli.steps import read_json, said_steps

if TYPE_CHECKING:
    from blobforge.client import Job


def _metadata(_ctx: click.Context, _param: click.Parameter, pairs: Sequence[str]) -> dict[str, str]:
    metadata = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r} is not NAME=VALUE")
        metadata[name] = value
    return metadata


def _option(_ctx: click.Context, _param: click.Parameter, pairs: Sequence[str]) -> dict[str, Any]:
    """KEY=VALUE pairs; a value that is JSON is that, any other one is text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE")
        try:
            options[key] = json.loads(value)
        except ValueError:
            options[key] = value
    return options


def _options(_ctx: click.Context, _param: click.Parameter, said: str | None) -> dict[str, Any]:
    """A JSON object, or @ and the file that has it."""
    if said is None:
        return {}
    found = read_json(said)
    if not isinstance(found, dict):
        raise click.BadParameter('options are a JSON object, as {"dpi": 300}')
    return found


def _job_options(command: Any) -> Any:
    for add in (
        click.option("--dry-run", is_flag=True, help="Only list the files; ask no server."),
        click.option("--no-lfs", is_flag=True, help="Take Git LFS pointers for the small files that they are."),
        click.option(
            "--no-cache", is_flag=True, help="Read every file; neither use hashes of earlier runs nor keep any."
        ),
        click.option("--rehash", is_flag=True, help="Read every file, and replace the hashes of earlier runs."),
        click.option(
            "-0",
            "--null",
            "nul",
            is_flag=True,
            help="The list of --files-from has a NUL after each path, as find -print0.",
        ),
        click.option(
            "--files-from",
            type=click.File("rb"),
            metavar="FILE",
            help="Take the paths in this file too, one a line; - is stdin.",
        ),
        click.option(
            "--exclude", multiple=True, metavar="GLOB", help="Leave out what this matches, as in .gitignore."
        ),
        click.option(
            "--include", multiple=True, metavar="GLOB", help="Take only what this matches, as in .gitignore."
        ),
        click.option(
            "--suffix", "suffixes", multiple=True, metavar="SUFFIX", help="In folders, take these instead of .TYPE."
        ),
        click.option(
            "--to",
            "results",
            type=common.NamedPath(file_okay=False, path_type=Path),
            default=Path("."),
            metavar="DIR",
            help="Where --download puts the results; here by default.",
        ),
        click.option("--download", "fetch", is_flag=True, help="With --wait: fetch the results, as they then are."),
        click.option("--wait", is_flag=True, help="Wait until every job has ended; fail if one did not complete."),
        click.option(
            "--options",
            "option_object",
            metavar="JSON",
            callback=_options,
            help="All options as a JSON object, or @FILE with it.",
        ),
        click.option(
            "--option",
            "option_pairs",
            multiple=True,
            metavar="KEY=VALUE",
            callback=_option,
            help="What the converter is to do; other options make another job of the same file.",
        ),
        click.option(
            "--requires",
            "requires",
            multiple=True,
            metavar="LABEL",
            callback=required,
            help="What its worker's labels must hold, as gpu, zone=eu or 'memory_gib>=32'; may be repeated.",
        ),
        click.option(
            "--then",
            "then",
            multiple=True,
            metavar="TYPE[=PATTERN]",
            callback=said_steps,
            help="What follows: a job of this type for each output that matches; repeated, one behind the other. Or "
            "all steps as a JSON array ('[]': none), or @FILE with it. Unless it is said: what is set for the type.",
        ),
        callback_options,
        click.option("--open", "stays_open", is_flag=True, help="Leave the batch open: more is to come to it."),
        click.option(
            "--batch",
            metavar="NAME",
            callback=named,
            help="The batch that they are for; made if none of that name is open, and closed at the end.",
        ),
        click.option("--group", metavar="NAME", help="Whose jobs they are: those of different groups take turns."),
        click.option(
            "--not-before",
            "not_before",
            metavar="TIME",
            callback=time_ahead,
            help="Not to be started before: 2026-12-01T22:00 (this machine's zone unless it has one), or +2h, +7d.",
        ),
        click.option(
            "--expires-at",
            "expires_at",
            metavar="TIME",
            callback=time_ahead,
            help="Dead if no worker was given it by then: a time like that of --not-before.",
        ),
        click.option(
            "--metadata", multiple=True, metavar="NAME=VALUE", callback=_metadata, help="Kept with the job."
        ),
        click.option(
            "--tag",
            "tags",
            multiple=True,
            metavar="TAG",
            shell_complete=suggest.tags,
            help="Kept with the job; lists filter by it.",
        ),
        click.option("--max-attempts", type=click.IntRange(min=1), help="Tries before the job is dead."),
        click.option(
            "--priority", type=click.IntRange(1, 5), help="1 (critical) to 5 (background); the server takes 3."
        ),
    ):
        command = add(command)
    return command


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...", type=click.Path())
@click.option(
    "--type",
    "job_type",
    metavar="TYPE",
    shell_complete=suggest.types,
    help="The job type; by default a file's suffix names it.",
)
@click.option("--name", metavar="NAME", help="The source's path of what is read from stdin (PATH is -).")
@click.option("--path-tags", is_flag=True, help="Make tags of the folders and names of the files, as ingest does.")
@_job_options
@session_options
@pass_session
def submit(
    session: CliSession,
    /,
    paths: tuple[str, ...],
    job_type: str | None,
    name: str | None,
    path_tags: bool,
    **options: Any,
) -> None:
    """Submit files as jobs, and upload what the server does not have yet.

    A folder stands for the files in it, and below, that have the type's suffix (.pdf without --type), or one of
    --suffix. The same file submitted twice is one job. With --json: one line of JSON a file, as it is done.

    \b
      blobforge submit report.pdf books/
      curl ... | blobforge submit - --name report.pdf
      find . -newer stamp -print0 | blobforge submit --files-from - -0
    """
    if not paths and options["files_from"] is None:
        raise click.UsageError("Name at least one file or folder: blobforge submit report.pdf")
    if (stdin := "-" in paths) and _is_stdin(options["files_from"]):
        raise click.UsageError("Stdin is one thing: the document (-), or the list of files (--files-from -).")
    if name is not None and not stdin:
        raise click.UsageError(
            "--name is for a document that is read from stdin: blobforge submit - --name report.pdf"
        )
    with contextlib.ExitStack() as until_done:
        read = until_done.enter_context(_stdin(job_type, name, path_tags=path_tags)) if stdin else None
        files = [path for path in paths if path != "-"]
        _submit(session, files, read, job_type=job_type, path_tags=path_tags, lines=True, **options)


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(exists=True, file_okay=False))
@click.option(
    "--type",
    "job_type",
    metavar="TYPE",
    shell_complete=suggest.types,
    help="The job type, and the suffix without --suffix.  [default: pdf]",
)
@click.option("--no-tags", is_flag=True, help="Make no tags of the folders and names of the files.")
@_job_options
@session_options
@pass_session
def ingest(session: CliSession, /, folder: str | None, job_type: str | None, no_tags: bool, **options: Any) -> None:
    """Submit every file of one type in a folder and below it, however many there are.

    Folders and names become tags: books/comics/obelix.pdf gets books, comics and obelix. Run again, only what is new
    is uploaded; files that have not changed since are not even read.

    \b
      blobforge ingest books/
      blobforge ingest scans/ --type ocr --suffix tif --suffix tiff --exclude drafts/
      git ls-files -z | blobforge ingest --files-from - -0 --suffix pdf
    """
    if folder is None and options["files_from"] is None:
        raise click.UsageError("Name a folder: blobforge ingest books/ (or a list of files: --files-from)")
    # On a terminal, a bar says how far it is, and only what failed has a line.
    lines = not common.on_terminal()
    folders = [folder] if folder is not None else []
    _submit(session, folders, None, job_type=job_type, path_tags=not no_tags, lines=lines, **options)


def _is_stdin(listed: IO[bytes] | None) -> bool:
    return listed is not None and listed.name in ("<stdin>", "-", 0)


@contextlib.contextmanager
def _stdin(job_type: str | None, name: str | None, *, path_tags: bool) -> Iterator[Candidate]:
    """The bytes of stdin, as a file for as long as it is needed: its hash has to be known before it is sent."""
    named = name or "stdin"
    type_ = Selection(job_type).type_of(named)
    if not type_:
        raise click.UsageError(
            "What is on stdin has no suffix that tells its type: give --type, or --name report.pdf"
        )
    with tempfile.NamedTemporaryFile(prefix="blobforge-") as spool:
        with click.open_file("-", "rb") as stdin:
            while block := stdin.read(1 << 20):
                spool.write(block)
        spool.flush()
        status = os.stat(spool.name)
        tags = tags_of_path(".", named) if path_tags and name else ()
        yield Candidate(
            spool.name,
            type_,
            tags,
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_ino,
            named,
        )


def _listed(files_from: IO[bytes] | None, *, nul: bool) -> Iterator[str] | None:
    """The paths in a list, as they are read: a list may be longer than memory, and its writer slower than we are."""
    if files_from is None:
        return None
    lines = _nul_ended(files_from) if nul else (line.rstrip(b"\r\n") for line in files_from)
    return (os.fsdecode(line) for line in lines if line)


def _nul_ended(file: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while block := file.read(1 << 16):
        *whole, rest = (rest + block).split(b"\0")
        yield from whole
    yield rest


def _submit(
    session: CliSession,
    paths: Sequence[str],
    stdin: Candidate | None,
    *,
    job_type: str | None,
    path_tags: bool,
    suffixes: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    files_from: IO[bytes] | None,
    nul: bool,
    rehash: bool,
    lines: bool,
    dry_run: bool,
    no_lfs: bool,
    no_cache: bool,
    wait: bool,
    fetch: bool,
    results: Path,
    batch: str | None,
    stays_open: bool,
    callback_url: str | None,
    callback_secret: str | None,
    option_object: dict[str, Any],
    option_pairs: dict[str, Any],
    **job: Any,
) -> None:
    job["options"] = option_object | option_pairs
    for alone, why in (
        (fetch and not wait, "--download fetches what has been waited for: it goes with --wait."),
        (callback_url and batch is None, "--callback-url is called by a batch: it goes with --batch."),
        (stays_open and batch is None, "--open leaves a batch open: it goes with --batch."),
        (nul and files_from is None, "-0 says how a list is written: it goes with --files-from."),
        (rehash and no_cache, "--rehash keeps what it reads, --no-cache keeps nothing: give one of them."),
    ):
        if alone:
            raise click.UsageError(why)
    callback = callback_of(callback_url, callback_secret)
    try:
        selection = Selection(job_type, suffixes, include, exclude)
    except ValueError as error:
        raise click.UsageError(f"--include and --exclude take patterns as in .gitignore: {error}") from error
    named = find(paths, selection, tags_of_path if path_tags else no_tags, listed=_listed(files_from, nul=nul))
    found = chain((stdin,), named) if stdin else named
    if dry_run:
        _list(session, found, job["tags"])
        return
    from blobforge.cli.ingest import run
    from blobforge.cli.ingest.batches import JobOptions
    from blobforge.cli.ingest.report import Report
    from blobforge.cli.outage import Outages

    report = Report(session, keep_ids=wait, keep_completed=fetch, lines=lines)
    how: Any = {"pointers": not no_lfs, "cached": not no_cache, "rehash": rehash, "wait": wait}
    how |= {"batch": batch, "stays_open": stays_open, "callback": callback}
    try:
        session.run(
            lambda client: run.run(client, found, JobOptions(**job), report, **how), on_retry=Outages(session)
        )
    except (CliError, click.exceptions.Exit, KeyboardInterrupt):
        if report.found:
            session.note(f"{report.summary()}\n{run.what_now(report)}")
        raise
    if report.found == report.misnamed:
        raise CliError("Nothing to submit.", common.USAGE)
    session.note(report.summary())
    if fetch:
        _download(session, report.completed, results, batch=None if stays_open else report.batch)
    if report.failed:
        common.fail(report.code or common.FAILED)
    if report.unfinished:
        common.fail()


def _download(session: CliSession, jobs: Sequence[Job], folder: Path, *, batch: int | None) -> None:
    """Fetch the results of these jobs, or of all of a batch."""
    from blobforge.cli.fetch.fetching import ResultFilter
    from blobforge.cli.fetch.report import FetchReport
    from blobforge.cli.fetch.run import Into, fetch_matching, fetch_these
    from blobforge.cli.outage import Outages

    report, into = FetchReport(session), Into(folder)
    wanted = ResultFilter({"batch": batch, "status": "completed"})
    held = session.run(
        lambda client: (
            fetch_these(client, jobs, into, report) if batch is None else fetch_matching(client, wanted, into, report)
        ),
        on_retry=Outages(session),
    )
    session.note(report.summary(held))
    if report.failed:
        common.fail(report.code or common.FAILED)


def _list(session: CliSession, found: Iterable[Candidate | RejectedPath], tags: tuple[str, ...]) -> None:
    """Print the files that would be submitted, a line each."""
    files = size = failed = 0
    for each in found:
        if isinstance(each, RejectedPath):
            failed += 1
            click.echo(f"{output.one_line(each.path)}: {each.reason}", err=True)
            continue
        files += 1
        size += each.size
        tagged = list(dict.fromkeys((*tags, *each.tags)))
        path = each.shown.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if session.json:
            click.echo(output.json_line({"path": path, "type": each.type, "size": each.size, "tags": tagged}))
        else:
            click.echo(f"{each.type}\t{output.one_line(path)}\t{output.one_line(', '.join(tagged))}")
    session.note(f"{files} file{'s' if files != 1 else ''} ({output.size_text(size)}) would be submitted.")
    if failed:
        common.fail(common.FAILED if files else common.USAGE)
