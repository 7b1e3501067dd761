"""Which engine keeps the state: the one place that knows them by name. For the server, and for the commands that work
on a database without one."""

from __future__ import annotations

import secrets
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any

from blobforge.config import Settings
from blobforge.store.commons import Commons
from blobforge.store.engine import Engine
from blobforge.store.errors import DatabaseError
from blobforge.store.keeping import Keeper
from blobforge.store.sqlite import original
from blobforge.store.sqlite import tables as sqlite_tables
from blobforge.store.sqlite.commons import FileCommons
from blobforge.store.sqlite.engine import SqliteEngine, SqliteKeeper
from blobforge.store.tables import NewTables, Tables
from blobforge.store.whole import Original


def engine_of(settings: Settings) -> Engine:
    """The database of this configuration. Raises DatabaseError where what it needs is not installed."""
    if settings.database_url:
        return postgres_at(settings.database_url)
    return SqliteEngine(settings.database, litestream=settings.backs_up)


def postgres_at(url: str) -> Engine:
    """The database of this URL, for a run that is new. Raises DatabaseError."""
    engine: Engine = _postgres("engine").PostgresEngine(url, secrets.token_hex(8))
    return engine


def file_named(url: str) -> Path | None:
    """The file that `sqlite:///relative.db`, `sqlite:////an/absolute.db` or a plain path names; None for the URL of a
    database on PostgreSQL. Raises DatabaseError for another one."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        return Path(url)
    if scheme == "sqlite" and rest.startswith("/"):
        return Path(rest[1:])
    if scheme in {"postgresql", "postgres"}:
        return None
    raise DatabaseError(f"{scheme}:// names no database that can be copied: use sqlite:///FILE or postgresql://...")


def tables_of(url: str) -> AbstractContextManager[Tables]:
    """All rows of this database, which nothing writes to. Raises DatabaseError."""
    path = file_named(url)
    return sqlite_tables.reading(path) if path is not None else _postgres("tables").reading(url)


def new_tables_at(url: str, installation: str) -> AbstractContextManager[NewTables]:
    """A database that is to be a copy of that installation. Raises DatabaseError."""
    path = file_named(url)
    if path is not None:
        return sqlite_tables.making(path, installation)
    made: AbstractContextManager[NewTables] = _postgres("tables").making(url, installation)
    return made


def check_at(url: str) -> list[str]:
    """What is wrong with a database on PostgreSQL, a sentence each. Raises DatabaseError."""
    findings: list[str] = _postgres("check").check(url)
    return findings


def commons_of(url: str, folder: Path) -> Commons:
    """What its servers have in common; `folder` is that of the server, where it is a file."""
    if file_named(url) is not None:
        return FileCommons(folder)
    shared: Commons = _postgres("engine").PostgresEngine(url, "").commons(folder)
    return shared


def _postgres(module: str) -> Any:
    """A module of the engine, which is an extra."""
    try:
        return import_module(f"blobforge.store.postgres.{module}")
    except ImportError as error:  # or it is there, and finds no libpq
        raise DatabaseError(
            f"PostgreSQL needs what is not installed ({error}): pip install 'blobforge-server[postgres]'"
        ) from error


def keeper_of_files() -> Keeper:
    """The keeper of database files that are named, copies for example, and of those that come out of a backup."""
    return SqliteKeeper()


def original_in(path: Path) -> AbstractContextManager[Original]:
    """The original BlobForge's database: SQLite, whatever keeps ours. Raises DatabaseError for what is none, or is in
    use."""
    return original.opened(path)
