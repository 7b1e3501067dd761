"""A progress bar on stderr, for a person; nothing where nobody watches."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from blobforge.cli.common import on_terminal
from blobforge.cli.output import size_text

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Progress:
    """Files done and bytes sent."""

    def __init__(self, files: int, *, shown: bool) -> None:
        self._files = files
        self._sent = 0
        self._bar: Bar | None = None
        if shown and on_terminal():
            self._bar = self._make()

    def _make(self) -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        bar = Progress(
            TextColumn("submitting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("files, {task.fields[sent]} uploaded"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = bar.add_task("", total=self._files, sent=size_text(0))
        return bar

    def on_bytes(self, count: int) -> None:
        self._sent += count
        if self._bar is not None:
            self._bar.update(self._task, sent=size_text(self._sent))

    def file_done(self) -> None:
        if self._bar is not None:
            self._bar.advance(self._task)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
