"""Opening: pragmas in force, refusals, and migrations that happen whole or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import apsw
import pytest

from blobforge.store.errors import DatabaseError
from blobforge.store.sqlite import database
from blobforge.store.sqlite.database import check_sqlite_version, migrate, migrations, open_reader, open_writer


def tables(connection: apsw.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_the_pragmas_are_really_in_force(tmp_path: Path) -> None:
    db = open_writer(tmp_path / "x.db")
    assert db.pragma("journal_mode") == "wal"
    assert db.pragma("synchronous") == 2  # FULL: what COMMIT acknowledged is on the disk
    assert db.pragma("foreign_keys") == 1
    assert db.pragma("user_version") == len(migrations())
    db.close()


def test_foreign_keys_are_enforced(tmp_path: Path) -> None:
    db = open_writer(tmp_path / "x.db")
    with pytest.raises(apsw.ConstraintError):
        db.execute("INSERT INTO job_tags (tag, job_id) VALUES ('t', 77)")
    db.close()


def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "x.db"
    db = open_writer(path)
    db.execute("INSERT INTO worker_counts VALUES ('online', 0)")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert {file.name for file in path.parent.iterdir()} == {"x.db", "x.db-wal", "x.db-shm"}
    db.close()


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    db = open_writer(tmp_path / "x.db")
    reader = open_reader(tmp_path / "x.db")
    with pytest.raises(apsw.ReadOnlyError):
        reader.execute("DELETE FROM jobs")
    reader.close()
    db.close()


@pytest.mark.parametrize("version", ["3.51.2", "3.50.9", "3.9.0", "2.99.99"])
def test_a_sqlite_that_can_lose_data_is_refused(version: str) -> None:
    with pytest.raises(DatabaseError, match=rf"SQLite {version} .*3\.51\.3"):
        check_sqlite_version(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.51.10", "3.52.0", "4.0.0"])
def test_a_newer_sqlite_is_welcome(version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: version)
    open_writer(tmp_path / "x.db").close()
    assert (tmp_path / "x.db").exists()


def test_the_check_is_made_at_each_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "OLDEST_SQLITE", (99, 0, 0))
    with pytest.raises(DatabaseError, match=r"99\.0\.0"):
        open_writer(tmp_path / "x.db")
    assert not (tmp_path / "x.db").exists()


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    open_writer(tmp_path / "x.db").close()
    db = open_writer(tmp_path / "x.db")
    assert db.pragma("user_version") == len(migrations())
    assert db.pragma("integrity_check") == "ok"
    db.close()


def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    db = open_writer(path)
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(DatabaseError, match=r"version 99.*newer release") as error:
        open_writer(path)
    assert "\n" not in str(error.value)
    raw = apsw.Connection(str(path))
    assert raw.pragma("user_version") == 99
    raw.close()


@pytest.mark.parametrize("content", [b"this is no database, it is a text file" * 100, None])
def test_what_is_no_database_is_said_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.db"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(DatabaseError, match="cannot open the database") as error:
        open_writer(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "broken",
    [
        "CREATE TABLE b (x); CREATE TABLE a (x);",  # a is there already
        "CREATE TABLE b (x); INSERT INTO b VALUES (1); SELECT no_such_function();",
        "CREATE TABLE b (x); this is no SQL;",
    ],
)
def test_a_migration_that_fails_half_way_leaves_the_old_version_and_schema(tmp_path: Path, broken: str) -> None:
    db = apsw.Connection(str(tmp_path / "x.db"))
    first = "CREATE TABLE a (x); INSERT INTO a VALUES (1);"
    migrate(db, [first])
    with pytest.raises(apsw.Error):
        migrate(db, [first, "CREATE TABLE c (x);", broken])
    # The second script is whole with its version; of the third there is nothing.
    assert db.pragma("user_version") == 2
    assert tables(db) == {"a", "c"}
    assert not db.in_transaction
    migrate(db, [first, "CREATE TABLE c (x);", "CREATE TABLE b (x);"])
    assert db.pragma("user_version") == 3
    assert tables(db) == {"a", "b", "c"}
    assert list(db.execute("SELECT x FROM a")) == [(1,)]
    db.close()


def test_the_version_is_in_the_same_transaction_as_the_script(tmp_path: Path) -> None:
    """The fault of the original: its version was set after the commit. Here another connection never sees between."""
    path = tmp_path / "x.db"
    db = apsw.Connection(str(path))
    db.execute("PRAGMA journal_mode=WAL")
    other = apsw.Connection(str(path))
    seen = set()

    def look(*_: object) -> bool:
        seen.add((other.pragma("user_version"), "a" in tables(other)))
        return False

    db.set_progress_handler(look, 1)
    db.set_wal_hook(lambda *_: look() or apsw.SQLITE_OK)
    migrate(db, ["CREATE TABLE a (x);"])
    look()
    assert seen == {(0, False), (1, True)}
    other.close()
    db.close()


def test_a_migration_and_its_version_are_one_transaction(tmp_path: Path) -> None:
    """A server that is killed between the two would run the migration again; here there is nothing in between."""
    db = apsw.Connection(str(tmp_path / "broken.db"))

    def no_version(operation: int, name: str | None, value: str | None, *_: object) -> int:
        sets = operation == apsw.SQLITE_PRAGMA and name == "user_version" and value is not None
        return apsw.SQLITE_DENY if sets else apsw.SQLITE_OK

    db.authorizer = no_version
    with pytest.raises(apsw.AuthError):
        database.migrate(db)
    db.authorizer = None
    assert list(db.execute("SELECT name FROM sqlite_master")) == []
    assert db.pragma("user_version") == 0
