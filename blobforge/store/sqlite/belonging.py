"""Whose database a file is, judged before anything is written: ours, of which release, or another program's.

Databases of this program carry its application id (https://www.sqlite.org/fileformat.html, offset 68). Those of its
first releases have none, and are known by their tables. A file that is not ours is left as it is, byte for byte: it
is read as one that does not change, so that SQLite makes no side files, recovers no WAL and takes no lock.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote

import apsw

from blobforge.store.sqlite import sql

APPLICATION_ID = 0x426C6246  # "BlbF", set by a migration
_OURS = frozenset({"jobs", "attempts", "job_counts"})  # since the first release
_ORIGINAL = frozenset({"jobs", "workers"})  # of the system that this one replaces
_SHOWN = 5  # tables that are named


class Owner(Enum):
    NOBODY = "nobody"  # there is no file, or nothing in it
    OURS = "ours"
    ORIGINAL = "the original BlobForge"
    ANOTHER = "another program"


@dataclass(frozen=True)
class Belonging:
    """`version` is the schema's (`user_version`), `tables` the names of some tables, for the message to the
    operator."""

    owner: Owner
    version: int = 0
    tables: tuple[str, ...] = ()


def judge(path: Path) -> Belonging:
    """Look at the file without touching it. Raises apsw.Error for what is no database, OSError."""
    if not path.exists() or path.stat().st_size == 0:
        return Belonging(Owner.NOBODY)
    # The file alone may be in the middle of a checkpoint, or empty before the first. What it says to be ours is ours;
    # for anything else a copy is asked, with what stands beside it.
    if _beside(path):
        with contextlib.suppress(apsw.Error), _alone(path) as connection:
            found = _look(connection)
            if found.owner is Owner.OURS:
                return found
    with untouched(path) as connection:
        return _look(connection)


@contextlib.contextmanager
def untouched(path: Path) -> Iterator[apsw.Connection]:
    """All that a database says that no process has open, without a change to it: where something stands beside the
    file, a copy is asked. Raises apsw.Error, OSError."""
    beside = _beside(path)
    if not beside:
        with _alone(path) as connection:
            yield connection
        return
    with tempfile.TemporaryDirectory(prefix="blobforge-") as folder:
        for file in (path, *beside):
            shutil.copyfile(file, Path(folder) / file.name)
        with contextlib.closing(apsw.Connection(str(Path(folder) / path.name))) as connection:
            yield connection


def _beside(path: Path) -> list[Path]:
    files = (path.with_name(path.name + suffix) for suffix in ("-wal", "-journal"))
    return [file for file in files if file.exists() and file.stat().st_size > 0]


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[apsw.Connection]:
    uri = f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    with contextlib.closing(apsw.Connection(uri, flags=flags)) as connection:
        yield connection


def refusal(path: Path, found: Belonging, newest: int) -> str | None:
    """Why the file cannot be used as the server's database, in one line; None: it can. `newest` is our schema's."""
    untouched = "It was left as it is."
    match found.owner:
        case Owner.ORIGINAL:
            return (
                f"{path} is a database of the original BlobForge (its schema {found.version}), "
                f"which this server cannot go on with. {untouched} Set BLOBFORGE_DB_PATH to a new file, and "
                f"`blobforge import {path}` takes over what is in it (docs/moving-over.md)"
            )
        case Owner.ANOTHER:
            tables = f" (tables: {', '.join(found.tables)})" if found.tables else ""
            return f"{path} is another program's database{tables}. {untouched} Set BLOBFORGE_DB_PATH to another file"
        case Owner.OURS if found.version > newest:
            return (
                f"the database has schema version {found.version}, this BlobForge knows {newest}: "
                "it was written by a newer release; run that one."
            )
        case _:
            return None


def _look(connection: apsw.Connection) -> Belonging:
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    assert isinstance(application, int)
    assert isinstance(version, int)
    tables = frozenset(str(name) for (name,) in connection.execute(sql.TABLES))
    some = tuple(sorted(tables)[:_SHOWN])
    if application == APPLICATION_ID or (application == 0 and tables >= _OURS):
        return Belonging(Owner.OURS, version, some)
    if application == 0 and not tables and version == 0:
        return Belonging(Owner.NOBODY)
    if application == 0 and tables >= _ORIGINAL:
        return Belonging(Owner.ORIGINAL, version, some)
    return Belonging(Owner.ANOTHER, version, some)
