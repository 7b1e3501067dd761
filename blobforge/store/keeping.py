"""What is done to a database's file: beside a server, in its absence, or by its writer. Optional for an engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

OnCopied = Callable[[int, int], None]  # pages copied, pages in all


class Table(msgspec.Struct, frozen=True):
    name: str
    rows: int


class FileStats(msgspec.Struct, frozen=True):
    """A database file. Sizes are in bytes, times in ms since the epoch; `incremental`: free pages can be given back
    while the server runs."""

    path: str
    size: int
    wal_size: int
    page_size: int
    pages: int
    free_pages: int
    incremental: bool
    schema_version: int
    sqlite_version: str
    tables: list[Table]
    oldest_job: int | None
    newest_job: int | None
    last_change: int | None
    oldest_audit: int | None
    newest_audit: int | None


class DatabaseFile(Protocol):
    """The file that the writer has open."""

    def pages(self) -> tuple[int, int]:
        """How many pages it has, and how many of them are free."""

    def free_pages(self, most: int) -> None:
        """Give up to so many free pages back to the file system. Does nothing in a file without auto_vacuum."""

    def leave_checkpoints(self, *, to_litestream: bool) -> None:
        """Checkpoint after commits, as SQLite does by itself, or never.

        Litestream reads the WAL, then checkpoints; a checkpoint in between takes frames away that it has not read.
        It does not always notice: restored backups were found corrupt (docs/adr/0021). Without Litestream, SQLite has
        to, or the WAL grows for ever.
        """


class Keeper(Protocol):
    """Each raises DatabaseError for a file that cannot be used so; times are in ms since the epoch."""

    def check(self, path: Path, /) -> list[str]:
        """What is wrong with the database, a sentence each, with counts and examples; empty when all is well.

        Of a database of an older release, only what it has is checked. A file that is no database is a finding, too.
        """

    def stats(self, path: Path, /) -> FileStats:
        """Describe the file. Counts every row: seconds for millions."""

    def copy(self, path: Path, to: Path, /, *, checked: bool = True, on_copied: OnCopied | None = None) -> list[str]:
        """Copy the database as it is at this moment, also while a server writes to it, and check the copy.

        Returns what is wrong with it, and then there is no copy. The file `to` is never written over, is ours alone
        (0600), and is there whole or not at all.
        """

    def shrink(self, path: Path, /) -> tuple[int, int]:
        """Write the file anew without its free pages, and prepare it for giving them back by and by.

        Returns its size before and after (bytes). The caller makes sure that no server has it open.
        """

    def prepare(self, path: Path, /, *, now: int) -> None:
        """Migrate a copy that came out of a backup, mark it as restored at `now`, check all of it, and have it on the
        disk: one file with nothing beside it. Raises Damaged for one that is not whole."""

    def missing(self, live: Path, copy: Path, /, *, until: int) -> list[str]:
        """What was in `live` at `until` and is not in `copy`: sentences, empty when all is there."""
