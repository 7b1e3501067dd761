"""What the demo shows: one table that moves on a terminal, a line for each change anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from blobforge.cli.live import Shown
from blobforge.cli.output import STYLES, one_line, progress_text
from blobforge.client import Job


class Screen(Shown):
    """Shows jobs by the name of their file. Use as a context manager; `say` prints a line at any time."""

    def __init__(self) -> None:
        self._console = Console()
        self.picture = self._live = Live(console=self._console, refresh_per_second=8) if sys.stdout.isatty() else None
        self._seen: dict[int, tuple[object, ...]] = {}

    def say(self, text: str = "") -> None:
        if self._live is None:
            print(text, flush=True)
        else:
            self._console.print(Text(text))

    def show(self, jobs: Sequence[Job]) -> None:
        """Show where the jobs are now."""
        if self._live is not None:
            self._live.update(_table(jobs))
            return
        for job in jobs:
            state = (job.status, job.attempts)
            if self._seen.get(job.id) != state:
                self._seen[job.id] = state
                print(f"  {_name(job):12}  {job.status:10}  {_note(job)}".rstrip(), flush=True)


def _table(jobs: Sequence[Job]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2))
    for header in ("FILE", "STATUS", "TRIES", "NOTE"):
        table.add_column(header, no_wrap=True, overflow="ellipsis")
    for job in jobs:
        status = Text(job.status, style=STYLES.get(job.status, ""))
        table.add_row(Text(_name(job)), status, f"{job.attempts}/{job.max_attempts}", Text(_note(job)))
    return table


def _name(job: Job) -> str:
    return one_line((job.source_path or str(job.id)).rpartition("/")[2])


def _note(job: Job) -> str:
    if job.status == "running":
        return f"on {job.worker_id} {progress_text(job.progress)}".strip()
    if job.status == "failed":
        return f"will be tried again: {one_line(job.last_error)}"
    return one_line(job.last_error) if job.status == "dead" else ""
