"""Which engine keeps the state: the one place that knows them by name. For the server, and for the commands that work
on a database without one."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from blobforge.config import Settings
from blobforge.store.engine import Engine
from blobforge.store.keeping import Keeper
from blobforge.store.sqlite import original
from blobforge.store.sqlite.engine import SqliteEngine, SqliteKeeper
from blobforge.store.whole import Original


def engine_of(settings: Settings) -> Engine:
    """The database of this configuration."""
    return SqliteEngine(settings.database, litestream=settings.backs_up)


def keeper_of_files() -> Keeper:
    """The keeper of database files that are named, copies for example, and of those that come out of a backup."""
    return SqliteKeeper()


def original_in(path: Path) -> AbstractContextManager[Original]:
    """The original BlobForge's database: SQLite, whatever keeps ours. Raises DatabaseError for what is none, or is in
    use."""
    return original.opened(path)
