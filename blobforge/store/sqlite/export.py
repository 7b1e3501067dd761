"""All of a database file, to be taken elsewhere, also beside a running server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from blobforge.store.errors import DatabaseError
from blobforge.store.sql.export import DatabaseExport
from blobforge.store.sqlite.database import migrations, open_reader, refuse_others
from blobforge.store.sqlite.statements import Queries


@contextmanager
def departing(path: Path) -> Iterator[DatabaseExport]:
    """All of a database of ours, also beside a running server. Raises DatabaseError."""
    try:
        refuse_others(path)
        with closing(open_reader(path)) as connection:
            if connection.pragma("user_version") != len(migrations()):
                raise DatabaseError(f"{path} was written by an older release: start the server once")
            yield DatabaseExport(Queries(connection), len(migrations()))
    except apsw.Error as error:
        raise DatabaseError(f"cannot read the database {path}: {error}") from error
