"""The folder that results are written to. State owned here: which folders in it are known to be folders.

A result appears under its name whole, or not at all. What is there and was not fetched by us is never written over,
and no link leads a result out of the folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from blobforge.cli.common import CONFLICT, CliError
from blobforge.client.transfer import naming

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)  # Windows has none
_HINT = "Move it away, or let it be replaced with --overwrite."


class FolderBusy(Exception):
    """Another run writes to the folder."""

    def __init__(self, root: Path) -> None:
        super().__init__(f"Another run fetches into {root}.")


class Written(NamedTuple):
    """A file as it is now."""

    size: int
    mtime_ns: int
    sha256: str


class Folder:
    """Safe to use from several threads: they make the same folders, at the worst."""

    def __init__(self, root: Path, *, overwrite: bool = False) -> None:
        self.root = root
        self._overwrite = overwrite
        self._made: set[Path] = set()

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other run writes here meanwhile, whatever it knows of the folder. Raises FolderBusy. Where the file
        system knows no locks, or the folder may not be read, only the ledger's lock is left."""
        try:
            import fcntl  # Windows has none
        except ImportError:
            yield
            return
        try:
            opened = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        except PermissionError:
            yield
            return
        try:
            with suppress(OSError):
                try:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise FolderBusy(self.root) from error
            yield
        finally:
            os.close(opened)

    def adopt(self, path: str, size: int | None, sha256: str | None) -> Written | None:
        """What stands at `path` already, if it is just these bytes."""
        target = self.root / path
        if size is None or sha256 is None or not self._leads_nowhere_else(target):
            return None
        try:
            status = target.lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_size != size:
                return None
            with target.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                    return None
        except OSError:
            return None
        return Written(size, status.st_mtime_ns, sha256)

    def write(self, path: str, content: bytes, sha256: str, *, known: bool) -> Written:
        """Make a file of these bytes. Raises CliError (something else is there) and OSError."""
        target = self.ready(path, known=known)
        part = _part(target)
        try:
            with naming(target), open(os.open(part, _FLAGS, 0o666), "wb") as file:
                file.write(content)
            os.replace(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return Written(len(content), target.lstat().st_mtime_ns, sha256)

    def take(self, path: str, from_: Path, sha256: str, *, known: bool) -> Written:
        """Make a file of the one at `from_`, which goes. Raises CliError (something else is there) and OSError."""
        target = self.ready(path, known=known)
        try:
            os.replace(from_, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            part = _part(target)
            try:
                part.unlink(missing_ok=True)
                with naming(target):
                    shutil.copyfile(from_, part)
                os.replace(part, target)
            finally:
                part.unlink(missing_ok=True)
            from_.unlink()
        status = target.lstat()
        return Written(status.st_size, status.st_mtime_ns, sha256)

    def copy(self, path: str, from_: str, sha256: str, *, known: bool) -> Written:
        """Make a file of the one at `from_`, which stays. Raises CliError (something else is there) and OSError."""
        target = self.ready(path, known=known)
        part = _part(target)
        try:
            part.unlink(missing_ok=True)
            with naming(target):
                shutil.copyfile(self.root / from_, part, follow_symlinks=False)
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
        status = target.lstat()
        return Written(status.st_size, status.st_mtime_ns, sha256)

    def remove(self, path: str) -> None:
        """Remove an earlier result that stands under another name now, and the folders that it was alone in."""
        target = self.root / path
        if not self._leads_nowhere_else(target):
            return
        target.unlink(missing_ok=True)
        for folder in target.parents:
            if folder == self.root:
                break
            try:
                folder.rmdir()
            except OSError:
                break
            self._made.discard(folder)

    def ready(self, path: str, *, known: bool) -> Path:
        """The place of a file that is to be made; its folder is there. Raises CliError (something else is there) and
        OSError."""
        target = self.root / path
        self._make(target.parent)
        try:
            status = target.lstat()
        except FileNotFoundError:
            return target
        if stat.S_ISDIR(status.st_mode):
            raise CliError(f"{path} is a folder in {self.root}.", CONFLICT, "Move it away.")
        if not known and not self._overwrite:
            raise CliError(f"{path} is in {self.root} and was not fetched by us.", CONFLICT, _HINT)
        return target

    def _make(self, folder: Path) -> None:
        if folder in self._made or folder == self.root:
            return
        self._make(folder.parent)
        try:
            folder.mkdir()
        except FileExistsError:
            if not stat.S_ISDIR(folder.lstat().st_mode):
                shown = folder.relative_to(self.root)
                raise CliError(
                    f"{shown} in {self.root} is no folder, or a link to one.", CONFLICT, "Move it away."
                ) from None
        self._made.add(folder)

    def _leads_nowhere_else(self, target: Path) -> bool:
        between = [folder for folder in target.parents if folder.is_relative_to(self.root) and folder != self.root]
        return not any(folder.is_symlink() for folder in between)


def _part(target: Path) -> Path:
    """Its own for each file, so that what a killed run has left is written over by the next one. No result's name
    begins with a dot."""
    return target.with_name(f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}.part")
