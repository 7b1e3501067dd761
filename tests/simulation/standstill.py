"""Processes that stand still, as under SIGSTOP: none of their tasks runs, whatever becomes due meanwhile, until they
go on. One that is killed stands still for good: not even what is to be done at its end is done.

Owns, for each process, the tasks that would run. Which process a task is of, it has from the one that began it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import Any, cast

import trio
import trio._core._run as scheduling  # tasks that are due are kept in private, and there is no other way to them

_process: ContextVar[Tasks | None] = ContextVar("process", default=None)


class Tasks:
    """Those of one process."""

    def __init__(self) -> None:
        self._kept: list[trio.lowlevel.Task] | None = None

    @property
    def stand(self) -> bool:
        return self._kept is not None

    def spawn(self, nursery: trio.Nursery, call: Callable[..., Awaitable[Any]], *values: Any) -> None:
        """Begin one, which has its place in that nursery."""
        context = copy_context()
        context.run(_process.set, self)
        context.run(nursery.start_soon, call, *values)

    def hold(self) -> None:
        if self._kept is None:
            due = _due()
            self._kept = [task for task in due if _of(task) is self]
            others = [task for task in due if _of(task) is not self]
            due.clear()
            due.extend(others)

    def go_on(self) -> None:
        kept, self._kept = self._kept or [], None
        _due().extend(kept)

    def keeps(self, task: trio.lowlevel.Task) -> bool:
        """Whether it was to run now, and is not to."""
        if self._kept is not None:
            self._kept.append(task)
        return self._kept is not None


class _Due(deque[trio.lowlevel.Task]):
    def append(self, task: trio.lowlevel.Task, /) -> None:
        process = _of(task)
        if process is None or not process.keeps(task):
            super().append(task)


def prepare() -> None:
    """Within trio: from now on processes can be held."""
    _runner().runq = _Due(_due())


def _of(task: trio.lowlevel.Task) -> Tasks | None:
    return task.context.get(_process)


def _due() -> deque[trio.lowlevel.Task]:
    return cast("deque[trio.lowlevel.Task]", _runner().runq)


def _runner() -> Any:
    return scheduling.GLOBAL_RUN_CONTEXT.runner
