"""`blobforge jobs`: look at jobs. What changes them is in change.py, what follows them in
follow.py, what fetches their files in jobfiles.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from blobforge.cli import output
from blobforge.cli.change import (
    cancel_jobs,
    delete_jobs,
    retry_jobs,
    retype_jobs,
    set_priority,
    set_requirements,
    tag_jobs,
)
from blobforge.cli.common import CliSession, CommandGroup, pass_session, session_options
from blobforge.cli.exporting import export_jobs
from blobforge.cli.follow import logs, watch
from blobforge.cli.jobfiles import download, outputs
from blobforge.cli.selection import SORTS, chosen, each_page, for_each, job_filters, several_ids
from blobforge.cli.steps import in_words

if TYPE_CHECKING:
    from blobforge.client import AsyncClient, Attempt, Job, JobPage, JobWaiting
    from blobforge.client.types import ChildJob

T = TypeVar("T")
MOST_OF_FAMILY = 2_000


class Member(NamedTuple):
    """A job of a family, how deep it stands, and the output that it came of. `to_come`: so many jobs are still to be
    made of its result."""

    depth: int
    job_id: int
    type: str
    status: str
    output: str
    to_come: int = 0


_HEADERS = ("ID", "STATUS", "TYPE", "PRIO", "TRIES", "UPDATED", "SOURCE", "NOTE")


@click.group(cls=CommandGroup)
def jobs() -> None:
    """Look at jobs, follow them, and act on them."""


@jobs.command("list")
@job_filters
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many at most.")
@click.option("--all", "everything", is_flag=True, help="All of them, page after page.")
@click.option("--cursor", metavar="CURSOR", help="Go on where another list ended, in the same order.")
@click.option("--sort", type=click.Choice(SORTS), help="Another order; with a -, the highest first.")
@session_options
@pass_session
def list_jobs(
    session: CliSession, /, *, limit: int, everything: bool, cursor: str | None, sort: str | None, **filters: Any
) -> None:
    """List jobs, by priority and then newest first. With --quiet: their ids only.

    Jobs that have nothing to be sorted by (no end, no more than one try) come behind the others; by -size also those
    of less than 8 MiB, where more than 5,000 match.

    \b
      blobforge jobs list --status dead --type pdf
      blobforge jobs list --tag scan-2026 --all --json
      blobforge jobs list --status dead --updated-since 2026-11-23T00:00:00Z
      blobforge jobs list --type pdf --sort=-duration --limit 10
    """
    shown = _Shown(session)
    session.run(
        lambda client: each_page(
            client, chosen(filters), shown.page, limit=None if everything else limit, cursor=cursor, sort=sort
        )
    )
    shown.end()


class _Shown:
    """A list as it comes in: for a pipe page by page, so that its length does not matter; for the rest at its end."""

    def __init__(self, session: CliSession) -> None:
        self._session = session
        self._jobs: list[Job] = []
        self._count = 0
        self._last: JobPage | None = None

    def page(self, page: JobPage) -> None:
        self._last = page
        self._count += len(page.jobs)
        if self._session.quiet and not self._session.json:
            for job in page.jobs:
                click.echo(str(job.id))
        elif self._session.json or output.is_terminal():
            self._jobs += page.jobs
        else:
            rows = [_row(job) for job in page.jobs]
            output.print_rows([_HEADERS, *rows] if self._count == len(page.jobs) else rows)

    def end(self) -> None:
        page = self._last
        assert page is not None
        if self._session.json:
            output.print_json({"jobs": self._jobs, "total": page.total, "next_cursor": page.next_cursor})
            return
        if not self._count:
            self._session.note("No job matches.")
        elif self._jobs:
            output.print_table(_HEADERS, [_row(job) for job in self._jobs])
        if page.next_cursor:
            least = "" if page.total_exact else "at least "
            self._session.note(
                f"{self._count} of {least}{page.total}; --all for the others, or --cursor {page.next_cursor}"
            )


def _row(job: Job) -> tuple[object, ...]:
    news = output.progress_text(job.progress) if job.status == "running" else job.last_error or ""
    source = output.path_text(job.source_path or job.source_hash[:12])
    return (job.id, job.status, job.type, job.priority, _tries(job), job.updated_at, source, news)


def _tries(job: Job, of: str = "/") -> str:
    from blobforge.job import tries

    return tries(job.attempts, job.max_attempts, of) if job.max_attempts else str(job.attempts)


@jobs.command("show")
@several_ids
@click.option(
    "--result", "only_result", is_flag=True, help="Only the JSON that the worker sent as its result, whole."
)
@session_options
@pass_session
def show_jobs(session: CliSession, job_ids: tuple[int, ...], only_result: bool) -> None:
    """Show jobs, with the record of their attempts and the last output of those that failed.

    With --json: one document for one job, a line for each of several.
    """
    if only_result:
        for_each(job_ids, lambda job_id: click.echo(session.run(partial(_get_result, job_id))))
        return
    _show_each(session, job_ids, _get_job, _show_job)


@jobs.command("why")
@several_ids
@session_options
@pass_session
def why_jobs(session: CliSession, job_ids: tuple[int, ...]) -> None:
    """Say why jobs do not run: the rule that holds each, until when, and the commands that would change it.

    With --json: one document for one job, a line for each of several.
    """
    _show_each(session, job_ids, _get_waiting, _show_waiting)


def _show_each(
    session: CliSession,
    job_ids: Sequence[int],
    read: Callable[[int, AsyncClient], Awaitable[T]],
    show: Callable[[T], None],
) -> None:
    """What is read of each job: one document of JSON for one, a line for each of several; else an empty line between
    two."""
    shown = 0

    def show_one(job_id: int) -> None:
        nonlocal shown
        found = session.run(partial(read, job_id))
        if session.json:
            click.echo(output.json_line(found)) if len(job_ids) > 1 else output.print_json(found)
            return
        if shown:
            click.echo()
        shown += 1
        show(found)

    for_each(job_ids, show_one)


async def _get_waiting(job_id: int, client: AsyncClient) -> JobWaiting:
    return await client.job_waiting(job_id)


def _show_waiting(found: JobWaiting) -> None:
    waiting = found.waiting
    if waiting is None:
        output.print_fields([("id", found.job_id), ("status", found.status), ("waits for", "nothing")])
        return
    output.print_fields(
        [
            ("id", found.job_id),
            ("status", found.status),
            ("waits for", waiting.code),
            ("why", waiting.text),
            ("until", waiting.until),
            ("held by jobs", ", ".join(map(str, waiting.held_by)) or None),
            ("ahead of it", waiting.ahead),
            ("expires", waiting.expires_at),
            *(("change it", command) for command in waiting.change),
        ]
    )


async def _get_job(job_id: int, client: AsyncClient) -> Job:
    return await client.get_job(job_id)


@jobs.command("family")
@click.argument("job_id", metavar="JOB", type=click.IntRange(min=1))
@session_options
@pass_session
def family(session: CliSession, /, job_id: int) -> None:
    """Show all that came of a document by its chain, and where it stopped.

    JOB is any job of the family: the list begins with the one that was submitted. At most 2,000 are shown.
    """
    for member in session.run(partial(_family, job_id)):
        if session.json:
            click.echo(output.json_line(member._asdict()))
        else:
            stopped = "  <- stopped here" if member.status in ("dead", "cancelled") else ""
            to_come = f"  ({member.to_come:,} more are still to be made)" if member.to_come else ""
            shown = f"{member.job_id}  {member.type}  {member.status}  {output.one_line(member.output)}"
            shown += stopped + to_come
            click.echo(f"{'  ' * member.depth}{shown}")


async def _get_result(job_id: int, client: AsyncClient) -> bytes:
    return await client.job_result(job_id)


def _show_job(job: Job) -> None:
    output.print_fields(
        [
            ("id", job.id),
            ("type", job.type),
            ("status", job.status),
            *([("waits for", job.waiting.code), ("why", job.waiting.text)] if job.waiting is not None else ()),
            ("progress", output.progress_text(job.progress) if job.status == "running" else None),
            ("priority", job.priority),
            ("source", job.source_path),
            ("sha256", job.source_hash or None),
            ("size", output.size_text(job.source_size)),
            ("tags", ", ".join(job.tags or [])),
            ("metadata", job.metadata),
            ("requires", ", ".join(job.requires or [])),
            ("group", job.group),
            ("batch", ", ".join(map(str, job.batches or [job.batch])) if job.batch is not None else None),
            ("came of", f"job {job.parent}" if job.parent is not None else None),
            ("then", in_words(job.then) if job.then else None),
            ("stopped", job.then_stopped),
            ("still to start", f"{job.children_to_come:,} jobs" if job.children_to_come else None),
            ("worker", job.worker_id),
            ("tries", _tries(job, " of ")),
            ("last error", job.last_error),
            ("next try" if job.attempt_history else "not before", job.not_before),
            ("expires", job.expires_at if job.status in ("pending", "uploading") else None),
            ("result", job.result if job.result is not None else _aside(job)),
            ("result of", _kept(job)),
            ("created", job.created_at),
            ("started", job.started_at),
            ("completed", job.completed_at),
        ]
    )
    for attempt in job.attempt_history or []:
        _show_attempt(attempt)
    for child in job.children or []:
        what = "all of these" if child.joins else child.output
        of = f"{what}, of a former result" if child.former else what
        click.echo(f"  {output.one_line(of)}: job {child.job_id} ({child.type}), {child.status}")
    if (more := (job.children_total or 0) - len(job.children or [])) > 0:
        click.echo(f"  and {more:,} more")


async def _family(job_id: int, client: AsyncClient) -> list[Member]:
    """The job that all of its family came of, and, depth first, what came of each, with how deep it stands."""
    from blobforge.client import ApiError

    job = await client.get_job(job_id)
    above = {job.id}
    while job.parent is not None and job.parent not in above:
        above.add(job.parent)
        try:
            job = await client.get_job(job.parent)
        except ApiError as error:
            if error.status != 404:
                raise
            break  # it was deleted: what is left begins here
    found = [Member(0, job.id, job.type, job.status, job.source_path or "", job.children_to_come or 0)]
    seen, left = {job.id}, [(1, each) for each in reversed(await _children(job.id, client))]
    while left and len(found) < MOST_OF_FAMILY:
        depth, child = left.pop()
        name = "all of these" if child.joins else child.output
        name = f"{name}, of a former result" if child.former else name
        found.append(Member(depth, child.job_id, child.type, child.status, name, child.children_to_come))
        if child.job_id not in seen:
            seen.add(child.job_id)
            left += [(depth + 1, each) for each in reversed(await _children(child.job_id, client))]
    return found


async def _children(job_id: int, client: AsyncClient) -> list[ChildJob]:
    """What came of a job's outputs; what joins it stands where it is joined."""
    found: list[ChildJob] = []
    cursor: str | None = None
    while len(found) < MOST_OF_FAMILY:
        page = await client.list_children(job_id, limit=200, cursor=cursor)
        found += page.children
        if (cursor := page.next_cursor) is None:
            break
    return sorted(found, key=lambda each: each.joins)


def _aside(job: Job) -> str | None:
    """Where the result is, where it is too large to be shown."""
    if job.result_size is None:
        return None
    return f"{output.size_text(job.result_size)} of JSON, whole with --result"


def _kept(job: Job) -> str | None:
    """Which attempt the result is of, where that is not the latest one."""
    if job.result_attempt is None or job.status == "completed":
        return None
    return f"attempt {job.result_attempt}, kept until another one completes"


def _show_attempt(attempt: Attempt) -> None:
    click.echo()
    output.print_fields(
        [
            ("attempt", attempt.attempt),
            ("outcome", attempt.outcome or "running"),
            ("worker", attempt.worker_id),
            ("started", attempt.started_at),
            ("ended", attempt.ended_at),
            ("does not count since", attempt.given_back_at),
            ("kind", attempt.kind),
            ("error", attempt.error),
        ]
    )
    for text in (attempt.traceback, attempt.log_tail):
        if text:
            click.echo(output.many_lines(text.rstrip()))


for _command in (
    export_jobs, download, outputs, logs, watch, retry_jobs, cancel_jobs, set_priority, retype_jobs, set_requirements,
    tag_jobs, delete_jobs,
):  # fmt: skip
    jobs.add_command(_command)
