"""What the writer does to the database file that it has open: free pages go back, and checkpoints are made or not."""

from __future__ import annotations

from blobforge.store.sqlite import sql
from blobforge.store.sqlite.database import CHECKPOINT_PAGES
from blobforge.store.sqlite.statements import Statements


class SqliteFile:
    def __init__(self, statements: Statements) -> None:
        self._do = statements

    def pages(self) -> tuple[int, int]:
        row = self._do.row(sql.PAGES, ())
        assert row is not None
        return int(row[0]), int(row[1])

    def free_pages(self, most: int) -> None:
        self._do.rows(sql.FREE_PAGES.format(most=most))

    def leave_checkpoints(self, *, to_litestream: bool) -> None:
        self._do.rows(sql.AUTO_CHECKPOINT.format(pages=0 if to_litestream else CHECKPOINT_PAGES))
