"""Run a command so that nothing of it is left: in its own process group, its output drained, its strays found.

Four rules make the end right:
1. The group is killed while its leader is still a zombie. A reaped leader's number may belong to somebody else.
2. Output is drained until the end, also while the command is being killed: a full pipe would keep it from exiting.
3. A process that left the group (setsid, a daemon) is known by the cookie in its environment, and killed too.
4. The guard knows of it before it starts and until all of it is gone: a worker that is killed leaves nothing, too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import trio

from blobforge.runner.guard import Guard
from blobforge.runner.strays import COOKIE, kill_strays, signal_group

TAIL = 16 * 1024
GRACE = 5.0  # seconds from TERM to KILL
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
        """What is kept, as text fit for a database: bad bytes and NUL are replaced."""
        return self._kept[-self._limit :].decode("utf-8", "replace").replace("\0", "\ufffd")

    def last_line(self) -> str:
        """The last line that says something, cut to 500 characters."""
        lines = [line.strip() for line in self.text().splitlines() if line.strip()]
        return lines[-1][:500] if lines else ""


class Tails:
    """The ends of both streams of a command."""

    def __init__(self) -> None:
        self.stdout = Tail()
        self.stderr = Tail()

    def add(self, stream: str, data: bytes | bytearray) -> None:
        (self.stdout if stream == "stdout" else self.stderr).add(data)

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


class Group:
    """A process that leads a group and a session of its own. Must be ended by `end`, whatever happens."""

    def __init__(self, process: trio.Process, cookie: str, guard: Guard | None) -> None:
        self.process = process
        self._cookie = cookie
        self._guard = guard

    @classmethod
    async def start(
        cls, argv: Sequence[str], *, env: Mapping[str, str], guard: Guard | None = None, **options: Any
    ) -> Self:
        """Start `argv`, its output in pipes. `options` are Popen's. Raises OSError when it cannot be started."""
        cookie = uuid.uuid4().hex
        if guard is not None:
            guard.add(cookie)
        try:
            # Shielded: a start that is cancelled half-way would leave a process that nobody knows.
            with trio.CancelScope(shield=True):
                process = await trio.lowlevel.open_process(
                    list(argv),
                    **{"stdin": subprocess.DEVNULL, **options},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={**env, COOKIE: cookie},
                    start_new_session=True,
                )
        except BaseException:
            if guard is not None:
                guard.remove(cookie)
            raise
        if guard is not None:
            guard.leads(cookie, process.pid)
        return cls(process, cookie, guard)

    async def drain(self, told: OnOutput) -> None:
        """Read both streams until they end."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_drain, "stdout", self.process.stdout, told)
            nursery.start_soon(_drain, "stderr", self.process.stderr, told)

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
    told: OnOutput | None = None,
) -> Finished:
    """Run `argv` to its end and leave nothing of it behind, however it ends.

    Cancelled, it sends TERM to the group, waits `grace` seconds and sends KILL. What is said goes to `tails`, and to
    `told`. Raises OSError when the command cannot be started.
    """
    kept = tails or Tails()

    def heard(stream: str, data: bytes | bytearray) -> None:
        kept.add(stream, data)
        if told is not None:
            told(stream, data)

    group = await Group.start(argv, cwd=cwd, env=env, guard=guard)
    returncode = 0
    async with trio.open_nursery() as nursery:
        drained = trio.CancelScope(shield=True)
        nursery.start_soon(_drain_within, drained, group, heard)
        try:
            await group.exited()
        finally:
            with trio.CancelScope(shield=True):
                returncode = await group.end(grace)
                drained.deadline = trio.current_time() + _LAST_WORDS
    return Finished(returncode, kept)


async def _drain_within(scope: trio.CancelScope, group: Group, told: OnOutput) -> None:
    with scope:
        await group.drain(told)


async def _drain(name: str, stream: trio.abc.ReceiveStream, told: OnOutput) -> None:
    async with stream:
        async for data in stream:
            told(name, data)
