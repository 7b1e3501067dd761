"""Run a command so that nothing of it is left: in its own process group, its output drained, its strays found.

Four rules make the end right:
1. The group is killed while its leader is still a zombie. A reaped leader's number may belong to another process.
2. Output is drained until the end, also while the command is being killed: a full pipe would keep it from exiting.
3. A process that left the group (setsid, a daemon) is killed too: on Linux it is still below the supervisor
   (`supervise.py`), which stands in the leader's place and ends as it does; elsewhere the cookie in its environment
   tells.
4. The guard knows of it before it starts and until all of it is gone: a worker that is killed leaves nothing, too.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import trio
from trio.socket import SocketType

from blobforge.runner import supervise
from blobforge.runner.guard import Guard
from blobforge.runner.redacting import beginning
from blobforge.runner.strays import COOKIE, kill_strays, signal_group

TAIL = 16 * 1024
GRACE = 5.0  # seconds from TERM to KILL
SUPERVISED = sys.platform == "linux"
_SUPERVISE = (sys.executable, "-I", "-S", str(Path(supervise.__file__)))
_SUPERVISED_END = 10.0  # seconds in which the supervisor has killed everything, or is itself in the way
_SWEEP = 10.0
# For `ProcessGroup.end` beyond its grace. What lives longer (a process that the kernel keeps) is left to the guard.
ENDED_WITHIN = 2 * _SUPERVISED_END
START_SECONDS = 60.0  # for the supervisor's word that the command has been started
_LAST_WORDS = 1.0  # seconds to read what is left in the pipes once the command and its group are gone

OnOutput = Callable[[str, bytes | bytearray], None]
"""Told what came (`stdout` or `stderr`, and the bytes), in the order of arrival."""


class Tail:
    """The last `limit` bytes of a stream of any length, and how long it was."""

    def __init__(self, limit: int = TAIL) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.total = 0

    @property
    def cut(self) -> bool:
        """Whether the beginning is lost."""
        return self.total > self._limit

    def add(self, data: bytes | bytearray) -> None:
        self.total += len(data)
        self._kept += data
        if len(self._kept) > 2 * self._limit:
            del self._kept[: -self._limit]

    def text(self) -> str:
        """What is kept, as text fit for a database: bad bytes and NUL are replaced. It begins with a whole line,
        where there is one: half of a secret would not be known for one."""
        text = self._kept[-self._limit :].decode("utf-8", "replace").replace("\0", "\ufffd")
        return text.partition("\n")[2] or text if self.cut else text

    def last_line(self) -> str:
        """The last line that says something, up to 500 characters."""
        lines = [line.strip() for line in self.text().splitlines() if line.strip()]
        return beginning(lines[-1], 500) if lines else ""


class Tails:
    """The ends of both streams of a command; of stderr alone where `stdout` is the output. `hear` is told all that
    they are the ends of."""

    def __init__(self, *, stdout: bool = True, hear: OnOutput | None = None) -> None:
        self.stdout = Tail()
        self.stderr = Tail()
        self._both = stdout
        self._hear = hear

    def add(self, stream: str, data: bytes | bytearray) -> None:
        if stream != "stderr" and not self._both:
            return
        (self.stderr if stream == "stderr" else self.stdout).add(data)
        if self._hear is not None:
            self._hear(stream, data)

    def last_line(self) -> str:
        return self.stderr.last_line() or self.stdout.last_line()

    def log(self) -> str | None:
        """Both as one text for an attempt's record; None when nothing was said."""
        parts = []
        for name, tail in (("stderr", self.stderr), ("stdout", self.stdout)):
            text = tail.text().rstrip()
            if text:
                cut = f", the end of {tail.total:,} bytes" if tail.cut else ""
                parts.append(f"--- {name}{cut} ---\n{text}\n")
        return "".join(parts) or None


@dataclass(frozen=True)
class Finished:
    """How a command ended. `returncode` is negative for a signal, as in subprocess."""

    returncode: int
    tails: Tails


