"""Which engine keeps the state: the one place that knows them by name. For the server, and for the commands that work
on a database without one."""

from __future__ import annotations

import secrets
from contextlib import AbstractContextManager
from pathlib import Path

from blobforge.config import Settings
from blobforge.store.engine import Engine
from blobforge.store.errors import DatabaseError
from blobforge.store.keeping import Keeper
from blobforge.store.sqlite import original
from blobforge.store.sqlite.engine import SqliteEngine, SqliteKeeper
from blobforge.store.whole import Original


def engine_of(settings: Settings) -> Engine:
    """The database of this configuration. Raises DatabaseError where what it needs is not installed."""
    if settings.database_url:
        return postgres_at(settings.database_url)
    return SqliteEngine(settings.database, litestream=settings.backs_up)


def postgres_at(url: str) -> Engine:
    """The database of this URL, for a run that is new."""
    try:
        from blobforge.store.postgres.engine import PostgresEngine
    except ImportError as error:  # an extra; or it is there, and finds no libpq
        raise DatabaseError(
            f"BLOBFORGE_DATABASE_URL needs what is not installed ({error}): pip install 'blobforge-server[postgres]'"
        ) from error
    return PostgresEngine(url, secrets.token_hex(8))


def keeper_of_files() -> Keeper:
    """The keeper of database files that are named, copies for example, and of those that come out of a backup."""
    return SqliteKeeper()


def original_in(path: Path) -> AbstractContextManager[Original]:
    """The original BlobForge's database: SQLite, whatever keeps ours. Raises DatabaseError for what is none, or is in
    use."""
    return original.opened(path)
