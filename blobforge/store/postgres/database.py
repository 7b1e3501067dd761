"""A database is made ready: whose it is, which server it is on, and its schema. The first server that comes brings it
up to date, while others wait."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import resources
from typing import Any, Final

import psycopg

from blobforge.store.errors import DatabaseError, StoreUnavailable
from blobforge.store.postgres import schema_sql as sql
from blobforge.store.postgres.connecting import connect

OLDEST: Final = 15
# What calls itself PostgreSQL, or speaks its protocol, and keeps other promises: what `version()` says of it.
_OTHERS: Final = {
    "CockroachDB": "CockroachDB",
    "-YB-": "YugabyteDB",
    "Yugabyte": "YugabyteDB",
    "Redshift": "Redshift",
}
_REFUSED_EXTENSIONS: Final = {"citus": "Citus"}
TURNS_SKIPPED: Final = 1_000_000_000  # a thousand a second, for eleven days
_SHOWN: Final = 5  # tables that are named
# A table that is changed is locked as a whole, and statements that come meanwhile queue behind that: it is asked for
# briefly and again, until no report or copy reads the table. Less than PostgreSQL's deadlock_timeout (1 s), so that
# a reader does not end as the victim.
LOCK_WAIT_MS: Final = 500
PATIENCE: Final = 60.0  # seconds
_BETWEEN: Final = 0.5
_IN_THE_WAY: Final = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


def migrations() -> list[str]:
    """The scripts, oldest first. `turn.schema` is how many of them the database has."""
    folder = resources.files("blobforge.store.postgres") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text() for name in names]


def prepare(url: str, scripts: Sequence[str] | None = None) -> None:
    """Refuse what is no database for us, and bring its schema up to date. Raises DatabaseError."""
    with opened(url) as connection:
        refuse_others(connection)
        migrate(connection, migrations() if scripts is None else scripts)


@contextmanager
def opened(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection. Raises DatabaseError, also for what PostgreSQL says while it is used."""
    with damage_told(), closing(connect(url)) as connection:
        yield connection


@contextmanager
def damage_told() -> Iterator[None]:
    """Raises DatabaseError where PostgreSQL does not answer, or says that something is wrong."""
    try:
        yield
    except (StoreUnavailable, psycopg.Error) as error:
        said = " ".join(str(error).split())
        raise DatabaseError(f"the database of BLOBFORGE_DATABASE_URL cannot be used: {said}") from error


def refuse_others(connection: psycopg.Connection[Any]) -> None:
    """Raises DatabaseError for a server that does not keep what we rely on."""
    ((said, number, encoding),) = connection.execute(sql.VERSION).fetchall()
    extensions = [name for (name,) in connection.execute(sql.EXTENSIONS)]
    why = refusal(str(said), int(number), str(encoding), extensions)
    if why is not None:
        raise DatabaseError(why)


def refusal(said: str, number: int, encoding: str, extensions: Sequence[str]) -> str | None:
    """Why the server cannot be used, in one line; None: it can. `said` is its version as it says it, `number` the
    same as a number (150018 for 15.18)."""
    for sign, name in _OTHERS.items():
        if sign in said:
            return (
                f"the server of BLOBFORGE_DATABASE_URL is {name}, which keeps other promises than PostgreSQL about "
                f"locks and NOTIFY: use PostgreSQL {OLDEST} or newer"
            )
    for extension, name in _REFUSED_EXTENSIONS.items():
        if extension in extensions:
            return (
                f"the database of BLOBFORGE_DATABASE_URL has the extension {name}, which locks rows by shard: "
                f"use a database of plain PostgreSQL"
            )
    if number < OLDEST * 10_000:
        return f"the server of BLOBFORGE_DATABASE_URL is PostgreSQL {number // 10_000}: {OLDEST} or newer is needed"
    if encoding != "UTF8":
        return (
            f"the database of BLOBFORGE_DATABASE_URL keeps texts in {encoding}: make another one "
            "(CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0)"
        )
    return None


