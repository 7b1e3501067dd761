"""SQLite as an engine: a file, one connection that writes to it, and some that read from it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from blobforge.store.keeping import FileStats, OnCopied
from blobforge.store.sqlite import check, compare, database, export, recovery, upkeep
from blobforge.store.sqlite.commons import FileCommons
from blobforge.store.sqlite.reader import Reader
from blobforge.store.sqlite.store import Store
from blobforge.store.whole import DatabaseExport


class SqliteKeeper:
    """The care of a database file, by the modules of this folder."""

    def check(self, path: Path, /) -> list[str]:
        return check.check(path)

    def stats(self, path: Path, /) -> FileStats:
        return upkeep.stats(path)

    def copy(self, path: Path, to: Path, /, *, checked: bool = True, on_copied: OnCopied | None = None) -> list[str]:
        return upkeep.backup(path, to, checked=checked, on_copied=on_copied)

    def shrink(self, path: Path, /) -> tuple[int, int]:
        return upkeep.vacuum(path)

    def prepare(self, path: Path, /, *, now: int) -> None:
        recovery.prepare(path, now=now)

    def missing(self, live: Path, copy: Path, /, *, until: int) -> list[str]:
        return compare.missing(live, copy, until=until)


class SqliteEngine:
    """The database in a file. With `litestream`, its WAL is left for that to read and to checkpoint."""

    def __init__(self, path: Path, *, litestream: bool = False) -> None:
        self.path = path
        self.keeper = SqliteKeeper()
        self._litestream = litestream

    @property
    def schema(self) -> int:
        return len(database.migrations())

    def version(self) -> int:
        if not self.exists():
            return 0
        database.refuse_others(self.path)
        return upkeep.schema_version(self.path)

    def mark_restored(self, *, now: int) -> None:
        recovery.mark(self.path, now=now)

    def exists(self) -> bool:
        return self.path.is_file() and self.path.stat().st_size > 0

    def open_store(self) -> Store:
        return Store(database.open_writer(self.path, checkpoints=not self._litestream))

    def open_reader(self) -> Reader:
        return Reader(database.open_reader(self.path))

    def commons(self, folder: Path) -> FileCommons:
        return FileCommons(folder)

    def follow(self) -> None:
        """There is one server."""

    def export(self) -> AbstractContextManager[DatabaseExport]:
        return export.departing(self.path)

    def damage_told(self) -> AbstractContextManager[None]:
        return database.damage_told(self.path)
