"""Python functions as handlers, and where they run.

`process` (the default): in a process of their own, one for each job at a time, kept warm from job to job. A limit can
kill it, a crash in a C library costs one attempt, and a function that holds the GIL holds its own.
`thread`: in the worker's own process; plain functions in a thread, async ones in the worker's event loop. Nothing can
stop a thread, and a function that holds the GIL or the loop holds up the heartbeats, too.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import traceback
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import trio

from blobforge import converters
from blobforge.outputs import MOST
from blobforge.runner.guard import Guard
from blobforge.runner.job import Job, JobCancelled, JobFailed, WorkerTrouble
from blobforge.runner.process import GRACE
from blobforge.runner.redacting import ending

Isolation = Literal["process", "thread"]

Handler = Callable[[Job], Awaitable[object] | object]
"""Turns `job.source` into `job.output`, into files below `job.outputs`, or into files that it returns: a path, or
several, or a folder. Anything that it raises fails the attempt; JobFailed says more, WorkerTrouble gives the job back
at no cost to it."""

MOST_TRACEBACK = 16_384  # characters


class Converter(Protocol):
    """The protocol of what an attempt calls: a command, or a handler. `made_with`: the name and the version that it
    declares, once it is prepared.

    Raises JobFailed or WorkerTrouble. Cancelling it stops the work, and waits until it has stopped where it can be.
    """

    made_with: str | None

    async def prepare(self, nursery: trio.Nursery, guard: Guard) -> None:
        """Make ready before the first job is claimed; background tasks go into `nursery`."""

    async def __call__(self, job: Job) -> None: ...


class InWorker:
    """A handler in the worker's own process."""

    def __init__(self, handler: Handler, *, grace: float = GRACE) -> None:
        self._handler = handler
        self._grace = grace
        self.made_with = declared(handler)

    async def prepare(self, nursery: trio.Nursery, guard: Guard) -> None:
        del nursery, guard

    async def __call__(self, job: Job) -> None:
        try:
            if is_async(self._handler):
                await self._in_loop(job)
            else:
                await self._in_thread(job)
        except SystemExit as error:
            raise JobFailed(f"the handler called sys.exit({error})", kind="SystemExit") from error
        except Exception as error:
            raise as_outcome(error) from error

    async def _in_loop(self, job: Job) -> None:
        try:
            result: Any = self._handler(job)
            job.returned = returned_paths(await result)
        except trio.Cancelled:
            job.cancel_signal.set()  # for threads that it may have started
            raise

    async def _in_thread(self, job: Job) -> None:
        over = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def call() -> None:
            try:
                job.returned = returned_paths(self._handler(job))
            finally:
                with contextlib.suppress(trio.RunFinishedError):  # the worker has ended without us
                    token.run_sync_soon(over.set)

        try:
            await trio.to_thread.run_sync(call, abandon_on_cancel=True)
        except trio.Cancelled:
            job.cancel_signal.set()
            with trio.move_on_after(self._grace, shield=True):
                await over.wait()
            if not over.is_set():
                job.leftover = over.wait
            raise


def declared(handler: Handler) -> str | None:
    """The name and the version that a handler has in its attribute `converter`: "marker 1.3.2". Raises ValueError for
    what is none."""
    said = getattr(handler, "converter", None)
    if said is None:
        return None
    if not isinstance(said, str):
        raise ValueError(f"the handler's `converter` is a text like 'marker 1.3.2', not {said!r}")
    return str(converters.converter(said))


def is_async(handler: Handler) -> bool:
    """Whether calling it gives an awaitable: an async function, or an object whose __call__ is one."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def returned_paths(value: object) -> list[Path] | None:
    """The paths that a handler has returned, in its order; None where it has returned something else, or nothing."""
    if isinstance(value, os.PathLike):
        return [Path(value)]
    if not isinstance(value, list | tuple | set | frozenset | Iterator):
        return None
    found = list(islice(value, MOST + 1))  # one too many is told as too many
    if not found or not all(isinstance(each, os.PathLike) for each in found):
        return None
    return [Path(each) for each in found]


def as_outcome(error: Exception) -> JobFailed | WorkerTrouble:
    """A handler's exception, as the end of its attempt."""
    if isinstance(error, JobFailed | WorkerTrouble):
        return error
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return WorkerTrouble(f"the disk is full: {error}")
    kind = type(error).__name__
    text = "the handler stopped as if its job had been taken away" if isinstance(error, JobCancelled) else str(error)
    trace = ending("".join(traceback.format_exception(error)), MOST_TRACEBACK)
    return JobFailed(text or kind, kind=kind, traceback=trace)
