"""`blobforge db`, as its users run it: beside a running server, without one, and on files that are no good."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import apsw
import pytest

from blobforge.store.sqlite.check import check
from blobforge.store.sqlite.database import migrations, open_writer
from tests.cli.conftest import COMMAND, Running, clean_environment
from tests.fixtures.forked import Done, run
from tests.store.making import Book, submission


def blobforge(folder: Path, *arguments: str | Path, **environment: str) -> Done:
    """Run a command in a folder; no server is needed."""
    return run([*map(str, arguments)], environment=clean_environment(**environment), folder=folder)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data/blobforge.db`, as a stopped server leaves it: some jobs, and free pages of many more."""
    folder = tmp_path_factory.mktemp("db")
    book = Book(folder / "data" / "blobforge.db")
    book.register("w1")
    book.do(*(submission(number, metadata=json.dumps("x" * 3000)) for number in range(400)))
    with book.store.transaction():
        for job_id in range(1, 391):
            job = book.store.job(job_id)
            assert job is not None
            book.store.delete_job(job)
    book.close()
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "here"))


def ok(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def told(done: subprocess.CompletedProcess[str], code: int) -> str:
    """What a failure says, in a few lines."""
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr


# ------------------------------------------------------------------ check


def test_a_sound_database(here: Path) -> None:
    done = blobforge(here, "db", "check")
    assert ok(done) == ""
    assert "all is well" in done.stderr
    assert json.loads(ok(blobforge(here, "db", "check", "--json")))["ok"] is True


def test_one_that_is_not(here: Path) -> None:
    connection = apsw.Connection(str(here / "data" / "blobforge.db"))
    connection.execute("UPDATE job_counts SET n = 77")
    connection.close()
    done = blobforge(here, "db", "check")
    told(done, 1)
    assert done.stdout.startswith("1 counters of jobs that are not what counting says")
    done = blobforge(here, "db", "check", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False


def test_any_file_can_be_named(here: Path) -> None:
    ok(blobforge(here / "data", "db", "check", "blobforge.db"))
    ok(blobforge(here, "db", "check", BLOBFORGE_DB_PATH="data/blobforge.db", BLOBFORGE_DATA_DIR="elsewhere"))
    (here / "text").write_text("no database")
    assert blobforge(here, "db", "check", "text").returncode == 1


@pytest.mark.parametrize("command", ["check", "stats", "vacuum", "backup"])
def test_no_database_is_said_with_where_it_was_looked_for(tmp_path: Path, command: str) -> None:
    rest = ["copy.db"] if command == "backup" else []
    error = told(blobforge(tmp_path, "db", command, *rest), 1)
    assert "no database data/blobforge.db" in error
    assert "BLOBFORGE_DATA_DIR" in error
    assert list(tmp_path.iterdir()) == [], "and nothing was made"


# ------------------------------------------------------------------ backup


def test_a_copy_is_whole_checked_and_private(here: Path) -> None:
    done = blobforge(here, "db", "backup", "copy.db")
    copy = here / "copy.db"
    assert ok(done) == "copy.db\n"
    assert "checked" in done.stderr
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert check(copy) == []
    assert sorted(path.name for path in here.iterdir()) == ["copy.db", "data"], "and nothing beside it"
    # A server starts from it.
    open_writer(copy).close()


def test_nothing_is_written_over(here: Path) -> None:
    (here / "copy.db").write_text("precious")
    assert "exists already" in told(blobforge(here, "db", "backup", "copy.db"), 1)
    assert (here / "copy.db").read_text() == "precious"


def test_into_a_folder_under_the_date(here: Path) -> None:
    (here / "copies").mkdir()
    name = ok(blobforge(here, "db", "backup", "copies")).strip()
    assert Path(name).name.startswith("blobforge-20")
    assert [path.name for path in (here / "copies").iterdir()] == [Path(name).name]
    answer = json.loads(ok(blobforge(here, "db", "backup", "other.db", "--json")))
    assert (answer["path"], answer["checked"]) == ("other.db", True)


def test_a_place_that_cannot_be_written_to(here: Path) -> None:
    assert "cannot write nowhere/copy.db" in told(blobforge(here, "db", "backup", "nowhere/copy.db"), 1)


def test_a_copy_of_what_is_not_sound_is_not_kept_unless_asked_for(here: Path) -> None:
    connection = apsw.Connection(str(here / "data" / "blobforge.db"))
    connection.execute("UPDATE job_counts SET n = 77")
    connection.close()
    error = told(blobforge(here, "db", "backup", "copy.db"), 1)
    assert "1 counters of jobs" in error
    assert "--unchecked" in error
    assert [path.name for path in here.iterdir()] == ["data"]
    ok(blobforge(here, "db", "backup", "copy.db", "--unchecked"))
    assert (here / "copy.db").exists()


def test_a_copy_under_load_is_that_of_one_moment(tmp_path: Path) -> None:
    """Somebody writes all the time: the copy ends all the same, and its counters are those of its jobs."""
    book = Book(tmp_path / "data" / "blobforge.db")
    book.register("w1")
    book.do(*(submission(("first", number), metadata=json.dumps("x" * 2000)) for number in range(4000)))
    copying = subprocess.Popen(
        [*COMMAND, "db", "backup", "copy.db"],
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    number = 0
    while copying.poll() is None:
        number += 1
        book.do(submission(number))
    assert copying.returncode == 0, copying.stderr.read() if copying.stderr else ""
    if copying.stderr is not None:
        copying.stderr.close()
    assert number > 10
    book.close()
    assert check(tmp_path / "copy.db") == []


# ------------------------------------------------------------------ vacuum


def test_free_pages_are_given_back(here: Path) -> None:
    file = here / "data" / "blobforge.db"
    before = file.stat().st_size
    assert "freed" in ok(blobforge(here, "db", "vacuum"))
    assert file.stat().st_size < before / 2
    assert check(file) == []
    answer = json.loads(ok(blobforge(here, "db", "vacuum", "--json")))
    assert (answer["before"], answer["freed"]) == (file.stat().st_size, 0)


def test_a_file_from_before_learns_to_shrink(tmp_path: Path) -> None:
    from blobforge.store.sqlite.database import migrate

    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "blobforge.db"
    connection = apsw.Connection(str(file))
    connection.execute("PRAGMA journal_mode=WAL")
    migrate(connection, migrations())
    connection.close()
    assert json.loads(ok(blobforge(tmp_path, "db", "stats", "--json")))["incremental"] is False
    assert "db vacuum" in ok(blobforge(tmp_path, "db", "stats"))
    ok(blobforge(tmp_path, "db", "vacuum"))
    assert json.loads(ok(blobforge(tmp_path, "db", "stats", "--json")))["incremental"] is True
    connection = open_writer(file)
    assert (connection.pragma("auto_vacuum"), connection.pragma("journal_mode")) == (2, "wal")
    connection.close()


def test_a_new_database_has_learned_it(tmp_path: Path) -> None:
    connection = open_writer(tmp_path / "x.db")
    assert connection.pragma("auto_vacuum") == 2
    connection.close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root: mounts a small tmpfs")
def test_a_full_disk_is_told_and_costs_nothing(here: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    size = (here / "data" / "blobforge.db").stat().st_size + 100_000
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", small], check=False)
    if mounted.returncode != 0:
        pytest.skip("mount is refused here")
    try:
        shutil.copytree(here / "data", small / "data")
        error = told(blobforge(small, "db", "backup", "copy.db"), 1)
        assert "full" in error
        assert sorted(path.name for path in small.iterdir()) == ["data"]
        assert check(small / "data" / "blobforge.db") == []
    finally:
        subprocess.run(["umount", small], check=True)


# ------------------------------------------------------------------ stats


def test_what_the_file_holds(here: Path) -> None:
    found = json.loads(ok(blobforge(here, "db", "stats", "--json")))
    rows = {table["name"]: table["rows"] for table in found["tables"]}
    assert (rows["jobs"], rows["workers"]) == (10, 1)
    assert found["size"] == (here / "data" / "blobforge.db").stat().st_size
    assert found["pages"] * found["page_size"] == found["size"]
    assert found["free_pages"] > 100
    assert found["schema_version"] == len(migrations())
    assert found["oldest_job"] <= found["newest_job"] <= found["last_change"]
    text = ok(blobforge(here, "db", "stats"))
    assert "jobs\t10\n" in text
    assert "schema version" in text


# ------------------------------------------------------------------ beside a running server


def test_beside_a_running_server(running: Running, tmp_path: Path) -> None:
    source = tmp_path / "a.txt"
    source.write_text("a document")
    running.ok("submit", source, "--type", "txt")
    assert "all is well" in running.blobforge("db", "check").stderr
    running.ok("db", "backup", "copy.db")
    assert check(running.folder / "copy.db") == []
    assert running.json("db", "stats")["incremental"] is True
    error = told(running.blobforge("db", "vacuum"), 5)
    assert "another BlobForge holds" in error
    _orphans(running)
    assert running.server is not None
    assert running.server.poll() is None


def _orphans(running: Running) -> None:
    """Two sources that nobody submitted, one of them only now; and an upload that broke off."""
    folder = running.folder / "data" / "objects"
    old = time.time() - 2 * 86_400
    for name, at in (("ab" * 32, old), ("cd" * 32, time.time())):
        path = folder / "sources" / name[:2] / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 2048)
        os.utime(path, (at, at))
    broken = folder / "incoming" / "broken off"
    broken.write_bytes(b"half")
    os.utime(broken, (old, old))
    done = running.blobforge("db", "orphans")
    assert ok(done) == f"sources/{'ab' * 32}\n"
    assert "1 orphan (2.0 KiB) and 1 broken-off upload could go" in done.stderr
    assert "--yes" in told(running.blobforge("db", "orphans", "--delete"), 2), "nobody is there to answer"
    found: dict[str, Any] = running.json("db", "orphans", "--delete", "--yes")
    assert (found["state"], found["orphans"], found["dry_run"]) == ("done", 1, False)
    while (folder / "sources" / "ab" / ("ab" * 32)).exists():
        time.sleep(0.05)
    assert (folder / "sources" / "cd" / ("cd" * 32)).exists()
    assert not broken.exists()
    assert running.json("db", "orphans")["orphans"] == 0


def test_the_commands_explain_themselves() -> None:
    done = subprocess.run([*COMMAND, "db", "--help"], capture_output=True, text=True, check=True)
    for command in ("check", "backup", "vacuum", "stats", "orphans"):
        assert f"  {command} " in done.stdout
