"""The data folder: one server at a time, private files, written whole or not at all. State owned here: the locks on
it, and its small files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY_FILE = "server.json"  # {"url", "pid", "version"} while the server is ready
TOKEN_FILE = "admin-token"  # the first administrator's; the command line on this machine finds it
LINK_FILE = "sign-in-link"  # signs the first administrator in, once
SECRET_FILE = "signing-secret"  # where no database of several servers keeps it


class StartError(Exception):
    """The server cannot start. The message is one line that says why and what to do."""


def prepare(folder: Path) -> None:
    """Make the folder, for us alone. Raises StartError."""
    named = f"the data folder {folder} (BLOBFORGE_DATA_DIR)"
    if folder.is_symlink() and not folder.exists():
        there = folder.readlink()
        raise StartError(f"{named} is a link to {there}, which is not there: make that folder, or remove the link")
    if folder.exists() and not folder.is_dir():
        raise StartError(f"{named} is there, and no folder: move it away, or choose another one")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StartError(f"cannot make {named}: {error}") from error


@contextmanager
def locked(what: Path) -> Iterator[None]:
    """One server for each data folder and each database: a second one would break every promise. Raises StartError.

    What is locked is what the name leads to, through links: SQLite, too, keeps its WAL beside that. A hard link is
    another name with a WAL of its own, so that a database with two names is refused. The lock is the process's and
    goes with it, however it ends.
    """
    what = Path(os.path.realpath(what))
    path = what.with_name(what.name + ".lock")
    try:
        names = what.stat().st_nlink if what.is_file() else 1
    except OSError as error:  # a folder that we may not even look into
        raise StartError(f"cannot look at {what} (BLOBFORGE_DATA_DIR, BLOBFORGE_DB_PATH): {error}") from error
    if names > 1:
        raise StartError(
            f"{what} has another name (a hard link): opened by that one, it has another WAL, and two spoil it. "
            "Remove the other name"
        )
    for side in (what.with_name(what.name + end) for end in ("-wal", "-shm")):
        if side.is_symlink():
            raise StartError(f"{side} is a link; SQLite's own files belong beside their database. Move the file back")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)  # noqa: SIM115
        os.fchmod(file.fileno(), 0o600)
    except OSError as error:
        raise StartError(f"cannot make {path} (BLOBFORGE_DATA_DIR, BLOBFORGE_DB_PATH): {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StartError(
                f"another BlobForge holds {path} already; stop it, or choose another BLOBFORGE_DATA_DIR"
            ) from None
        yield


def write_private(path: Path, text: str) -> None:
    """Write a file that only we can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:  # a write that finds the disk full names no file
        raise StartError(f"cannot write {path}: {error.strerror or error}") from error
