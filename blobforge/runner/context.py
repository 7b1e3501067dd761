"""What a handler gets and what it may say: a job, its files, and a way to fail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blobforge.client import Job


class JobFailed(Exception):
    """The document could not be converted. Ends the attempt and costs one of the job's tries.

    `kind` is a short stable name (an exception's type, `ExitStatus`); `log_tail` the last output of what ran;
    `retryable=False` when another try cannot help.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        log_tail: str | None = None,
        traceback: str | None = None,
        retryable: bool = True,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.log_tail = log_tail
        self.traceback = traceback
        self.retryable = retryable


class WorkerTrouble(Exception):
    """This machine cannot do the work now (disk full, command gone): the job goes back, at no cost to it."""


@dataclass
class JobContext:
    """One attempt as its handler sees it. `source` is there and verified; `output` is for the handler to write.

    All of it lies in `workdir`, a private folder that is removed when the attempt ends.
    """

    job: Job
    workdir: Path
    source: Path
    output: Path
    report: Callable[[Mapping[str, Any]], None]

    def progress(
        self,
        stage: str | None = None,
        *,
        percent: float | None = None,
        done: float | None = None,
        total: float | None = None,
        message: str | None = None,
    ) -> None:
        """Say how far the work is; the next heartbeat carries it. May be called from any thread."""
        news = {"stage": stage, "percent": percent, "done": done, "total": total, "message": message}
        self.report({name: value for name, value in news.items() if value is not None})


Handler = Callable[[JobContext], Awaitable[None] | None]
"""Turns `ctx.source` into `ctx.output`. An async function runs in the worker's loop and may be cancelled at any
await; a plain one runs in a thread, which nothing can stop: it is left to end by itself when its job is taken away.
Anything that it raises fails the attempt; JobFailed says more."""
