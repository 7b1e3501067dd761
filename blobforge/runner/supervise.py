"""The program that stands between the worker and what it runs (Linux): it starts one command, and when that or the
worker has ended, it kills all that the command has left behind, and ends as the command did.

It is a "subreaper" (prctl(2)): a daemon that left its group and its session, and has wiped its environment, becomes
its child, and not that of process 1. So whatever a command starts stays below it, and is found there. A process that
another program starts at the command's request (systemd, Docker, cron) is not below it.

Where the worker may make cgroups (v2), the command has one of its own (`Box`): its end kills processes that fork
faster than the supervisor can look, and its memory is limited as a whole. Where not, nothing is lost but that.

Only the standard library is imported, and little of it: the program starts in some fifteen milliseconds.

Usage: supervise.py FD MAX_MEMORY COMMAND... On the socket FD it first writes the number of the error that kept the
command from starting, or 0, and a line end. Then it takes letters: `m` remembers what runs now, to be left alone; `s`
kills all but the command and what was remembered, and is answered by `d`. The end of the socket ends everything.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import select
import signal
import sys
from collections.abc import Iterable

_PR_SET_CHILD_SUBREAPER = 36
_PAUSE = 10  # milliseconds between two looks
_MOST_LOOKS = 500  # what forks faster than that, or cannot die, is left alone
_REAP = 1000  # milliseconds between two looks for orphans that have ended
_BOX = "blobforge-"  # and the supervisor's number: what a killed one has left behind is known by it
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Box:
    """The command's own cgroup. A process is put there, and taken out, by its number; 0 is the one that writes.

    Source: the kernel's "Control Group v2". A cgroup whose children have a memory limit can have no processes itself,
    so with a limit the box stands beside the worker's cgroup, and else in it.
    """

    def __init__(self, home: str, folder: str) -> None:
        self._home = home
        self._folder = folder

    @classmethod
    def make(cls, max_memory: int, *, own: str, place: str) -> Box | None:
        """A box in the cgroup `place` for what the process in the cgroup `own` starts. None: it may not make one."""
        try:
            _clear(place)
            folder = f"{place}/{_BOX}{os.getpid()}"
            if max_memory and place != own:
                with contextlib.suppress(OSError):
                    _write(f"{place}/cgroup.subtree_control", "+memory")
            os.mkdir(folder)
        except OSError:
            return None
        if max_memory and os.path.exists(f"{folder}/memory.max"):
            for name, value in (("max", str(max_memory)), ("swap.max", "0"), ("oom.group", "1")):
                with contextlib.suppress(OSError):  # not each kernel has each of them
                    _write(f"{folder}/memory.{name}", value)
        return cls(own, folder)

    def enter(self) -> bool:
        """Go there with this process, so that what it starts is born there. False: it may not."""
        try:
            _write(f"{self._folder}/cgroup.procs", "0")
        except OSError:
            self.remove()
            return False
        return True

    def leave(self) -> bool:
        try:
            _write(f"{self._home}/cgroup.procs", "0")
        except OSError:
            return False  # then it must not be killed: this process is in it
        return True

    def kill(self) -> None:
        """Kill all processes in the group at once. Kernels before 5.14 cannot."""
        with contextlib.suppress(OSError):
            _write(f"{self._folder}/cgroup.kill", "1")

    def remove(self) -> None:
        for _ in range(_MOST_LOOKS):
            try:
                os.rmdir(self._folder)
            except OSError as error:
                if error.errno != errno.EBUSY:
                    return
                select.poll().poll(_PAUSE)  # what was killed has not ended yet
            else:
                return


def box_for(max_memory: int) -> Box | None:
    """A box for what this process starts, where it has been given cgroups to make: by its service manager (systemd's
    `Delegate=`), or as a container with a hierarchy of its own."""
    try:
        with open("/proc/self/mountinfo") as file:
            mounts = [line.split() for line in file if " - cgroup2 " in line]
        with open("/proc/self/cgroup") as file:
            paths = [line[3:].rstrip("\n") for line in file if line.startswith("0::/")]
    except OSError:
        return None
    if not paths or not mounts or mounts[0][3] != "/":  # a part of the hierarchy: which, cannot be told from here
        return None
    top, path = mounts[0][4], paths[0].rstrip("/")
    own = top + path
    above = os.path.dirname(own) if path else own
    if path and _delegated(above):
        return Box.make(max_memory, own=own, place=above)
    if not path or _delegated(own):
        return Box.make(max_memory, own=own, place=own)
    return None


def _delegated(folder: str) -> bool:
    """Whether systemd leaves to us what is below: others of its cgroups are its own, also where root may write."""
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return False


def _clear(place: str) -> None:
    """Remove the boxes of supervisors that were killed. One that has processes cannot be removed."""
    for name in os.listdir(place):
        if name.startswith(_BOX) and not os.path.exists(f"/proc/{name.removeprefix(_BOX)}"):
            with contextlib.suppress(OSError):
                os.rmdir(f"{place}/{name}")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


class Supervisor:
    """Owns the command's process, its box, and which of its descendants are to be left alone."""

    def __init__(self, control: int, command: int, box: Box | None) -> None:
        self._box = box
        self._control = control
        self._command = command
        self._left_alone: set[int] = set()
        self._status: int | None = None

    def run(self) -> int:
        """Return the command's wait status, when nothing of it is left."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        pidfd = os.pidfd_open(self._command)
        poll.register(pidfd, select.POLLIN)
        while self._status is None:
            for fd, _ in poll.poll(_REAP):
                if fd == self._control and not self._ordered():
                    return self._end()
            self._reap()
        return self._end()

    def _ordered(self) -> bool:
        """Carry out an order; False when the worker wants, or has come to, an end."""
        try:
            letters = os.read(self._control, 64)
        except OSError:
            letters = b""
        for letter in letters:
            if letter == ord("m"):
                self._left_alone = self._descendants() - {self._command}
            else:
                self._kill({self._command})
                with contextlib.suppress(OSError):
                    os.write(self._control, b"d")
        return bool(letters)

    def _end(self) -> int:
        self._left_alone = set()
        if self._box is not None:
            self._box.kill()
        self._kill(set())
        while self._status is None:  # one that cannot die (a dead disk) is waited for, as the worker would
            self._reap(os.WEXITED)
        if self._box is not None:
            self._box.remove()
        return self._status

    def _kill(self, but: set[int]) -> None:
        """Kill every descendant but these, and but what is left alone with its own descendants."""
        for _ in range(_MOST_LOOKS):
            self._reap()
            parents = _parents()
            doomed = {
                pid for pid in self._descendants(parents) - but
                if not self._spared(pid, parents)
            }  # fmt: skip
            if not doomed:
                return
            for pid in doomed:
                with contextlib.suppress(OSError):
                    # The descriptor is taken before the second look: what is killed is what was looked at.
                    pidfd = os.pidfd_open(pid)
                    try:
                        if _parent(pid) == parents[pid]:
                            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    finally:
                        os.close(pidfd)
            select.poll().poll(_PAUSE)

    def _spared(self, pid: int, parents: dict[int, int]) -> bool:
        return any(each in self._left_alone for each in _line(pid, parents))

    def _descendants(self, parents: dict[int, int] | None = None) -> set[int]:
        parents = _parents() if parents is None else parents
        me = os.getpid()
        return {pid for pid in parents if pid != me and me in _line(pid, parents)}

    def _reap(self, options: int = os.WEXITED | os.WNOHANG) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, options | os.WNOWAIT)) is not None:
                _, status = os.waitpid(ended.si_pid, 0)
                if ended.si_pid == self._command:
                    self._status = status
                    return


def _line(pid: int, parents: dict[int, int]) -> Iterable[int]:
    """The process, its parent, and so on."""
    for _ in range(1000):  # what changes while it is read may look like a circle
        yield pid
        if pid not in parents:
            return
        pid = parents[pid]


def _parents() -> dict[int, int]:
    """The parent of each process that has not ended."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (parent := _parent(int(name))) is not None:
            found[int(name)] = parent
    return found


