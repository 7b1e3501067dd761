"""A Litestream process that cannot outlive us unnoticed, and the lock that says whether one still runs. State owned
here: the lock that children inherit.

Two Litestreams that copy one database would spoil each other's backups. So a child is killed by the kernel when
this process ends (Linux), and it inherits an open lock file: as long as any child lives, however its parent ended,
the next server cannot take the lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from blobforge.backup import BackupError
from blobforge.backup.binary import environment

LOCK = "litestream.lock"  # in the data folder
_ORPHAN_SECONDS = 5.0  # for a child that a killed server left to be gone
_LONGEST_LINE = 8192  # bytes
_TAIL = 40  # lines
KILL_SECONDS = (
    5.0  # for a killed process to end; one that the kernel keeps (a disk that hangs) is not waited for longer
)
# PR_SET_PDEATHSIG is 1. It is the thread that counts as the parent: only the main thread may start a child. Should
# that be gone before the call, no signal ever comes: hence the look at the parent afterwards.
_LAUNCH = (
    "import ctypes, os, sys\n"
    "if sys.platform == 'linux': ctypes.CDLL(None).prctl(1, 9)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


@contextmanager
def sole_parent(path: Path) -> Iterator[int]:
    """Hold the lock file, after ending what a killed server may have left. Yields the descriptor that children
    inherit. Raises BackupError when another process holds it and does not end.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, path)
        os.ftruncate(descriptor, 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        pid = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
        _kill_orphan(pid)
        if time.monotonic() > deadline:
            raise BackupError(
                f"a Litestream of a former run (process {pid or 'unknown'}) still holds {path}: it would copy the "
                "database a second time; end it, then start again"
            )
        time.sleep(0.05)


def _kill_orphan(pid: str) -> None:
    """Kill the process if it is what we once started: its command line says so."""
    if not pid.isdigit():
        return
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"replicate" in command or _LAUNCH.encode() in command:
            os.kill(int(pid), signal.SIGKILL)


class Child:
    """One running program: its output line by line, its end. Leaves nothing of its process group behind."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process = process
        self._output = trio.lowlevel.FdStream(os.dup(process.stdout.fileno()))
        process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def wait(self) -> int:
        """Wait for the exit code, which is negative for a signal's number."""
        while (code := self._process.poll()) is None:
            try:
                descriptor = os.pidfd_open(self._process.pid)
            except (OSError, AttributeError):  # no Linux, or an old one
                await trio.sleep(0.1)
                continue
            try:
                await trio.lowlevel.wait_readable(descriptor)
            finally:
                trio.lowlevel.notify_closing(descriptor)
                os.close(descriptor)
        return code

    async def lines(self) -> AsyncIterator[str]:
        """The lines of both its output channels, until it ends."""
        rest = b""
        async for data in self._output:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace").strip()
            rest = rest[-_LONGEST_LINE:]
        if rest:
            yield rest.decode(errors="replace").strip()

    async def end(self, grace: float) -> bool:
        """SIGTERM, and SIGKILL after `grace` seconds. Whether it ended by itself. Not to be cancelled."""
        with trio.move_on_after(grace + KILL_SECONDS, shield=True):
            self._signal(signal.SIGTERM)
            with trio.move_on_after(grace) as patience:
                await self.wait()
            self.kill()
            await self.wait()
        return not patience.cancelled_caught

    def kill(self) -> None:
        """SIGKILL to its whole group."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._process.poll() is None:
                os.killpg(self._process.pid, number)

    async def close(self) -> None:
        with trio.move_on_after(KILL_SECONDS, shield=True):
            await self._output.aclose()


@asynccontextmanager
async def started(command: Sequence[str], *, folder: Path, lock: int | None = None) -> AsyncIterator[Child]:
    """Run a program in `folder`, in a session of its own; what is left of it at the end of the block is killed.

    `lock` is a descriptor that it inherits. Raises BackupError when it cannot be started.
    """
    # Popen and not trio's open_process: that starts in a worker thread, and with that thread the child would be
    # killed.
    try:
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - returns as soon as the program is loaded
            [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=environment(),
            start_new_session=True,
            pass_fds=() if lock is None else (lock,),
        )
    except OSError as error:
        raise BackupError(f"cannot run {command[0]}: {error}") from error
    if lock is not None:
        os.pwrite(lock, f"{process.pid}\n".encode(), 0)
    child = Child(process)
    try:
        yield child
    finally:
        child.kill()
        with trio.move_on_after(KILL_SECONDS, shield=True):
            await child.wait()
        await child.close()


async def finished(command: Sequence[str], *, folder: Path, stalled: float) -> tuple[int | None, list[str]]:
    """Run a program to its end: (exit code, its last lines). None: killed, for `folder` has not changed for
    `stalled` seconds, so that a restore may take hours, and a server that is silent may not.
    """
    said: deque[str] = deque(maxlen=_TAIL)
    async with started(command, folder=folder) as child, trio.open_nursery() as nursery:

        async def watch() -> None:
            before, since = _state(folder), trio.current_time()
            while trio.current_time() - since < stalled:
                await trio.sleep(min(0.5, stalled / 4))
                if (state := _state(folder)) != before:
                    before, since = state, trio.current_time()
            child.kill()

        nursery.start_soon(watch)
        async for line in child.lines():
            said.append(line)
        code = await child.wait()
        nursery.cancel_scope.cancel()
    return (None if code == -signal.SIGKILL else code), list(said)


def _state(folder: Path) -> list[tuple[str, int, int]]:
    """Every file with its size and time: changes when a restore gets on."""
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            stat = path.stat()
            found.append((path.name, stat.st_size, stat.st_mtime_ns))
    return sorted(found)
