"""How a command that has work under way is ended from outside."""

from __future__ import annotations

import signal

import click
import trio


async def until_terminated(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Ctrl-C, and SIGTERM, which is the same by other hands: what is under way is cleaned up after.

    As signals and not as Python's KeyboardInterrupt, which comes between any two steps: a file would be counted, and
    not told. What was ignored stays so, as SIGINT in the background of a script.
    """
    heeded = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]
    with trio.open_signal_receiver(*heeded) as signals:
        task_status.started()
        async for number in signals:
            raise KeyboardInterrupt if number == signal.SIGINT else click.exceptions.Exit(128 + number)