def _parent(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent = file.read().rpartition(b")")[2].split()[:2]
    except (OSError, ValueError):
        return None
    return None if state in (b"Z", b"X") else int(parent)


def _start(argv: list[str]) -> int:
    """Start the command with the signals as the worker had them. Raises OSError."""
    back = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores these for itself
    for number in _IGNORED:
        if signal.signal(number, signal.SIG_IGN) is not signal.SIG_IGN:
            back.append(number)
    return os.posix_spawnp(argv[0], argv, os.environ, setsigdef=back)


def main() -> None:
    control, max_memory, argv = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    os.set_inheritable(control, False)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if max_memory:
        resource.setrlimit(resource.RLIMIT_DATA, (max_memory, max_memory))
    box = box_for(max_memory)
    if box is not None and not box.enter():
        box = None
    try:
        command = _start(argv)
    except OSError as error:
        if box is not None and box.leave():
            box.remove()
        os.write(control, b"%d\n" % (error.errno or 1))
        os._exit(127)
    if box is not None and not box.leave():
        box = None
    # Its pipes are the command's: they end with it, and not with us.
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
    os.closerange(3, control)
    os.closerange(control + 1, max(control + 1, 256))
    os.write(control, b"0\n")
    status = Supervisor(control, command, box).run()
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):  # SIGKILL cannot be set, and need not be
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    main()
