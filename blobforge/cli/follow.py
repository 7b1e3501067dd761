"""`blobforge jobs watch` and `blobforge jobs logs`: jobs as they go on, by the server's live events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from blobforge.cli import common, output
from blobforge.cli.common import CliError, CliSession, pass_session, session_options
from blobforge.cli.outage import Outages, follow
from blobforge.cli.selection import Filters, chosen, each_page, job_filters, one_id, some_ids

if TYPE_CHECKING:
    from blobforge.cli.watching import Board, View
    from blobforge.client import AsyncClient, Attempt, Job, JobLog, JobPage

MOST_WATCHED = 10_000  # jobs; each is asked for when the stream says that events were missed
_AT_ONCE = 8  # of those requests
_LOOK_EACH = 1.0  # seconds between two looks at a log


@click.command("watch")
@some_ids
@job_filters
@session_options
@pass_session
def watch(session: CliSession, /, *, job_ids: tuple[int, ...], **filters: Any) -> None:
    """Follow jobs until all of them have ended: completed, dead or cancelled.

    With a filter: the jobs that match it now, to their ends. With neither ids nor a filter: whatever happens to any
    job, until Ctrl-C. A server that is away is waited for. A connection that breaks is made again, and nothing is
    missed.

    \b
      blobforge jobs watch 17 18
      blobforge jobs watch --tag scan-2026 && make report

    The exit code is 0 when all of them completed, 1 when one did not.
    """
    from blobforge.cli.watching import Board, view_of

    wanted = chosen(filters)
    if job_ids and wanted:
        raise CliError("Ids and a filter do not go together.", common.USAGE, "Give one or the other.")
    board = Board()
    view = view_of(session, board)
    follow(session, lambda client, outages: _watch(client, outages, board, view, job_ids, wanted))
    session.note(board.summary() if board.jobs else "No job matches.")
    if not board.all_completed():
        common.fail()


async def _watch(
    client: AsyncClient, outages: Outages, board: Board, view: View, job_ids: Sequence[int], filters: Filters
) -> None:
    endless = not job_ids and not filters
    only = job_ids[0] if len(job_ids) == 1 else None
    with view:
        async with client.events(types=job_events(), job=only, on_break=outages.broken) as stream:
            while True:
                event = await stream.next()
                if event.name == "resync":
                    if not endless:
                        await _refresh(client, board, view, job_ids, filters)
                elif job := board.learn(event, adopt=endless):
                    view.event(event, job)
                if not endless and board.done():
                    return


async def _refresh(client: AsyncClient, board: Board, view: View, job_ids: Sequence[int], filters: Filters) -> None:
    """Fetch what may have been missed: at first all that is watched, later what had not ended."""
    import trio

    if board.jobs:
        wanted: Sequence[int] = board.open()
    elif job_ids:
        wanted = list(dict.fromkeys(job_ids))
    else:
        await each_page(client, filters, lambda page: _take(page, board, view), limit=MOST_WATCHED + 1)
        return
    slots = trio.CapacityLimiter(_AT_ONCE)
    found: dict[int, Job | None] = {}

    async def one(job_id: int) -> None:
        async with slots:
            found[job_id] = await _job(client, job_id, known=job_id in board.jobs)

    async with trio.open_nursery() as nursery:
        for job_id in wanted:
            nursery.start_soon(one, job_id)
    for job_id in wanted:
        job = found[job_id]
        if job is None:
            board.remove(job_id)
        elif board.put(job):
            view.job(job)


def _take(page: JobPage, board: Board, view: View) -> None:
    for job in page.jobs:
        if board.put(job):
            view.job(job)
    if len(board.jobs) > MOST_WATCHED:
        raise CliError(f"More than {MOST_WATCHED:,} jobs match.", common.USAGE, "Narrow the filter.")


async def _job(client: AsyncClient, job_id: int, *, known: bool) -> Job | None:
    """The job; None when it was there and is no longer."""
    from blobforge.client import ApiError

    try:
        return await client.get_job(job_id)
    except ApiError as error:
        if error.status == 404 and known:
            return None
        raise


@click.command("logs")
@one_id
@click.option("--attempt", type=click.IntRange(min=1), metavar="N", help="Only that attempt.")
@click.option(
    "-f", "--follow", "on", is_flag=True, help="Go on with progress and further attempts until the job has ended."
)
@session_options
@pass_session
def logs(session: CliSession, job_id: int, attempt: int | None, on: bool) -> None:
    """Show what the attempts at a job have left: errors, tracebacks, the last output of the converter; and of one
    that runs what it has printed so far, as far as its worker has sent it (not with --json, but for --follow).

    \b
      blobforge jobs logs 17
      blobforge jobs logs 17 --attempt 2
      blobforge jobs logs 17 --follow

    With --follow the exit code is 0 when the job completed, 1 when it did not.
    """
    if on and attempt is not None:
        raise CliError("--attempt and --follow do not go together.", common.USAGE)
    log = _Log(session)
    if not on:
        job = session.run(lambda client: client.get_job(job_id))
        log.show(job, attempt)
        if job.status == "running" and attempt is None and not session.json:
            log.live(session.run(lambda client: _live(client, job_id)))
    elif follow(session, lambda client, outages: _follow(client, outages, job_id, log)) != "completed":
        common.fail()


async def _follow(client: AsyncClient, outages: Outages, job_id: int, log: _Log) -> str:
    import trio

    from blobforge.client import FINAL_STATUSES

    async with (
        client.events(types=job_events(), job=job_id, on_break=outages.broken) as stream,
        trio.open_nursery() as beside,
    ):
        beside.start_soon(_follow_live, client, job_id, log)
        known = False
        while True:
            event = await stream.next()
            if event.name == "job_progress":
                log.progress(event.data.get("progress"))
                continue
            job = await _job(client, job_id, known=known)
            if job is None:
                raise CliError(f"Job {job_id} was removed.", common.CONFLICT)
            known = True
            log.follow(job)
            if job.status in FINAL_STATUSES:
                beside.cancel_scope.cancel()
                return job.status


async def _follow_live(client: AsyncClient, job_id: int, log: _Log) -> None:
    """What attempts print while they run, until cancelled."""
    import trio

    attempt: int | None = None
    place = 0
    while (found := await _live(client, job_id, attempt, place)) is not None:
        if found.live:
            attempt, place = found.attempt, found.end
            log.live(found)
        await trio.sleep(_LOOK_EACH)


async def _live(client: AsyncClient, job_id: int, attempt: int | None = None, place: int = 0) -> JobLog | None:
    """None: the job is no more, or its server, of an earlier release, has no live logs."""
    from blobforge.client import ApiError

    try:
        return await client.job_log(job_id, attempt=attempt, start=place)
    except ApiError as error:
        if error.status == 404:
            return None
        raise


class _Log:
    """Prints records of attempts; owns which ones have been printed, and the last line of progress."""

    def __init__(self, session: CliSession) -> None:
        self._session = session
        self._printed: set[int] = set()
        self._status = ""
        self._line = ""

    def show(self, job: Job, wanted: int | None) -> None:
        """All records, or that of one attempt."""
        history = job.attempt_history or []
        records = [record for record in history if wanted in (None, record.attempt)]
        if wanted is not None and not records:
            kept = ", ".join(str(record.attempt) for record in history) or "none"
            raise CliError(f"Job {job.id} has no attempt {wanted}.", common.CONFLICT, f"There are: {kept}.")
        if self._session.json:
            output.print_json(records)
            return
        if not records:
            self._session.note(f"Nobody has tried job {job.id} yet; it is {job.status}.")
        for number, record in enumerate(records):
            self._record(record, apart=number > 0)

    def follow(self, job: Job) -> None:
        """The records that are new since the last call."""
        for record in job.attempt_history or []:
            if record.ended_at is not None and record.attempt not in self._printed:
                self._printed.add(record.attempt)
                if self._session.json:
                    click.echo(output.json_line({"attempt": record}))
                else:
                    self._record(record, apart=False)
        if job.status != self._status:
            self._status = job.status
            if self._session.json:
                click.echo(output.json_line({"status": job.status}))
            else:
                self._session.note(_state(job))
        if job.status == "running":
            self.progress(job.progress)

    def progress(self, progress: Any) -> None:
        """A line for each progress that reads differently than the last."""
        line = output.progress_text(progress)
        if not line or line == self._line:
            return
        self._line = line
        click.echo(output.json_line({"progress": progress}) if self._session.json else line)

    def live(self, found: JobLog | None) -> None:
        """What an attempt has printed since the last call."""
        if found is None or not found.live or not found.text:
            return
        if self._session.json:
            click.echo(output.json_line({"log": found.text, "attempt": found.attempt}))
        else:
            click.echo(output.many_lines(found.text.rstrip("\n")))

    def _record(self, record: Attempt, *, apart: bool) -> None:
        if apart:
            click.echo()
        ended = record.ended_at or record.started_at
        when = output.age(ended) if output.is_terminal() else output.plain(ended)
        heading = (
            f"attempt {record.attempt}: {record.outcome or 'running'}, {output.one_line(record.worker_id)}, {when}"
        )
        click.echo(output.bold(heading))
        texts = [part for part in (record.kind, record.error) if part]
        for text in (": ".join(texts), record.traceback, record.log_tail):
            if text and text.strip():
                click.echo(output.many_lines(text.rstrip()))


def _state(job: Job) -> str:
    where = f" on {output.one_line(job.worker_id)}" if job.status == "running" and job.worker_id else ""
    why = f": {output.one_line(job.last_error)}" if job.status in ("failed", "dead") and job.last_error else ""
    return f"job {job.id} is {job.status}{where}{why}"


def job_events() -> list[str]:
    """The events that are about a job."""
    from blobforge.events import EVENT_NAMES

    return [name for name in EVENT_NAMES if name.startswith("job_")]
