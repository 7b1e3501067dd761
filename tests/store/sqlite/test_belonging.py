"""A file that is not ours is told of and left as it is, byte for byte; ours of every release is taken."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path

import apsw
import pytest

from blobforge.store.errors import DatabaseError
from blobforge.store.sqlite import belonging, upkeep
from blobforge.store.sqlite.belonging import APPLICATION_ID, Owner
from blobforge.store.sqlite.database import migrate, migrations, open_writer
from tests.fixtures import original


def state(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Each file's bytes, mode and time of change."""
    return {
        file.name: (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mode, file.stat().st_mtime_ns)
        for file in folder.iterdir()
    }


@pytest.mark.parametrize("wal", [False, True], ids=["closed", "killed"])
@pytest.mark.parametrize("version", range(1, 7))
def test_a_database_of_the_original_is_told_of_and_left_as_it_is(tmp_path: Path, version: int, wal: bool) -> None:
    path = tmp_path / "blobforge.db"
    original.made(path, version, wal=wal)
    path.chmod(0o644)
    before = state(tmp_path)
    with pytest.raises(DatabaseError, match=rf"of the original BlobForge \(its schema {version}\)") as refused:
        open_writer(path)
    assert "BLOBFORGE_DB_PATH" in str(refused.value)
    assert f"blobforge import {path}" in str(refused.value)
    assert "docs/moving-over.md" in str(refused.value)
    assert "\n" not in str(refused.value)
    with pytest.raises(DatabaseError, match="of the original"):
        upkeep.vacuum(path)
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE notes (text)",
        "CREATE TABLE jobs (id)",
        "CREATE TABLE jobs (id); CREATE TABLE workers (id); PRAGMA application_id=7",
        "PRAGMA application_id=7",
        "PRAGMA user_version=3",
    ],
)
def test_another_programs_database_is_left_as_it_is(tmp_path: Path, script: str) -> None:
    path = tmp_path / "blobforge.db"
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute(script)
    before = state(tmp_path)
    with pytest.raises(DatabaseError, match="another program's database"):
        open_writer(path)
    assert state(tmp_path) == before


@pytest.mark.parametrize("version", range(1, len(migrations()) + 1))
def test_ours_of_every_release_is_taken_and_then_carries_our_id(tmp_path: Path, version: int) -> None:
    path = tmp_path / "blobforge.db"
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        migrate(connection, migrations()[:version])
    assert belonging.judge(path).owner is Owner.OURS
    with contextlib.closing(open_writer(path)) as connection:
        assert connection.pragma("application_id") == APPLICATION_ID


def test_ours_that_was_killed_before_its_first_checkpoint_is_taken(tmp_path: Path) -> None:
    path, killed = tmp_path / "blobforge.db", tmp_path / "killed"
    killed.mkdir()
    with contextlib.closing(open_writer(path)):
        for file in tmp_path.glob("blobforge.db*"):
            shutil.copyfile(file, killed / file.name)
    assert belonging.judge(killed / "blobforge.db").owner is Owner.OURS
    open_writer(killed / "blobforge.db").close()


def test_ours_that_was_stopped_in_the_middle_of_a_checkpoint_is_taken(tmp_path: Path) -> None:
    """Some pages of the file are newer than others: by itself it is malformed, with its WAL it is whole."""
    path, killed = tmp_path / "blobforge.db", tmp_path / "killed"
    killed.mkdir()
    with contextlib.closing(open_writer(path)) as connection:
        connection.execute("PRAGMA application_id=0")  # as of a release before the id
        for file in tmp_path.glob("blobforge.db*"):
            shutil.copyfile(file, killed / file.name)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        whole = path.read_bytes()
    half = bytearray(len(whole))
    half[:4096] = whole[:4096]
    (killed / "blobforge.db").write_bytes(half)
    before = state(killed)
    assert belonging.judge(killed / "blobforge.db").owner is Owner.OURS
    assert state(killed) == before
    open_writer(killed / "blobforge.db").close()


def test_a_newer_release_of_ours_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "blobforge.db"
    with contextlib.closing(open_writer(path)) as connection:
        connection.execute("PRAGMA user_version=99")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = state(tmp_path)
    with pytest.raises(DatabaseError, match=r"version 99.*newer release"):
        open_writer(path)
    assert state(tmp_path) == before


def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    path = tmp_path / "blobforge.db"
    path.touch()
    open_writer(path).close()
    assert belonging.judge(path).owner is Owner.OURS
