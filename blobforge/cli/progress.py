"""Progress bars, on stderr where that is a terminal; nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from blobforge.cli.common import on_terminal
from blobforge.cli.live import Shown
from blobforge.cli.output import is_terminal, size_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_A_FILE = 64 * 1024  # bytes: a file costs about as much beside its bytes, so that the end of many small ones is told


@contextmanager
def counted(doing: str, of: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar that counts; what is called with how many more are done."""
    if not on_terminal():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn(of), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda more: bar.advance(task, more)


class Progress(Shown):
    """Files done, bytes sent, at what rate, and when it will be over. The end moves while files are still found.

    `doing` is what is done to them, and `done` what was done to their bytes.
    """

    def __init__(self, *, shown: bool, doing: str = "submitting", done: str = "uploaded") -> None:
        self._doing, self._moved = doing, done
        self._files = self._done = 0
        self._total = self._completed = 0  # in bytes, with _A_FILE for each file
        self._sent = self._sent_of_done = 0
        self.picture = self._bar = self._make() if shown and on_terminal() else None

    def _make(self) -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        class Rate(TransferSpeedColumn):
            """The rate of the bytes sent; the bar itself counts work."""

            def render(self, _task):  # type: ignore[no-untyped-def]
                return super().render(bar.tasks[sent_id])

        bar = Progress(
            TextColumn(self._doing),
            BarColumn(),
            TextColumn(f"{{task.fields[files]}} files, {{task.fields[sent]}} {self._moved}"),
            Rate(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            # Data goes where stdout goes, even while the bar is there.
            redirect_stdout=is_terminal(),
        )
        self._task = bar.add_task("", total=None, files="0", sent=size_text(0))
        sent_id = self._sent_task = bar.add_task("", total=None, visible=False, files="", sent="")
        return bar

    def found(self, files: int, size: int) -> None:
        """So many more are to be done."""
        self._files += files
        self._total += size + files * _A_FILE
        self._show()

    def on_bytes(self, count: int) -> None:
        """So many bytes more were sent; a negative number takes back what a failed try had told."""
        self._sent += count
        self._show()

    def file_done(self, size: int, *, sent: int) -> None:
        """One file of `size` bytes is done; `sent` of its bytes have been told to `on_bytes`."""
        self._done += 1
        self._completed += size + _A_FILE
        self._sent_of_done += sent
        self._show()

    def _show(self) -> None:
        if self._bar is None:
            return
        under_way = max(0, self._sent - self._sent_of_done)
        self._bar.update(
            self._task,
            total=self._total,
            completed=min(self._total, self._completed + under_way),
            files=f"{self._done}/{self._files}",
            sent=size_text(self._sent),
        )
        self._bar.update(self._sent_task, completed=self._sent)
