"""Run a command so that nothing of it is left: in its own process group, its output drained, its strays found.

Three rules make the end right:
1. The group is killed while its leader is still a zombie. A reaped leader's number may belong to somebody else.
2. Output is drained until the end, also while the command is being killed: a full pipe would keep it from exiting.
3. A process that left the group (setsid, a daemon) is known by the cookie in its environment, and killed too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

TAIL = 16 * 1024
GRACE = 5.0  # seconds from TERM to KILL
_LAST_WORDS = 1.0  # seconds to read what is left in the pipes once the command and its group are gone
_COOKIE = "BLOBFORGE_ATTEMPT"


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


@dataclass(frozen=True)
class Finished:
    """How a command ended. `returncode` is negative for a signal, as in subprocess."""

    returncode: int
    stdout: Tail
    stderr: Tail


async def run_in_group(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], grace: float = GRACE) -> Finished:
    """Run `argv` to its end and leave nothing of it behind, however it ends.

    Cancelled, it sends TERM to the group, waits `grace` seconds and sends KILL. Raises OSError when the command
    cannot be started.
    """
    cookie = f"{_COOKIE}={uuid.uuid4().hex}"
    name, _, value = cookie.partition("=")
    process = await trio.lowlevel.open_process(
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env={**env, name: value},
        start_new_session=True,
    )
    out, err = Tail(), Tail()
    assert process.stdout is not None
    assert process.stderr is not None
    async with trio.open_nursery() as nursery:
        drained = trio.CancelScope(shield=True)
        nursery.start_soon(_drain_both, drained, (process.stdout, out), (process.stderr, err))
        try:
            await _exited(process)
        finally:
            with trio.CancelScope(shield=True):
                await _end_group(process, cookie.encode(), grace)
                drained.deadline = trio.current_time() + _LAST_WORDS
    assert process.returncode is not None
    return Finished(process.returncode, out, err)


async def _drain_both(scope: trio.CancelScope, *pairs: tuple[trio.abc.ReceiveStream, Tail]) -> None:
    with scope:
        async with trio.open_nursery() as nursery:
            for stream, tail in pairs:
                nursery.start_soon(_drain, stream, tail)


async def _drain(stream: trio.abc.ReceiveStream, tail: Tail) -> None:
    async with stream:
        async for data in stream:
            tail.add(data)


async def _exited(process: trio.Process) -> None:
    """Return once the leader has exited, leaving it unreaped."""
    try:
        pidfd = os.pidfd_open(process.pid)
    except (OSError, AttributeError):  # an old kernel, or not Linux: the number is safe a little less long
        await process.wait()
        return
    try:
        await trio.lowlevel.wait_readable(pidfd)
    finally:
        trio.lowlevel.notify_closing(pidfd)
        os.close(pidfd)


def _has_exited(process: trio.Process) -> bool:
    """Whether the leader has exited, leaving it unreaped."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except (OSError, AttributeError):
        return process.poll() is not None


async def _end_group(process: trio.Process, cookie: bytes, grace: float) -> None:
    if not _has_exited(process):
        _signal_group(process.pid, signal.SIGTERM)
        with trio.move_on_after(grace):
            await _exited(process)
    _signal_group(process.pid, signal.SIGKILL)
    await trio.to_thread.run_sync(_kill_strays, cookie)
    await process.wait()


def _signal_group(group: int, number: signal.Signals) -> None:
    # PermissionError: all that is left of the group has changed its user.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _kill_strays(cookie: bytes) -> None:
    """Kill every process that carries this attempt's cookie; a second look catches what was forked meanwhile."""
    for _ in range(2):
        if not [pid for pid in _pids() if _kill_if_ours(pid, cookie)]:
            return


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:  # no /proc on this system: the group is all that we can find
        return []


def _kill_if_ours(pid: int, cookie: bytes) -> bool:
    try:
        # The descriptor is taken before the look, so that what is killed is what was looked at.
        pidfd = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return False
    try:
        if cookie not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(pidfd)
    return True
