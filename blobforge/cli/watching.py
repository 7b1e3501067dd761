"""What `jobs watch` knows of its jobs, and how it shows them: live on a terminal, a line a change elsewhere.

State owned here: the jobs that are watched, as last heard of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import click
import msgspec

from blobforge.cli import output
from blobforge.cli.common import CliSession
from blobforge.cli.live import Shown
from blobforge.cli.selection import STATUSES
from blobforge.client import FINAL_STATUSES, Job, ServerEvent

if TYPE_CHECKING:
    from rich.table import Table

REMOVED = "removed"
_ENDED = FINAL_STATUSES | {REMOVED}
_ROWS = 10  # running jobs that are shown live; the summary counts all of them


class Board:
    """The watched jobs by id."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}

    def put(self, job: Job) -> bool:
        """Take in a job as the server tells it; whether its status is news."""
        before = self.jobs.get(job.id)
        self.jobs[job.id] = job
        return before is None or before.status != job.status

    def remove(self, job_id: int) -> None:
        self.jobs[job_id] = msgspec.structs.replace(self.jobs[job_id], status=REMOVED)

    def learn(self, event: ServerEvent, *, adopt: bool) -> Job | None:
        """The job as it is after `event`; None when it is not watched. `adopt`: watch whatever is heard of."""
        data = event.data if isinstance(event.data, dict) else {}
        job_id = data.get("job_id")
        if not isinstance(job_id, int):
            return None
        before = self.jobs.get(job_id)
        if before is None:
            if not adopt:
                return None
            before = Job(id=job_id, type=str(data.get("type", "")), status="", source_hash="")
        status = REMOVED if event.name == "job_removed" else str(data.get("status") or before.status)
        job = msgspec.structs.replace(
            before,
            status=status,
            worker_id=data.get("worker_id"),
            last_error=data.get("error", before.last_error),
            progress=data.get("progress") if status == "running" else None,
        )
        if adopt and status in _ENDED:
            self.jobs.pop(job_id, None)  # an endless watch must not grow for ever
        else:
            self.jobs[job_id] = job
        return job

    def all(self) -> list[Job]:
        """A copy, made in one step: rich draws in a thread of its own."""
        return list(self.jobs.values())

    def open(self) -> list[int]:
        """The ids of those that have not ended."""
        return [job.id for job in self.jobs.values() if job.status not in _ENDED]

    def done(self) -> bool:
        return not self.open()

    def all_completed(self) -> bool:
        return all(job.status == "completed" for job in self.jobs.values())

    def summary(self) -> str:
        """`12 jobs: 2 running, 9 completed, 1 dead`."""
        counts = Counter(job.status for job in self.all())
        parts = ", ".join(f"{counts[status]} {status}" for status in (*STATUSES, REMOVED) if counts[status])
        return f"{output.count(counts.total(), 'job')}: {parts}"


class View(Protocol):
    """Where changes go."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def job(self, job: Job) -> None:
        """A job as it was fetched, whose status is news."""

    def event(self, event: ServerEvent, job: Job) -> None:
        """A job after an event."""


def view_of(session: CliSession, board: Board) -> View:
    """The view that fits the options and where stdout goes."""
    if session.json or session.quiet or not output.is_terminal():
        return _Lines(session)
    return _JobsScreen(board)


class _Lines(Shown):
    """A line for each change of a status; with --json for each event; with --quiet the ids of those that ended."""

    def __init__(self, session: CliSession) -> None:
        self._session = session

    def job(self, job: Job) -> None:
        self._say({"event": "job", "job_id": job.id, "type": job.type, "status": job.status}, job, news=True)

    def event(self, event: ServerEvent, job: Job) -> None:
        self._say({"event": event.name, **event.data}, job, news=event.name != "job_progress")

    def _say(self, record: dict[str, Any], job: Job, *, news: bool) -> None:
        if self._session.json:
            click.echo(output.json_line(record))
        elif not news:
            return
        elif not self._session.quiet:
            output.print_rows([(job.id, job.status, job.type, job.source_path, _note(job))])
        elif job.status in _ENDED:
            click.echo(str(job.id))


class _JobsScreen(Shown):
    """Jobs that ended scroll by; those that run, and the sum of all, stay below."""

    def __init__(self, board: Board) -> None:
        from rich.live import Live

        self._board = board
        self.picture = self._live = Live(get_renderable=self._picture, refresh_per_second=4, transient=True)

    def job(self, job: Job) -> None:
        if job.status in _ENDED:
            self._print(job)

    def event(self, event: ServerEvent, job: Job) -> None:
        if job.status in _ENDED or event.name in ("job_failed", "job_created"):
            self._print(job)

    def _print(self, job: Job) -> None:
        from rich.text import Text

        line = Text.assemble(
            f"{job.id:>8}  ",
            (job.status.ljust(10), output.STYLES.get(job.status, "")),
            f"  {_name(job)}  {_note(job)}",
        )
        self._live.console.print(line, no_wrap=True, overflow="ellipsis")

    def _picture(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2, 0, 0))
        running = [job for job in self._board.all() if job.status == "running"]
        for job in running[:_ROWS]:
            table.add_row(*(Text(text, style="cyan") for text in _cells(job)))
        picture = Table.grid()
        if running:
            picture.add_row(table)
        picture.add_row(Text(self._board.summary() if self._board.jobs else "waiting for jobs", style="dim"))
        return picture


def _cells(job: Job) -> Iterable[str]:
    return (str(job.id), output.one_line(job.worker_id), _name(job), output.progress_text(job.progress))


def _name(job: Job) -> str:
    return output.one_line(output.path_text(job.source_path or job.type))


def _note(job: Job) -> str:
    return output.one_line(job.last_error) if job.status in ("failed", "dead") else ""
