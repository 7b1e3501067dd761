"""One file on its way in: written beside its final place, checked, and only then given its name.

State owned here: the temporary file. Everything here blocks and runs in a thread. Whatever goes wrong, `discard`
leaves nothing behind. The bytes are durable once sealed, the name once its folder is synced (`files.finish` does both
before it returns).
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

import structlog

from blobforge.objects import ObjectStoreError

DIR_MODE = 0o700
FILE_MODE = 0o600
log = structlog.get_logger("blobforge.objects")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreFullError(ObjectStoreError):
    """There is no room for the object."""


class UploadRefusedError(Exception):
    """The upload itself is wrong; nothing of it was kept."""


class TooLargeError(UploadRefusedError):
    """More than `limit` bytes came."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the object is larger than the {limit} bytes allowed")
        self.limit = limit


class NotWantedError(UploadRefusedError):
    """The object is not to be written any more, and the message says why."""


class AlreadyThereError(UploadRefusedError):
    """There is an object of that name, and nothing may write over it."""

    def __init__(self) -> None:
        super().__init__("there is an object already, and this URL writes over nothing")


class DigestMismatchError(UploadRefusedError):
    """The bytes are not those that the URL or the name promises. Both are 64 hex digits."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"the bytes do not match: expected SHA-256 {expected}, got {got}")
        self.expected = expected
        self.got = got


class Incoming:
    """A temporary file in `folder`. `reserve` bytes of the disk are left free: the database lives on it, too."""

    def __init__(self, folder: Path, *, reserve: int) -> None:
        self.path = folder / secrets.token_hex(16)
        self.size = 0
        self.mtime_ns = 0  # once sealed; a rename leaves it as it is
        self.done = False  # it has its name: there is nothing to discard
        self._reserve = reserve
        self._hash = hashlib.sha256()
        self._fd: int | None = None

    def write(self, chunks: Iterable[bytes]) -> None:
        """Append and hash `chunks`. Raises ObjectStoreError."""
        try:
            if self._fd is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
                self._fd = os.open(self.path, flags, FILE_MODE)
            disk = os.fstatvfs(self._fd)
            if disk.f_bavail * disk.f_frsize < self._reserve:
                log.warning("no room for objects", folder=str(self.path.parent), left_alone=self._reserve)
                raise StoreFullError("no room for objects: what is free on the store's disk is left alone")
            for chunk in chunks:
                self._hash.update(chunk)
                rest = memoryview(chunk)
                while rest:  # write(2) may take less than it is given
                    rest = rest[os.write(self._fd, rest) :]
                self.size += len(chunk)
        except OSError as error:
            raise os_failure("write an object", self.path.parent, error) from error

    def seal(self, expected: str | None) -> str:
        """Make the bytes durable; return their SHA-256. Raises DigestMismatchError when they are not `expected`."""
        digest = self._hash.hexdigest()
        if expected is not None and digest != expected:
            raise DigestMismatchError(expected, digest)
        assert self._fd is not None, "write() comes first, if only of nothing"
        fd, self._fd = self._fd, None
        try:
            try:
                os.fsync(fd)
                self.mtime_ns = os.fstat(fd).st_mtime_ns
            finally:
                os.close(fd)
        except OSError as error:  # a network file system may say ENOSPC only now
            raise os_failure("write an object", self.path.parent, error) from error
        return digest

    def move_to(self, target: Path) -> None:
        """Give the sealed file its name, replacing what is there. Raises OSError."""
        os.replace(self.path, target)
        self.done = True

    def discard(self) -> None:
        """Forget the file, wherever it stands. After `move_to` there is nothing left to forget."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self.path.unlink(missing_ok=True)


def os_failure(what: str, where: Path, error: OSError) -> ObjectStoreError:
    """Say in words what the system refused."""
    # Clients are told this: the folder is the operator's business, and stands in the log.
    log.warning("the object store refuses", what=what, folder=str(where), reason=str(error))
    if error.errno in _FULL:
        return StoreFullError(f"cannot {what}: the store's disk is full ({error.strerror})")
    return ObjectStoreError(f"cannot {what}: {error.strerror or error}; the server's log has the folder")


def make_folders(root: Path, folder: Path) -> list[Path]:
    """Create what is missing between `root` and `folder`; return the folders whose contents changed by that."""
    changed = []
    missing = [folder, *folder.parents]
    for path in reversed(missing[: missing.index(root)]):
        try:
            path.mkdir(mode=DIR_MODE)
        except FileExistsError:
            continue
        changed.append(path.parent)
    return changed


def sync_folder(folder: Path) -> None:
    """fsync a folder: only then are the names in it durable. One that is gone has no names to keep."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
