"""The worker's scratch folder: one for each run, locked while it lives, swept by a later one if it was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blobforge.client import Job as JobRecord
from blobforge.runner.events import say
from blobforge.runner.job import NoRoom, WorkerTrouble

PREFIX = "blobforge-work-"
_LOCK = ".lock"
MIN_FREE = 256 * 1024 * 1024  # bytes that a worker leaves free: below it converters die in strange ways


class Scratch:
    """Owns the run's folder. `base` is where it is made; it must exist."""

    def __init__(self, base: Path | None, *, min_free: int = MIN_FREE) -> None:
        # Absolute: commands run in their own folders, where a path from ours would lead nowhere.
        self.base = (base or Path(tempfile.gettempdir())).absolute()
        self._min_free = min_free
        self._folder: Path | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Sweep what killed runs have left, make a folder, remove it in the end. Raises OSError. Blocking."""
        self._sweep()
        lock = self._make()
        try:
            yield
        finally:
            if self._folder is not None:
                remove(self._folder)
            os.close(lock)

    def attempt(self, job: JobRecord) -> Path:
        """A private folder for one attempt. Raises NoRoom and WorkerTrouble. Blocking."""
        free = self.free()
        need = (job.source_size or 0) + self._min_free
        if free < need:
            raise NoRoom(
                f"the disk of {self.base} has {free:,} bytes free, and this job takes {need:,}: "
                f"its source ({job.source_size or 0:,}), and {self._min_free:,} to spare"
            )
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"{job.id}-", dir=self._home()))
            (folder / "outputs").mkdir()
        except OSError as error:
            raise WorkerTrouble(f"no working folder: {error}") from error
        return folder

    def _home(self) -> Path:
        """The run's folder; made anew where something that clears out temporary folders took it. Raises OSError."""
        assert self._folder is not None
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
        status = self._folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise OSError(f"{self._folder} is not ours any more")
        return self._folder

    def free(self) -> int:
        """Bytes free for us. Raises OSError."""
        return shutil.disk_usage(self.base).free

    def trouble(self) -> str | None:
        """Why no job should be taken now, None if all is well. Blocking."""
        try:
            free = self.free()
        except OSError as error:
            return f"the scratch folder cannot be used: {error}"
        if free < self._min_free:
            return f"the disk of {self.base} has {free:,} bytes free, and {self._min_free:,} are to stay free"
        return None

    def _make(self) -> int:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self.base))
            with suppress(OSError):
                lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
                if _locked(lock) and (folder / _LOCK).exists():
                    self._folder = folder
                    return lock
                os.close(lock)
            remove(folder)  # a sweep that ran just now had it first

    def _sweep(self) -> None:
        """Remove the folders whose runs are no more: the kernel drops a lock with the process that held it."""
        for folder in self.base.glob(f"{PREFIX}*"):
            with suppress(OSError):
                if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                    continue
                lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    if _locked(lock):
                        remove(folder)
                        say("scratch-swept", f"removed {folder}, which a killed run had left", folder=str(folder))
                finally:
                    os.close(lock)


def remove(folder: Path) -> None:
    """Remove a folder whatever modes are in it. Errors are passed over: a sweep follows."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists() and not folder.is_symlink():  # modes are changed below it, never elsewhere
        for parent, _folders, _files in os.walk(folder):
            with suppress(OSError):
                Path(parent).chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
