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
# What libpq says of TLS without saying what to do.
_TLS_ADVICE: Final = {
    "certificate verify failed": (
        "the authority that has signed the database's certificate is not the one that was named; give its own with "
        "sslrootcert=FILE in BLOBFORGE_DATABASE_URL"
    ),
    "does not match host name": (
        "reach the database by a name that is in its certificate, or have one made that has this name"
    ),
    "server does not support SSL": (
        "turn it on in PostgreSQL (ssl = on, with a certificate), or ask for no TLS where the network is yours alone "
        "(sslmode=disable in BLOBFORGE_DATABASE_URL)"
    ),
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
    said = " ".join(str(error).split())
    for refused, advice in _TLS_ADVICE.items():
        if refused in said:
            return Lost(f"{said}: {advice}")
    told = raised(error)
    return told if told is not error else Lost(said)
