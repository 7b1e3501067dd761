"""A VFS that writes down what SQLite asks of the disk, in order: writes, truncations, syncs, new files, deletions.

The real work is done by the system's own VFS on real files. `loss.py` makes of the list what a disk would hold that
lost its power after any entry of it. State owned here: the list.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw
import msgspec

# What outlives a connection. Temporary files (never synced, deleted when opened) are nobody's promise.
KEPT = apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL
# os_unix.c (`isNewJrnl`, UNIXFILE_DIRSYNC): the first sync of one of these also syncs the folder that it is in.
SYNC_THEIR_FOLDER = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL


class Created(msgspec.Struct, frozen=True):
    """A name in the folder, for a new, empty file with this number."""

    name: str
    file: int


class Written(msgspec.Struct, frozen=True):
    file: int
    offset: int
    data: bytes


class Cut(msgspec.Struct, frozen=True):
    """The file has this size from now on."""

    file: int
    size: int


class Synced(msgspec.Struct, frozen=True):
    file: int


class FolderSynced(msgspec.Struct, frozen=True):
    pass


class Deleted(msgspec.Struct, frozen=True):
    name: str


class Acknowledged(msgspec.Struct, frozen=True):
    """Somebody has been told that the first so many transactions are done."""

    transactions: int


Entry = Created | Written | Cut | Synced | FolderSynced | Deleted | Acknowledged


class Recorder(apsw.VFS):
    """`deaf`: files of these kinds (SQLITE_OPEN_WAL, ...) whose syncs do nothing, as with a disk that lies."""

    def __init__(self, name: str, *, deaf: int = 0) -> None:
        self.entries: list[Entry] = []
        self._numbers: dict[str, int] = {}
        self._deaf = deaf
        self._next = 0
        self.base = apsw.vfs_names()[0]
        super().__init__(name, self.base, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802 - SQLite's names, here and below
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or not flags[0] & KEPT:
            return super().xOpen(name, flags)
        new = not os.path.exists(path)
        file = _Recorded(name, flags, self, self.number(path, new=new))
        if new:
            self.entries.append(Created(os.path.basename(path), file.number))
        return file

    def xDelete(self, path: str, sync_folder: bool) -> None:  # noqa: N802
        super().xDelete(path, sync_folder)
        self._numbers.pop(path, None)
        self.entries.append(Deleted(os.path.basename(path)))
        if sync_folder:
            self.entries.append(FolderSynced())

    def number(self, path: str, *, new: bool) -> int:
        """The number of the file that has this name now."""
        if new or path not in self._numbers:
            self._numbers[path] = self._next
            self._next += 1
        return self._numbers[path]

    def hears(self, kind: int) -> bool:
        return not kind & self._deaf


class _Recorded(apsw.VFSFile):
    def __init__(self, name: Any, flags: list[int], recorder: Recorder, number: int) -> None:
        super().__init__(recorder.base, name, flags)
        self.number = number
        self._recorder = recorder
        self._kind = flags[0]
        self._folder_too = bool(flags[0] & SYNC_THEIR_FOLDER)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._recorder.entries.append(Written(self.number, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        super().xTruncate(size)
        self._recorder.entries.append(Cut(self.number, size))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        if not self._recorder.hears(self._kind):
            return
        self._recorder.entries.append(Synced(self.number))
        if self._folder_too:
            self._folder_too = False
            self._recorder.entries.append(FolderSynced())


@contextmanager
def recording(name: str, *, deaf: int = 0) -> Iterator[list[Entry]]:
    """What every connection that is opened in the block asks of the disk. Its files must be new, or `loss.Disk` be
    told of them."""
    recorder = Recorder(name, deaf=deaf)
    try:
        yield recorder.entries
    finally:
        recorder.unregister()
