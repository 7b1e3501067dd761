"""`blobforge jobs`: look at jobs, and act on them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, output
from blobforge.cli.common import Session, pass_session, session_options

if TYPE_CHECKING:
    from blobforge.client import Attempt, Client, Job, JobPage

STATUSES = ("uploading", "pending", "running", "completed", "failed", "dead", "cancelled")
_LARGEST_PAGE = 100
_JOB_IDS = click.argument("job_ids", metavar="ID...", nargs=-1, required=True, type=click.IntRange(min=1))


@click.group()
def jobs() -> None:
    """Look at jobs, and act on them."""


@jobs.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only jobs in this status.")
@click.option("--type", "job_type", metavar="TYPE", help="Only jobs of this type.")
@click.option("--tag", metavar="TAG", help="Only jobs with this tag.")
@click.option("--worker", metavar="ID", help="Only jobs of this worker.")
@click.option("--search", "q", metavar="TEXT", help="Only jobs whose source path contains this.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("--cursor", metavar="CURSOR", help="Go on where another list ended.")
@session_options
@pass_session
def list_jobs(session: Session, /, limit: int, cursor: str | None, job_type: str | None, **filters: Any) -> None:
    """List jobs, by priority and then newest first. With --quiet: their ids only."""
    found, last = session.run(lambda client: _pages(client, limit, cursor, type=job_type, **filters))
    following = last.next_cursor
    if session.json:
        output.print_json({"jobs": found, "total": last.total, "next_cursor": following})
    elif session.quiet:
        for job in found:
            click.echo(str(job.id))
    else:
        output.print_table(
            ("ID", "STATUS", "TYPE", "PRIO", "TRIES", "UPDATED", "SOURCE", "NOTE"), [_row(job) for job in found]
        )
        if not found:
            session.note("No job matches.")
    if following and not session.json:
        least = "" if last.total_exact else "at least "
        session.note(f"{len(found)} of {least}{last.total}; the next: --cursor {following}")


async def _pages(client: Client, limit: int, cursor: str | None, **filters: Any) -> tuple[list[Job], JobPage]:
    """Up to `limit` jobs from as many pages as that takes, and the last of the pages."""
    found: list[Job] = []
    while True:
        page = await client.list_jobs(limit=min(limit - len(found), _LARGEST_PAGE), cursor=cursor, **filters)
        found += page.jobs
        cursor = page.next_cursor
        if not cursor or not page.jobs or len(found) >= limit:
            return found, page


def _row(job: Job) -> tuple[object, ...]:
    tries = f"{job.attempts}/{job.max_attempts}" if job.max_attempts else job.attempts
    news = output.progress_text(job.progress) if job.status == "running" else job.last_error or ""
    source = output.path_text(job.source_path or job.source_hash[:12])
    return (job.id, job.status, job.type, job.priority, tries, job.updated_at, source, news)


@jobs.command("show")
@click.argument("job_id", metavar="ID", type=click.IntRange(min=1))
@session_options
@pass_session
def show_job(session: Session, job_id: int) -> None:
    """Show one job, with the record of its attempts and the last output of those that failed."""
    job = session.run(lambda client: client.get_job(job_id))
    if session.json:
        output.print_json(job)
        return
    tries = f"{job.attempts} of {job.max_attempts}" if job.max_attempts else job.attempts
    output.print_fields(
        [
            ("id", job.id),
            ("type", job.type),
            ("status", job.status),
            ("progress", output.progress_text(job.progress) if job.status == "running" else None),
            ("priority", job.priority),
            ("source", job.source_path),
            ("sha256", job.source_hash),
            ("size", output.size_text(job.source_size)),
            ("tags", ", ".join(job.tags or [])),
            ("metadata", job.metadata),
            ("worker", job.worker_id),
            ("tries", tries),
            ("last error", job.last_error),
            ("next try", job.not_before if job.status == "failed" else None),
            ("result", job.result),
            ("created", job.created_at),
            ("started", job.started_at),
            ("completed", job.completed_at),
        ]
    )
    for attempt in job.attempt_history or []:
        _show_attempt(attempt)


def _show_attempt(attempt: Attempt) -> None:
    click.echo()
    output.print_fields(
        [
            ("attempt", attempt.attempt),
            ("outcome", attempt.outcome or "running"),
            ("worker", attempt.worker_id),
            ("started", attempt.started_at),
            ("ended", attempt.ended_at),
            ("kind", attempt.kind),
            ("error", attempt.error),
        ]
    )
    for text in (attempt.traceback, attempt.log_tail):
        if text:
            click.echo(output.many_lines(text.rstrip()))


@jobs.command("retry")
@_JOB_IDS
@click.option("--reset-attempts", is_flag=True, help="Give the job all its tries again.")
@click.option("--priority", type=click.IntRange(1, 5), help="Change its priority, too.")
@session_options
@pass_session
def retry_jobs(session: Session, job_ids: tuple[int, ...], reset_attempts: bool, priority: int | None) -> None:
    """Put failed, dead, cancelled or completed jobs back in the queue."""
    _each(
        session,
        job_ids,
        lambda client, job_id: client.retry_job(job_id, reset_attempts=reset_attempts, priority=priority),
    )


@jobs.command("cancel")
@_JOB_IDS
@session_options
@pass_session
def cancel_jobs(session: Session, job_ids: tuple[int, ...]) -> None:
    """Cancel jobs at once, running ones too."""
    _each(session, job_ids, lambda client, job_id: client.cancel_job(job_id))


@jobs.command("priority")
@click.argument("job_id", metavar="ID", type=click.IntRange(min=1))
@click.argument("priority", type=click.IntRange(1, 5))
@session_options
@pass_session
def set_priority(session: Session, job_id: int, priority: int) -> None:
    """Change a job's priority: 1 (critical) to 5 (background)."""
    _each(session, [job_id], lambda client, job_id: client.set_priority(job_id, priority))


