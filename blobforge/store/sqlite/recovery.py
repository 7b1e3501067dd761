"""The mark on a copy that came out of a backup.

A copy is marked before it is put in place, and the mark goes in the transaction that voids its leases: whatever
happens in between, no server goes on as if nothing had been lost.
"""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from blobforge.store.errors import Damaged, DatabaseError
from blobforge.store.sql.sql import MARK_RESTORED
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.check import check
from blobforge.store.sqlite.database import open_writer


def mark(path: Path, *, now: int) -> None:
    """Migrate the file, and mark it as restored at `now` (ms). Raises DatabaseError."""
    connection = open_writer(path)
    try:
        connection.execute(MARK_RESTORED, (now,))
        connection.execute(sql.CHECKPOINT).fetchall()
    except apsw.Error as error:
        raise DatabaseError(f"cannot prepare the restored database {path}: {error}") from error
    finally:
        connection.close()


def prepare(path: Path, *, now: int) -> None:
    """Migrate the copy, mark it as restored at `now` (ms), check all of it, and have it on the disk.

    Afterwards it is one file with nothing beside it. Raises Damaged, or DatabaseError (a newer schema, a full disk).
    """
    try:
        mark(path, now=now)
    except DatabaseError as error:
        if isinstance(error.__cause__, (apsw.CorruptError, apsw.NotADBError)):
            raise Damaged(f"SQLite says: {error.__cause__}.") from error
        raise
    findings = check(path)
    if findings:
        more = f" (and {len(findings) - 3} more findings)" if len(findings) > 3 else ""
        raise Damaged(" ".join(findings[:3]) + more)
    for each in (path, path.parent):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
