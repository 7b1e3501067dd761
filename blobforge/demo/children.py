"""The processes that the demo starts, each with its log in a file, all of them stopped at the end."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

STOP_GRACE = 15.0  # seconds from TERM to KILL
STOPPED_WITHIN = 8 * STOP_GRACE  # all of them, one after the other
LINES_TOLD = 25  # of what a child said last


class ChildDied(Exception):
    """A process ended that should have stayed; the end of its log is the text."""


@dataclass
class DemoProcess:
    """One running program."""

    name: str
    process: trio.Process
    log: Path

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def log_tail(self) -> str:
        """The last lines that it said."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-LINES_TOLD:])

    def check(self) -> None:
        """Raises ChildDied when it has ended."""
        if not self.running:
            raise ChildDied(
                f"{self.name} ended with exit code {self.process.returncode}. It said:\n{self.log_tail()}"
            )


class Children:
    """Starts processes, and stops them in reverse order: the workers give their jobs back before the server goes."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._all: list[DemoProcess] = []
        self._killed: list[DemoProcess] = []
        self._folders: list[Path] = []

    async def start(self, name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> DemoProcess:
        """Run `blobforge ARGUMENTS`. Its own session keeps the terminal's Ctrl-C from it: we say when it stops."""
        return await self.run(name, [sys.executable, "-m", "blobforge.cli", *arguments], environment)

    async def run(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], **options: Any
    ) -> DemoProcess:
        """Run another program; `options` are those of a process."""
        path = self._logs / f"{name}.log"
        with path.open("wb") as log:
            process = await trio.lowlevel.open_process(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                **options,
            )
        child = DemoProcess(name, process, path)
        self._all.append(child)
        return child

    def kill(self, child: DemoProcess) -> None:
        """End one at once, on purpose: it is not missed any more."""
        child.process.kill()
        self._all.remove(child)
        self._killed.append(child)

    def remove_at_end(self, folder: Path) -> None:
        """The folder goes when all have ended."""
        self._folders.append(folder)

    def check(self) -> None:
        """Raises ChildDied when one of them has ended."""
        for child in self._all:
            child.check()

    async def stop(self) -> None:
        """End all that still run: TERM, patience, KILL."""
        while self._all:
            child = self._all.pop()
            if child.running:
                child.process.terminate()
                with trio.move_on_after(STOP_GRACE):
                    await child.process.wait()
            if child.running:
                child.process.kill()
            await child.process.wait()
        for child in self._killed:
            await child.process.wait()
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def children(logs: Path) -> AsyncIterator[Children]:
    """Children that are stopped however the block ends."""
    started = Children(logs)
    try:
        yield started
    finally:
        with trio.move_on_after(STOPPED_WITHIN, shield=True):
            await started.stop()