def migrate(
    connection: psycopg.Connection[Any],
    scripts: Sequence[str],
    *,
    installation: Callable[[], str] | None = None,
    patience: float = PATIENCE,
) -> None:
    """Bring the schema up to date, all of it in one transaction; other servers that come meanwhile wait for it.
    Raises DatabaseError for what is another program's, or needs a newer release, and for tables that stay in use for
    so long (seconds)."""
    until = time.monotonic() + patience
    while True:
        try:
            with connection.transaction():
                _migrate(connection, scripts, (installation or new_installation)())
        except _IN_THE_WAY as error:
            if time.monotonic() > until:
                raise DatabaseError(_in_use(connection)) from error
            time.sleep(_BETWEEN)
        else:
            return


def _migrate(connection: psycopg.Connection[Any], scripts: Sequence[str], installation: str) -> None:
    connection.execute(sql.ALONE)
    version = _version(connection, len(scripts))
    if version < len(scripts):
        connection.execute(sql.LOCK_WAIT, (f"{LOCK_WAIT_MS}ms",))
        if version:
            connection.execute(sql.STOP_TURNS)
        for script in scripts[version:]:
            connection.execute(script.encode())
        connection.execute(sql.SET_SCHEMA, (len(scripts),))
    connection.execute(sql.NAME_INSTALLATION, (installation,))


def _version(connection: psycopg.Connection[Any], known: int) -> int:
    version, oldest = _versions(connection)
    if oldest > known:
        raise DatabaseError(
            f"the database has schema version {version}, which this BlobForge (it knows {known}) may no longer write "
            "to: update it"
        )
    return version


def _in_use(connection: psycopg.Connection[Any]) -> str:
    """What keeps the tables from being changed."""
    found = connection.execute(sql.TABLES_IN_USE).fetchall()
    named = "; ".join(
        f"{name or 'no name'} (process {pid}, {round(seconds)} s: {tables})" for pid, name, seconds, tables in found
    )
    return (
        "the database of BLOBFORGE_DATABASE_URL has to be migrated, and its tables stay in use. Nothing was changed. "
        f"Transactions that have tables now: {named or 'none any more'}. End those that have been there for long "
        "(SELECT pg_terminate_backend(...)), or wait for them, and start again"
    )


def _versions(connection: psycopg.Connection[Any]) -> tuple[int, int]:
    """The version of the schema, and the oldest one that servers must know; zeros for an empty database."""
    tables = [str(name) for (name,) in connection.execute(sql.TABLES)]
    if not tables:
        return 0, 0
    if not {"turn", "jobs", "job_counts"} <= set(tables):
        raise DatabaseError(
            "the database of BLOBFORGE_DATABASE_URL is another program's (tables: "
            f"{', '.join(tables[:_SHOWN])}). It was left as it is: name an empty one"
        )
    if "copying" in tables:
        raise DatabaseError(
            "the database of BLOBFORGE_DATABASE_URL is a copy that has not ended: run `blobforge db copy` again, "
            "which goes on where it was, or name an empty database"
        )
    ((version, oldest),) = connection.execute(sql.SCHEMA).fetchall()
    return int(version), int(oldest)


def is_there(url: str) -> bool:
    """Whether the database has been made ready before. Raises DatabaseError."""
    return version(url) > 0


def version(url: str) -> int:
    """The version of its schema; 0: it is empty. Raises DatabaseError, also for what cannot be used."""
    with opened(url) as connection:
        refuse_others(connection)
        return _version(connection, len(migrations()))


def mark_restored(url: str, *, now: int) -> None:
    """As one that came out of a backup. Numbers of turns, which are in the ids of events, are not given again either:
    as many as there may have been since are left out. Raises DatabaseError."""
    prepare(url)
    with opened(url) as connection, connection.transaction():
        connection.execute(sql.MARK_RESTORED, (now,))
        connection.execute(sql.FORGET_LOG)
        connection.execute(sql.SKIP_TURNS, (TURNS_SKIPPED,))


def new_installation() -> str:
    """An id for a new database: 64 random bits, and a letter first (blobforge/objects/keys.py says why)."""
    return f"b{secrets.token_hex(8)}"
