"""The data folder: one server at a time, private files, written whole or not at all."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

READY_FILE = "server.json"  # {"url", "pid", "version"} while the server is ready
TOKEN_FILE = "admin-token"  # the first administrator's; the command line on this machine finds it
LINK_FILE = "sign-in-link"  # signs the first administrator in, once
SECRET_FILE = "signing-secret"


class StartError(Exception):
    """The server cannot start. The message is one line that says why and what to do."""


def prepare(folder: Path) -> None:
    """Make the folder, for us alone. Raises StartError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StartError(f"cannot make the data folder {folder} (BLOBFORGE_DATA_DIR): {error}") from error


@contextmanager
def locked(what: Path) -> Iterator[None]:
    """One server for each data folder and each database: a second one would break every promise. Raises StartError.

    The lock is the process's and goes with it, however it ends.
    """
    path = what.with_name(what.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
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
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def signing_secret(folder: Path) -> bytes:
    """What local URLs are signed with; made once, never shown."""
    path = folder / SECRET_FILE
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    return bytes.fromhex(path.read_text().strip())