class ProcessGroup:
    """A process that leads a group and a session of its own. Must be ended by `end`, whatever happens."""

    def __init__(self, process: trio.Process, cookie: str, guard: Guard | None, control: SocketType | None) -> None:
        self.process = process
        self._cookie = cookie
        self._guard = guard
        self._control = control

    @classmethod
    async def start(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        guard: Guard | None = None,
        max_memory: int | None = None,
        pass_fds: tuple[int, ...] = (),
        **options: Any,
    ) -> Self:
        """Start `argv`, its output in pipes. `options` are Popen's. Raises OSError when it cannot be started.

        `max_memory` (bytes, Linux) is the limit of what each process may have of its own.
        """
        cookie = uuid.uuid4().hex
        if guard is not None:
            guard.add(cookie)
        control: SocketType | None = None
        command = list(argv)
        ours, theirs = socket.socketpair()
        with theirs:
            if SUPERVISED:
                control = trio.socket.from_stdlib_socket(ours)
                command = [*_SUPERVISE, str(theirs.fileno()), str(max_memory or 0), *argv]
                pass_fds = (*pass_fds, theirs.fileno())
            else:
                ours.close()
            try:
                # Shielded: a start that is cancelled half-way would leave a process without an owner.
                with trio.move_on_after(START_SECONDS, shield=True) as starting:
                    process = await trio.lowlevel.open_process(
                        command,
                        **{"stdin": subprocess.DEVNULL, **options},
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        env={**env, COOKIE: cookie},
                        start_new_session=True,
                        pass_fds=pass_fds,
                    )
                    theirs.close()
                    if control is not None:
                        await _started(control, process, argv[0])
                if starting.cancelled_caught:
                    raise OSError(errno.ETIMEDOUT, f"not started within {START_SECONDS:g} seconds", argv[0])
            except BaseException:
                ours.close()
                if guard is not None:
                    guard.remove(cookie)
                raise
        if guard is not None:
            guard.leads(cookie, process.pid)
        return cls(process, cookie, guard, control)

    async def remember(self) -> None:
        """Leave alone what runs now, the leader apart, until the end."""
        if self._control is not None:
            with suppress(OSError):
                await self._control.send(b"m")

    async def sweep(self, cookie: str) -> None:
        """Kill what has been started since `remember`, but for the leader; elsewhere, what carries the cookie."""
        if self._control is not None:
            with trio.move_on_after(_SWEEP), suppress(OSError):
                await self._control.send(b"s")
                if await self._control.recv(1):
                    return
        await trio.to_thread.run_sync(kill_strays, cookie)

    async def drain(self, on_output: OnOutput) -> None:
        """Read both streams until they end."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drain, "stdout", self.process.stdout, on_output)
            nursery.start_soon(_drain, "stderr", self.process.stderr, on_output)

    async def exited(self) -> None:
        """Return once the leader has exited, leaving it unreaped."""
        try:
            pidfd = os.pidfd_open(self.process.pid)
        except (OSError, AttributeError):  # an old kernel, or not Linux: the number is safe a little less long
            await self.process.wait()
            return
        try:
            await trio.lowlevel.wait_readable(pidfd)
        finally:
            trio.lowlevel.notify_closing(pidfd)
            os.close(pidfd)

    @property
    def has_exited(self) -> bool:
        """Whether the leader has exited, leaving it unreaped."""
        try:
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except (OSError, AttributeError):
            return self.process.poll() is not None

    async def end(self, grace: float) -> int:
        """TERM, `grace` seconds, KILL; then what left the group. Returns the leader's exit status."""
        if not self.has_exited:
            signal_group(self.process.pid, signal.SIGTERM)
            with trio.move_on_after(grace):
                await self.exited()
        if self._control is not None:
            self._control.close()  # the supervisor kills all that is below it, and ends
            with trio.move_on_after(_SUPERVISED_END):
                await self.exited()
        signal_group(self.process.pid, signal.SIGKILL)
        await trio.to_thread.run_sync(kill_strays, self._cookie)
        returncode = await self.process.wait()
        if self._guard is not None:
            self._guard.remove(self._cookie)
        return returncode


async def run_in_group(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    grace: float = GRACE,
    guard: Guard | None = None,
    tails: Tails | None = None,
    on_output: OnOutput | None = None,
    max_memory: int | None = None,
) -> Finished:
    """Run `argv` to its end and leave nothing of it behind, however it ends.

    Cancelled, it sends TERM to the group, waits `grace` seconds and sends KILL. What is said goes to `tails`, and to
    `on_output`. Raises OSError when the command cannot be started.
    """
    kept = tails or Tails()

    def heard(stream: str, data: bytes | bytearray) -> None:
        kept.add(stream, data)
        if on_output is not None:
            on_output(stream, data)

    group = await ProcessGroup.start(argv, cwd=cwd, env=env, guard=guard, max_memory=max_memory)
    returncode = -signal.SIGKILL  # where it is not known in time
    async with trio.open_nursery() as nursery:
        drained = trio.CancelScope(shield=True)
        nursery.start_soon(_drain_within, drained, group, heard)
        try:
            await group.exited()
        finally:
            drained.deadline = trio.current_time() + grace + ENDED_WITHIN
            with trio.move_on_after(grace + ENDED_WITHIN, shield=True):
                returncode = await group.end(grace)
                drained.deadline = trio.current_time() + _LAST_WORDS
    return Finished(returncode, kept)


async def _started(control: SocketType, process: trio.Process, program: str) -> None:
    """Wait for the supervisor's word. Raises OSError when the command could not be started."""
    said = b""
    while not said.endswith(b"\n") and (data := await control.recv(16)):
        said += data
    code = int(said) if said.strip().isdigit() else errno.EIO
    if code:
        await process.wait()
        raise OSError(code, os.strerror(code), program)


async def _drain_within(scope: trio.CancelScope, group: ProcessGroup, on_output: OnOutput) -> None:
    with scope:
        await group.drain(on_output)


async def _drain(name: str, stream: trio.abc.ReceiveStream, on_output: OnOutput) -> None:
    async with stream:
        async for data in stream:
            on_output(name, data)