@jobs.command("download")
@click.argument("job_id", metavar="ID", type=click.IntRange(min=1))
@click.option(
    "-o",
    "--output",
    "target",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it; by default the name that the worker gave it, in this folder.",
)
@click.option("--source", is_flag=True, help="The source instead of the output.")
@session_options
@pass_session
def download(session: Session, job_id: int, target: Path | None, source: bool) -> None:
    """Download a job's output, or its source. Prints the path; never overwrites a file unless -o names it."""

    async def fetch(client: Client) -> tuple[Path, int]:
        job = await client.get_job(job_id)
        path = target or Path(download_name(job, source))
        if target is None and path.exists():
            raise common.CliError(f"{path} exists.", common.CONFLICT, "Name another file, or this one, with -o.")
        url = (await client.download_url(job_id, "source" if source else "output")).url
        facts = await client.download(url, path, sha256=job.source_hash if source else None)
        return path, facts.size

    path, size = session.run(fetch)
    if session.json:
        output.print_json({"path": str(path), "size": size})
    else:
        click.echo(str(path))


def download_name(job: Job, source: bool) -> str:
    """A plain name for this folder: what others chose is a name here, never a path."""
    result = job.result if isinstance(job.result, dict) else {}
    named = job.source_path if source else result.get("filename")
    name = Path(output.one_line(named)).name if isinstance(named, str) else ""
    return name if name.strip(".") else f"job-{job.id}.{'source' if source else 'output'}"


def _each(session: Session, job_ids: Sequence[int], act: Callable[[Client, int], Awaitable[Any]]) -> None:
    """Act on every job; one that refuses does not keep the others from it. The first refusal's code is ours."""

    async def all_of_them(client: Client) -> int:
        from blobforge.client import ApiError

        code = common.OK
        for job_id in job_ids:
            try:
                status = (await act(client, job_id)).status
            except ApiError as error:
                told = common.as_cli_error(error)
                if told is None or told.exit_code == common.UNAUTHORISED:
                    raise
                code = code or told.exit_code
                click.echo(f"job {job_id}: {told.message}", err=True)
                if session.json:
                    click.echo(output.json_text({"job_id": job_id, "error": told.message}))
                continue
            if session.json:
                click.echo(output.json_text({"job_id": job_id, "status": status}))
            elif session.quiet:
                click.echo(str(job_id))
            else:
                click.echo(f"{job_id}\t{status}")
        return code

    code = session.run(all_of_them)
    if code:
        common.fail(code)
