"""Whether a database is whole: SQLite's own checks, and every invariant of ours. For people, drills and tests.

Read-only. Each check is one statement, and judged at one moment; of a database that is being written to, it is not
the same one for all: while a statement runs, the WAL is not checkpointed, and grows by all that is written.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import apsw

from blobforge.store.sql.invariants import EXAMPLES, INVARIANTS
from blobforge.store.sqlite.database import BUSY_TIMEOUT_MS


def check(path: Path) -> list[str]:
    """What is wrong with the database, a sentence each, with counts and examples; empty when all is well.

    Of a database of an older release, only what it has is checked. A file that is no database is a finding, too.
    """
    try:
        connection = open_readonly(path)
    except apsw.Error as error:
        return [f"The database {path} cannot be opened: {error}."]
    try:
        return _integrity(connection) or _invariants(connection)
    except apsw.Error as error:
        return [f"The database {path} cannot be read: {error}."]
    finally:
        connection.close()


def open_readonly(path: Path) -> apsw.Connection:
    """A connection that writes nothing, not even side files: a copy at rest is left as it was found.

    Without a WAL beside it no process has the database open, and it can be read as it stands. Raises apsw.Error.
    """
    at_rest = not path.with_name(f"{path.name}-wal").exists()
    uri = f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' if at_rest else ''}"
    connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    return connection


def _integrity(connection: apsw.Connection) -> list[str]:
    """SQLite's findings. Where there are any, ours would only repeat them."""
    said = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
    findings = [f"SQLite's integrity check says: {line}." for line in said if line != "ok"]
    dangling = list(connection.execute("PRAGMA foreign_key_check"))
    if dangling:
        some = ", ".join(f"{table} row {row} without its {parent}" for table, row, parent, _ in dangling[:EXAMPLES])
        findings.append(f"{len(dangling)} foreign keys lead nowhere: {some}.")
    return findings


def _invariants(connection: apsw.Connection) -> list[str]:
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if "jobs" not in tables:
        return ["This is a SQLite database, but none of BlobForge's: it has no table of jobs."]
    columns = {
        f"{table}.{name}" for table in tables for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")
    }
    known = tables | columns
    asked = (each for each in INVARIANTS if known.issuperset(each.reads))
    found = (each.finding(connection.execute(each.query)) for each in asked)
    return [finding for finding in found if finding is not None]
