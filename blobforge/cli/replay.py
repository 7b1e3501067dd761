"""`blobforge replay`: an attempt once more, here. The work is in `blobforge/runner/replay.py`."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, CliSession, pass_session, session_options
from blobforge.cli.selection import one_id

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, Attempt, Job, WorkerInfo
    from blobforge.runner import Recipe

_FETCH_ONLY = "--fetch-only fetches the source and what is known."


@click.command()
@one_id
@click.option("--attempt", "number", type=click.IntRange(min=1), metavar="N", help="Which attempt [the latest].")
@click.option(
    "--to",
    "folder",
    type=common.NamedPath(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The folder to do it in, new or empty [replay-JOB-ATTEMPT].",
)
@click.option("--exec", "template", metavar="COMMAND", help="This command instead of the worker's, as for `work`.")
@click.option("--fetch-only", is_flag=True, help="Fetch everything, and run nothing.")
@click.option("--yes", is_flag=True, help="Run the worker's command without asking.")
@session_options
@pass_session
def replay(
    session: CliSession,
    /,
    *,
    job_id: int,
    number: int | None,
    folder: Path | None,
    template: str | None,
    fetch_only: bool,
    yes: bool,
) -> None:
    """Do an attempt of a job once more, on this machine: to see why it failed.

    The source, the job, and the command and limits of the worker that had it are fetched into a folder, and the
    command is run there. The server hears nothing of it, and the folder stays. The command is another machine's text:
    it is shown, and run when you say so. The exit code is 1 when it fails here, too.

    \b
      blobforge replay 17
      blobforge replay 17 --attempt 2 --exec 'pdftotext -layout {source} {output}'
      blobforge replay 17 --fetch-only --to /tmp/seventeen
    """
    from functools import partial

    from blobforge.runner import JobFailed, Recipe, WorkerTrouble
    from blobforge.runner.replay import Replayed, converter_of
    from blobforge.runner.replay import replay as run

    job, attempt, worker = session.run(partial(_look, job_id, number))
    recipe = Recipe(exec=template) if template is not None else _recipe(worker, job, attempt)
    if recipe is None and not fetch_only:
        who = f"Worker {attempt.worker_id}" if worker is not None else "The worker is gone, and"
        hint = f"Give it with --exec. {_FETCH_ONLY}"
        raise CliError(f"{who} has told no command for {job.type}.", common.CONFLICT, hint)
    place = folder or Path(f"replay-{job.id}-{attempt.attempt}")
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        wrong = "is not empty" if place.is_dir() else "is no folder"
        raise CliError(f"{place} {wrong}.", common.CONFLICT, "Name another folder with --to.")
    what = (recipe.exec or recipe.handler or "") if recipe is not None else ""
    if recipe is not None and not fetch_only:
        if template is None:
            click.echo(f"Worker {attempt.worker_id} runs: {output.one_line(what)}", err=True)
            _warn_if_newer(session, recipe, attempt)
            common.confirm(f"Run this here, in {place}?", yes=yes)
        try:
            converter = converter_of(recipe)
        except ValueError as error:
            raise CliError(f"{error}.", common.USAGE, "Give a command that runs here with --exec.") from error
    source = session.run(partial(_fetch, job, attempt, recipe, place))
    if recipe is None or fetch_only:
        click.echo(str(place))
        return
    try:
        ended: Replayed = common.run(lambda: run(job, converter, recipe, place.absolute(), source.absolute()))
    except WorkerTrouble as error:
        raise CliError(f"{error}.") from error
    then = f"{attempt.outcome or 'running'}{f' ({attempt.kind}: {attempt.error})' if attempt.error else ''}"
    failure: JobFailed | None = ended.failure
    here = f"failed ({failure.kind}: {failure})" if failure is not None else "completed"
    if session.json:
        record = {"path": str(ended.output or place), "attempt": attempt.outcome, "here": here.partition(" ")[0]}
        click.echo(output.json_line(record | {"error": str(failure) if failure is not None else None}))
    else:
        if failure is not None and failure.log_tail:
            click.echo(output.many_lines(failure.log_tail.rstrip()), err=True)
        click.echo(str(ended.output or place))
    session.note(f"attempt {attempt.attempt} then: {output.one_line(then)}\nhere and now: {output.one_line(here)}")
    if failure is not None:
        common.fail()


async def _look(job_id: int, number: int | None, client: AsyncClient) -> tuple[Job, Attempt, WorkerInfo | None]:
    """The job, the attempt that is meant, and the worker that had it, if it is known."""
    from blobforge.client import ApiError

    job = await client.get_job(job_id)
    before = number + 1 if number is not None else None
    found = (await client.list_attempts(job.id, cursor=before, limit=1)).attempts
    if not found or number not in (None, found[0].attempt):
        numbers = ", ".join(str(each.attempt) for each in job.attempt_history or [])
        hint = f"There are {numbers}." if numbers else "No worker has had it."
        which = f"attempt {number}" if number is not None else "attempt"
        raise CliError(f"Job {job.id} has no {which}.", common.CONFLICT, hint)
    worker = None
    if found[0].worker_id is not None:
        try:
            worker = await client.get_worker(found[0].worker_id)
        except ApiError as error:
            if error.status != 404:
                raise
    return job, found[0], worker


def _recipe(worker: WorkerInfo | None, job: Job, attempt: Attempt) -> Recipe | None:
    from blobforge.runner import Recipe

    return Recipe.of(worker.metadata, job.type) if worker is not None else None


def _warn_if_newer(session: CliSession, recipe: Recipe, attempt: Attempt) -> None:
    """The server keeps what a worker does now: since the attempt, it may have been started with another command."""
    since = datetime.fromisoformat(recipe.since) if recipe.since is not None else None
    if since is not None and attempt.started_at is not None and since > attempt.started_at:
        session.note(
            "The worker was started anew since that attempt: what it ran then may have been another command."
        )


async def _fetch(job: Job, attempt: Attempt, recipe: Recipe | None, place: Path, client: AsyncClient) -> Path:
    """Everything into the folder; returns the source's path."""
    from blobforge.runner.attempt import source_suffix

    place.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - once
    source = place / f"source{source_suffix(job.source_path)}"
    url = (await client.download_url(job.id, "source")).url
    await client.download(url, source, sha256=job.source_hash)
    record = {"job": job, "attempt": attempt, "recipe": recipe}
    (place / "options.json").write_text(output.json_text(job.options or {}) + "\n")
    (place / "replay.json").write_text(output.json_text(record) + "\n")
    return source
