"""The read side on SQLite. State owned here: a read-only connection.

Each method is one short read transaction: a long one would keep the backup from checkpointing.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import apsw

from blobforge.store.figures import Space
from blobforge.store.sql.reader import SqlReader
from blobforge.store.sqlite.statements import Queries


class Reader(SqlReader):
    def __init__(self, connection: apsw.Connection) -> None:
        super().__init__(Queries(connection))
        self._file = connection.db_filename("main")

    def miscounts(self, *, most: int) -> None:
        """One server keeps them all."""

    def space(self) -> Space:
        parts: dict[str, int] = {}
        for name, file in (("main", self._file), ("wal", f"{self._file}-wal")):
            with suppress(OSError):  # no WAL yet
                parts[name] = Path(file).stat().st_size
        with suppress(OSError):
            disk = shutil.disk_usage(Path(self._file).parent)
            return Space(parts, (disk.free, disk.total))
        return Space(parts)
