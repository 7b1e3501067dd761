"""The worker's side of the guard (see `strays.py`): a process that outlives it and kills what it leaves running.

State owned here: the guard process and the list of what runs. So a guard that was killed is replaced without a gap.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blobforge.runner import strays
from blobforge.runner.events import warn


class Guard:
    """Tells the guard process what runs. Used from the worker's main thread only."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._running: dict[str, int | None] = {}

    def add(self, cookie: str) -> None:
        """Something with this cookie is about to start. Raises OSError when no guard can be started."""
        self._running[cookie] = None
        self._tell(f"+ {cookie}\n")

    def leads(self, cookie: str, group: int) -> None:
        """It leads this process group."""
        self._running[cookie] = group
        self._tell(f"= {cookie} {group}\n")

    def remove(self, cookie: str) -> None:
        """Forget the cookie: no process with it is left."""
        if self._running.pop(cookie, None) is not None or self._process is not None:
            self._tell(f"- {cookie}\n")

    @contextmanager
    def open(self) -> Iterator[Guard]:
        """Guard until the block is left."""
        self._start()
        try:
            yield self
        finally:
            self._stop()

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            # -I, -S: nothing of the environment or of site-packages; it needs neither.
            [sys.executable, "-I", "-S", str(Path(strays.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # a signal to the worker's group (Ctrl-C, a closed terminal) is not for the guard
        )

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()
        # It has nothing left to do, unless we leave in a hurry; then it must not be waited for in vain.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)

    def _tell(self, line: str) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        try:
            process.stdin.write(line.encode())
            process.stdin.flush()
        except OSError:
            warn("guard-lost", "the guard process is gone; starting another")
            self._stop()
            self._start()
            for cookie, group in list(self._running.items()):
                self._tell(f"+ {cookie}\n" if group is None else f"= {cookie} {group}\n")
