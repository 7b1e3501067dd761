"""Which process of a worker this is. State owned here: one small file for each worker id and server, in the user's
state folder, with the instance that last registered; and a lock on it for as long as its process lives.

A worker that is restarted says which instance it replaces, and takes over at once. Only the process that holds the
lock may say so: the one whose instance the file has is then known to have ended. Another machine under the same id
has another file, with an instance that is not the current one, and so ends no other worker's work.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blobforge.login import folders
from blobforge.runner.events import warn


def state_folder() -> Path:
    """Where the files are. Raises OSError where there is no such place."""
    folder = folders.state()
    if folder is None:
        raise OSError(folders.NO_HOME)
    return folder / "workers"


class InstanceFile:
    """`name` is this process's own; `replaces` that of the process before, once `open` has found that it is gone."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(16)
        self.replaces: str | None = None
        self._file: int | None = None

    @contextmanager
    def open(self, server: str, worker_id: str) -> Iterator[None]:
        """Look which process was this worker here before. A folder that cannot be written to costs only that."""
        try:
            self._file = _locked(server, worker_id)
            if self._file is not None:
                self.replaces = os.pread(self._file, 128, 0).decode("ascii", "replace").strip() or None
        except OSError as error:
            warn("no-state", f"cannot keep which process this worker is: {error}; a restart waits for its old lease")
        try:
            yield
        finally:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def keep(self) -> None:
        """The server has taken this process as the worker: the next one here replaces it."""
        if self._file is None:
            return
        try:
            os.pwrite(self._file, self.name.encode(), 0)
            os.ftruncate(self._file, len(self.name))
        except OSError as error:
            warn("no-state", f"cannot keep which process this worker is: {error}; a restart waits for its old lease")


def _locked(server: str, worker_id: str) -> int | None:
    """The open file, with its lock; None while another process has that."""
    folder = state_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = hashlib.sha256(f"{server}\n{worker_id}".encode()).hexdigest()[:32]
    file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        warn("id-in-use", f"another process on this machine runs as worker {worker_id}; give one of them another id")
        return None
    except OSError:
        os.close(file)
        raise
    return file
