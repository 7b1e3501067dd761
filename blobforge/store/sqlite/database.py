"""Opening the database: pragmas, the version of SQLite, migrations."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import apsw
import msgspec

from blobforge.store.errors import DatabaseError
from blobforge.store.sqlite import belonging, sql

# Before this version two connections that checkpoint at once could corrupt a WAL (fixed upstream in 3.51.3).
OLDEST_SQLITE = (3, 51, 3)
BUSY_TIMEOUT_MS = 5_000
# Of the writer's connection. With SQLite's own 2 MiB and 1,000 pages, a batch of submissions, whose hashes lie all
# over an index, read most of its pages again and ended in a checkpoint each time.
CACHE_KIB = 32_768
CHECKPOINT_PAGES = 10_000
# Of each connection that reads. A page that counts the heads of some 900 lines of jobs reads more than 2 MiB of an
# index: it read them from the file again each time.
READING_CACHE_KIB = 8_192


# What SQLite raises for flipped bytes: they may have hit a name in the schema, or a value that a rule is for.
_DAMAGE = (
    apsw.CorruptError, apsw.NotADBError, apsw.IOError, apsw.SQLError, apsw.ConstraintError, apsw.MismatchError,
    apsw.SchemaChangeError,
)  # fmt: skip


def check_sqlite_version(version: str) -> None:
    """Refuse a SQLite that can lose data. Raises DatabaseError."""
    parts = tuple(int(part) for part in version.split("."))
    if parts < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        raise DatabaseError(f"SQLite {version} can corrupt its WAL; {oldest} or newer is needed: upgrade apsw.")


def open_writer(path: Path, *, checkpoints: bool = True) -> apsw.Connection:
    """Open (or create) the database for its one writer, and migrate it. Raises DatabaseError.

    `synchronous=FULL`: what COMMIT acknowledged is on the disk. Without `checkpoints`, the WAL is left as it is, for
    Litestream, which reads it: see `DatabaseFile.leave_checkpoints`.
    """
    check_sqlite_version(apsw.sqlite_lib_version())
    path.parent.mkdir(parents=True, exist_ok=True)
    connection: apsw.Connection | None = None
    try:
        refuse_others(path)
        connection = apsw.Connection(str(path))
        keep_plans(connection)
        path.chmod(0o600)  # it holds hashes of credentials; SQLite gives its side files the same mode
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        # Before anything else is written: a file that has tables takes it only from `blobforge db vacuum`.
        connection.execute(sql.AUTO_VACUUM)
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        if not checkpoints:
            connection.execute(sql.AUTO_CHECKPOINT.format(pages=0)).fetchall()
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        else:
            connection.execute(sql.AUTO_CHECKPOINT.format(pages=CHECKPOINT_PAGES)).fetchall()
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(sql.CACHE_SIZE.format(kib=CACHE_KIB))
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA temp_store=MEMORY")
        migrate(connection)
        connection.execute(sql.NAME_INSTALLATION, (new_installation(),))
    except DatabaseError:
        if connection is not None:
            connection.close()
        raise
    except (apsw.CorruptError, apsw.NotADBError, apsw.ReadOnlyError, apsw.SQLError) as error:
        if connection is not None:
            connection.close()
        raise DatabaseError(_damaged(path, error)) from error
    except (apsw.Error, OSError) as error:
        if connection is not None:
            connection.close()
        raise DatabaseError(f"cannot open the database {path}: {error}") from error
    return connection


def refuse_others(path: Path) -> None:
    """Raises DatabaseError, before anything is written, for a file that is not ours or of a newer release."""
    why = belonging.refusal(path, belonging.judge(path), len(migrations()))
    if why is not None:
        raise DatabaseError(why)


def new_installation() -> str:
    """An id for a new database: 64 random bits, and a letter first (blobforge/objects/keys.py says why)."""
    return f"b{secrets.token_hex(8)}"


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """What a start meets while it reads the database that it has opened. Raises DatabaseError for what says that the
    file is damaged: SQLite's own error, or a value that no release has written."""
    try:
        yield
    except (*_DAMAGE, ValueError, KeyError, msgspec.MsgspecError) as error:
        raise DatabaseError(_damaged(path, error)) from error
    except DatabaseError as error:  # a reader's
        if isinstance(error.__cause__, _DAMAGE):
            raise DatabaseError(_damaged(path, error.__cause__)) from error
        raise


def _damaged(path: Path, error: Exception) -> str:
    if isinstance(error, apsw.NotADBError):  # its first page is damaged, or it never was one
        return f"cannot open the database {path}: {error}; it is damaged, or another program's: move it away"
    if isinstance(error, apsw.ReadOnlyError):  # the file itself may be written: its mode has just been set
        error = ValueError("its header says that no SQLite of today may write it")
    return (
        f"the database {path} is damaged: {error}. `blobforge db check` says more; put a backup in its place "
        "(`blobforge backup restore`), or move the file away to begin with an empty one"
    )


def open_reader(path: Path) -> apsw.Connection:
    """Open the database read-only. The file must be there and migrated."""
    return for_reading(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY))


def for_reading(connection: apsw.Connection) -> apsw.Connection:
    """The same connection, with what the reader's statements need."""
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.execute("PRAGMA query_only=ON")
    connection.execute(sql.CACHE_SIZE.format(kib=READING_CACHE_KIB))
    # SQLite's own `lower` knows ASCII only.
    connection.create_scalar_function("casefold", _casefold, 1, deterministic=True)
    keep_plans(connection)
    return connection


def _casefold(*texts: apsw.SQLiteValue) -> str:
    return str(texts[0]).casefold()


def keep_plans(connection: apsw.Connection) -> None:
    """Plan a statement once, whatever is bound to it.

    Else SQLite looks at the values, and plans anew each time one is bound. To pick the next job took 22 µs of CPU so,
    and takes 3.
    """
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)


def migrations() -> list[str]:
    """The scripts, oldest first. The database's `user_version` is how many of them it has."""
    folder = resources.files("blobforge.store.sqlite") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(folder / name).read_text() for name in names]


def migrate(connection: apsw.Connection, scripts: list[str] | None = None) -> None:
    """Bring the schema up to date: each script in one transaction with its version. Raises DatabaseError."""
    scripts = migrations() if scripts is None else scripts
    version = _user_version(connection)
    if version > len(scripts):
        raise DatabaseError(
            f"the database has schema version {version}, this BlobForge knows {len(scripts)}: "
            "it was written by a newer release; run that one."
        )
    for number, script in enumerate(scripts[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(script)
            connection.execute(f"PRAGMA user_version={number}")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _user_version(connection: apsw.Connection) -> int:
    version = connection.pragma("user_version")
    assert isinstance(version, int)
    return version
