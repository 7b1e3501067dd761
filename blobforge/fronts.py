"""The front processes (`BLOBFORGE_FRONTS`): started, watched, started again, ended. State owned here: the processes.

They get the listening socket and one end of a socket pair by inheritance, and nothing else: there is no file, and no
address that anybody else could connect to. When this process is gone, however that came about, the pair says so.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import structlog
import trio

from blobforge.datadir import StartError
from web.fronts.hub import Hub

log = structlog.get_logger("blobforge.fronts")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0  # seconds before a front that ended is started again
SETTLED = 60.0  # seconds after which a front counts as running well
OPENING = 60.0  # seconds for a front to begin to serve
LAST_WORDS = 5.0  # seconds for a front to end when nothing is left to do; beyond the grace for open requests


class Fronts:
    """`grace` is how long open requests may take at the end, in seconds."""

    def __init__(self, count: int, listener: socket.socket, hub: Hub, *, grace: float) -> None:
        self._count = count
        self._listener = listener
        self._hub = hub
        self._grace = grace
        self._stopping = trio.Event()

    async def serve(
        self,
        *,
        shutdown: Callable[[], Awaitable[object]],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `shutdown` returns, and until all fronts have ended. Raises StartError."""
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(OPENING) as opening:
                async with trio.open_nursery() as starting:
                    for number in range(1, self._count + 1):
                        starting.start_soon(nursery.start, partial(self._keep, number))
            if opening.cancelled_caught:
                raise StartError(f"a front process (BLOBFORGE_FRONTS) did not begin to serve in {OPENING:g} s")
            task_status.started()
            await shutdown()
            self._stopping.set()
            self._hub.stop()
            # The fronts close theirs, too: who comes now is refused, and does not wait to be accepted by nobody.
            self._listener.close()
            nursery.cancel_scope.deadline = trio.current_time() + self._grace + LAST_WORDS

    async def _keep(self, number: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Have a front of this number, until the end."""
        opened = False

        def note_opened() -> None:
            nonlocal opened
            if not opened:
                opened = True
                task_status.started()

        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            began = trio.current_time()
            try:
                trouble, code = await self._run(number, note_opened)
            except OSError as error:  # no file descriptor, no process: the other fronts go on meanwhile
                trouble, code = f"it could not be started: {error}", None
            if self._stopping.is_set():
                return
            if not opened:
                why = trouble or f"exit code {code}"
                raise StartError(f"a front process (BLOBFORGE_FRONTS) did not start; {why}")
            if trio.current_time() - began > SETTLED:
                pause = FIRST_PAUSE
            log.warning("a front ended; it is started again", number=number, reason=trouble, code=code)
            self._hub.restarts += 1
            with trio.move_on_after(pause):
                await self._stopping.wait()
                return
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _run(self, number: int, opened: Callable[[], None]) -> tuple[str | None, int | None]:
        """One process, from its start to its end: why it had to be ended, if it had, and its exit code."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(ours)) as stream:
            with theirs:
                inherited = (theirs.fileno(), self._listener.fileno())
                process = await trio.lowlevel.open_process(
                    [*_python(), "-m", "blobforge.front", *map(str, inherited)],
                    stdin=subprocess.DEVNULL,
                    pass_fds=inherited,
                    start_new_session=True,  # Ctrl-C in a terminal is for us; we tell them
                )
            try:
                trouble = await self._hub.serve(number, stream, opened=opened)
                if trouble is None:
                    with trio.move_on_after(LAST_WORDS):
                        await process.wait()
            finally:
                with trio.CancelScope(shield=True):
                    if process.poll() is None:
                        process.kill()
                    await process.wait()
        return trouble, process.returncode


def _python() -> list[str]:
    """Python, that finds modules where we do: by itself it would look into the working directory first, and run what
    somebody has left there under the name of a module."""
    here = {"", str(Path.cwd())} & set(sys.path)
    return [sys.executable] if here else [sys.executable, "-P"]
