"""Find and kill what a command has left behind; and, run as a program, do so when the worker itself is killed.

As a program it is the guard: it reads from its stdin what runs, and when that pipe ends with something still
running, the worker was killed (kill -9, out of memory), and it kills what the worker could not. A pipe tells every
death of the worker. PR_SET_PDEATHSIG would not do: it goes by the thread that started the command, of which trio has
many that come and go, and it reaches the command itself only, not its children.

Only the standard library is imported, so that the program starts in some ten milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from enum import Enum
from pathlib import Path

COOKIE = "BLOBFORGE_ATTEMPT"
"""The variable that every process of an attempt carries in its environment, whatever group it went to."""


_LOOKS_AT_UNCLEAR = 5
_PAUSE = 0.01  # seconds
_MOST_LOOKS = 30  # what forks faster than that, or cannot die, is left alone
_SUPERVISORS = 3000  # milliseconds that they get to kill what is below them when the worker was killed
_DEATH = 500  # milliseconds that a killed process is waited for


def signal_group(group: int, number: signal.Signals) -> None:
    """Signal a process group; one that is gone is fine."""
    # PermissionError: all that is left of the group has changed its user.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def kill_strays(cookie: str) -> None:
    """Kill every process that carries this attempt's cookie. Blocking.

    It looks again while it finds some, because of what was forked meanwhile; and a few times more while there are
    processes that show no environment. One that is just being executed has none for a moment: its parent may
    already have ended.
    """
    wanted = f"{COOKIE}={cookie}".encode()
    unclear = 0
    for _ in range(_MOST_LOOKS):
        looks = [_look(pid, wanted) for pid in _pids()]
        if _Found.KILLED in looks:
            continue
        if _Found.UNCLEAR not in looks or unclear >= _LOOKS_AT_UNCLEAR:
            return
        unclear += 1
        time.sleep(_PAUSE)


def _pids() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:  # no /proc on this system: the group is all that we can find
        return []


class _Found(Enum):
    KILLED = 1
    UNCLEAR = 2
    ANOTHER = 3


def _look(pid: int, wanted: bytes) -> _Found:
    try:
        # The descriptor is taken before the look, so that what is killed is what was looked at.
        pidfd = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return _Found.ANOTHER
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        if not environment:
            os.readlink(f"/proc/{pid}/exe")  # OSError: a zombie, or a thread of the kernel
            return _Found.UNCLEAR
        if wanted not in environment.split(b"\0"):
            return _Found.ANOTHER
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        # Until it is gone it may be seen again: wait, but not for one that cannot die (a dead disk).
        gone = select.poll()
        gone.register(pidfd, select.POLLIN)
        gone.poll(_DEATH)
    except OSError:
        return _Found.ANOTHER
    finally:
        os.close(pidfd)
    return _Found.KILLED


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def guard() -> None:
    """Keep the list of what runs until stdin ends, then kill it.

    Lines: `+ COOKIE` before a command starts, `= COOKIE GROUP` once its group is known, `- COOKIE` when all of it is
    gone.
    """
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with its pipe; what stops the worker must not blind it
    running: dict[str, int | None] = {}
    for line in sys.stdin:
        verb, cookie, *group = line.split()
        if verb == "-":
            running.pop(cookie, None)
        else:
            running[cookie] = int(group[0]) if group else None
    # The supervisors see the same end, and know more of what is below them: their groups go by themselves.
    for _ in range(_SUPERVISORS // 20):
        if not any(group_id is not None and _exists(group_id) for group_id in running.values()):
            break
        time.sleep(0.02)
    for cookie, group_id in running.items():
        if group_id is not None:
            signal_group(group_id, signal.SIGKILL)
        kill_strays(cookie)


if __name__ == "__main__":
    guard()
