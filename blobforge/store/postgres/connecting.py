"""How connections are opened: what libpq is told beside the URL, which has the last word."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import conninfo

from blobforge.store.errors import DatabaseError
from blobforge.store.postgres.pipeline import Lost, Pipeline, raised

# Several hosts may be named: the one that can be written to is taken. A connection whose other end is gone is found
# dead within these (seconds, but for the last one, in ms), also where it waits for an answer.
_DEFAULTS: Final[dict[str, Any]] = {
    "application_name": "blobforge",
    "connect_timeout": 3,
    "target_session_attrs": "read-write",
    "keepalives": 1,
    "keepalives_idle": 3,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 5000,
}


def connect(url: str, **others: Any) -> psycopg.Connection[Any]:
    """A connection on which each statement is committed by itself. Raises StoreUnavailable where none can be had,
    DatabaseError for a URL that is none."""
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise DatabaseError(f"BLOBFORGE_DATABASE_URL is no URL of PostgreSQL: {error}") from error
    try:
        return psycopg.connect(**(_DEFAULTS | others | given), autocommit=True, client_encoding="UTF8")
    except psycopg.Error as error:
        raise _unavailable(error) from error


def open_pipeline(url: str) -> Pipeline:
    """Raises StoreUnavailable."""
    return Pipeline(connect(url))


def _unavailable(error: psycopg.Error) -> Exception:
    told = raised(error)
    return told if told is not error else Lost(" ".join(str(error).split()))
