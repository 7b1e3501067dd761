"""A database is copied from one engine to the other, and back: all rows, compared one by one."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from actors.effects.deletions import doubted
from actors.effects.transaction import Rules, Transaction
from actors.messages import ChangeType, Claim, Complete, Fail
from blobforge.installation import PrivateHalf, SigningKey, new_private_half
from blobforge.jobtype import TypeChanges
from blobforge.machinery import datadir
from blobforge.moving import copying
from blobforge.objects.keys import source_key
from blobforge.people import AuditEntry, Session, User
from blobforge.serve.engines import new_tables_at, tables_of
from blobforge.store.commons import signing_secret
from blobforge.store.errors import DatabaseError
from blobforge.store.postgres import check as on_postgres
from blobforge.store.postgres.commons import RowCommons
from blobforge.store.postgres.engine import PostgresEngine
from blobforge.store.sqlite import check as on_sqlite
from blobforge.store.sqlite.engine import SqliteEngine
from blobforge.store.tables import TABLES
from tests.cli.test_db import blobforge
from tests.fixtures.engines import contents, on_disk
from tests.fixtures.postgres import Cluster
from tests.store.making import ADMIN, Book, hash_of, submission
from tests.store.postgres.test_commons import server as a_server
from web.auth.sessions import Sealer

JOBS = 30
SECRET = "ab" * 32
PRIVATE = new_private_half()
USER = User(0, "issuer", "subject", None, "Zoë", ("staff",), False, 1, 1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A database with a past."""
    path = tmp_path / "data" / "blobforge.db"
    book = Book(path)
    book.register("w1", "w2")
    book.do(*(submission(number, tags=("a", f"t{number}"), metadata='{"x": "\\u0000é"}') for number in range(JOBS)))
    for at in range(6):
        (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
        if at == 0:
            book.do(submission("picky", requires='["gpu"]'), submission("another", requires='["zone=eu"]'))
        if at % 2:
            book.do(Fail(ADMIN, "w1", job.id, f"boom {at}", traceback="here", log_tail="there"))
        else:
            book.do(Complete(ADMIN, "w1", job.id, result='{"pages": 3}'))
    book.do(ChangeType("pdf", "token:1", TypeChanges(weights={"acme": 3, "": 2})))
    book.do(*(submission(f"of a group {n}", group=group) for n, group in enumerate(("acme", "acme", "acme", "b"))))
    assert {job.of_group for job in book.do(Claim(ADMIN, "w2", ("pdf",), 12)).jobs} == {None, "acme", "b"}
    with book.store.transaction(now=book.now):
        user = book.store.save_user(USER)
        book.store.insert_session(Session("hash", user, None, 1, 2, 3, 4, b"sealed \0 bytes", "::1", None))
        book.store.remember("token:1", "key", b"\0\1", b"\xff", now=book.now)
        book.store.add_signing_key(SigningKey("public", Sealer(bytes.fromhex(SECRET)).seal(PRIVATE), 5))
        book.store.insert_audit(AuditEntry(0, 1, "user:1", "é", "", "job.retry", "7", None))
    book.store.close()
    book.database.close()
    return path


@pytest.fixture
def url(postgres: Cluster) -> Iterator[str]:
    name = postgres.database()
    yield postgres.url(name)
    postgres.drop(name)


def carry(source: str, target: str, *, on_done: Callable[[int], None] = lambda _: None) -> int:
    with tables_of(source) as ours, new_tables_at(target, ours.installation) as theirs:
        copied = copying.copy(ours, theirs, on_done=on_done)
        copying.compare(ours, theirs, on_done=on_done)
        theirs.finish(ours.numbers())
    return copied


def rows_of(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    opened = on_disk(path)
    found = contents(opened)
    opened.close()
    return found


def test_there_and_back_is_the_same(file: Path, url: str, tmp_path: Path) -> None:
    done: list[int] = []
    copied = carry(f"sqlite:///{file}", url, on_done=done.append)
    assert sum(done) == 2 * copied > 2 * JOBS
    assert on_postgres.check(url) == []
    back = tmp_path / "back.db"
    assert carry(url, str(back)) == copied
    assert on_sqlite.check(back) == []
    assert rows_of(back) == rows_of(file)


def test_every_table_is_copied(file: Path) -> None:
    """In the order of what tells its rows apart. The index of texts is made anew of the jobs, by the server; what is
    kept of groups, by the database's triggers; sums over all types, by the samples of each minute."""
    made = {name for name in rows_of(file) if name.startswith(("job_texts", "texts_"))} | {
        "depths_of_all", "group_lines", "group_runs", "happenings_of_all",
    }  # fmt: skip
    with tables_of(str(file)) as ours:
        assert {*rows_of(file)} == {*TABLES} | made
        for table, key in TABLES.items():
            keys = [tuple(row) for row in ours.rows(table, key)]
            assert keys == sorted(keys)
            assert len(keys) == len(set(keys))


def test_no_number_is_given_again(file: Path, url: str) -> None:
    carry(str(file), url)
    store = PostgresEngine(url, "one").open_store()
    with store.transaction(now=1):
        known = store.job(1)
        assert known is not None
        (new,) = store.insert_jobs([replace(known, source_hash=hash_of(JOBS + 1))])
        assert new.id > JOBS
        assert store.save_user(replace(USER, subject="another")) == 2
    store.close()


def test_it_is_the_same_installation(file: Path, url: str) -> None:
    carry(str(file), url)
    names = set()
    for engine in (SqliteEngine(file), PostgresEngine(url, "one")):
        store = engine.open_store()
        names.add(store.installation)
        store.close()
    assert len(names) == 1


def test_a_look_at_what_was_deleted_before_the_move_is_believed(file: Path, url: str) -> None:
    """A deletion has the number of its round on SQLite, and of its turn on PostgreSQL, which begin with 1."""
    key = source_key(hash_of("sent again"))
    opened = apsw.Connection(str(file))
    opened.execute(
        "INSERT INTO doomed_objects (key, state, due_at, tries, epoch, again)"
        " VALUES (?, 'gone', 1 << 45, 0, 5000, 0)",
        (key,),
    )
    opened.close()
    carry(str(file), url)
    store = PostgresEngine(url, "one").open_store()
    with store.transaction(now=1):
        tx = Transaction(store, Rules(), 1, random.Random())
        assert doubted(tx, hash_of("sent again"), epoch=store.turn) is None
    store.close()


class Broken(Exception):
    pass


@pytest.mark.parametrize("back", [False, True])
def test_what_was_broken_off_goes_on_where_it_was(
    file: Path, url: str, tmp_path: Path, back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = str(file), url
    if back:
        carry(source, target)
        source, target = url, str(tmp_path / "back.db")
    monkeypatch.setattr(copying, "MOST_ROWS", 7)
    told = 0

    def break_off(more: int) -> None:
        nonlocal told
        told += more
        if told > JOBS + 10:
            raise Broken

    with pytest.raises(Broken):
        carry(source, target, on_done=break_off)
    if back:
        assert not Path(target).exists()
    else:
        with pytest.raises(DatabaseError, match="a copy that has not ended"):
            PostgresEngine(url, "one").open_store()
    with tables_of(source) as ours:
        rows = copying.total(ours)
    assert 0 < carry(source, target) <= rows - JOBS
    if back:
        assert rows_of(Path(target)) == rows_of(file)
    else:
        assert on_postgres.check(url) == []


def test_a_row_that_is_another_one_is_found(file: Path, url: str, postgres: Cluster) -> None:
    name = url.partition("?")[0].rsplit("/", 1)[1]
    with tables_of(str(file)) as ours, new_tables_at(url, ours.installation) as theirs:
        copying.copy(ours, theirs, on_done=lambda _: None)
        postgres.execute("UPDATE attempts SET lease = 'another' WHERE job_id = 3", database=name)
        with pytest.raises(DatabaseError, match="in the table attempts, row 3 1 is another one in the copy"):
            copying.compare(ours, theirs, on_done=lambda _: None)
        postgres.execute("DELETE FROM job_tags WHERE job_id = 7", database=name)
        with pytest.raises(DatabaseError, match="in the table job_tags"):
            copying.compare(ours, theirs, on_done=lambda _: None)


def test_a_target_that_is_not_empty_is_refused(file: Path, url: str, tmp_path: Path) -> None:
    carry(str(file), url)
    with pytest.raises(DatabaseError, match="the database is not empty"):
        carry(str(file), url)
    there = tmp_path / "there.db"
    shutil.copy(file, there)
    with pytest.raises(DatabaseError, match="exists already"):
        carry(url, str(there))


def test_a_part_of_another_copy_is_refused(file: Path, url: str, tmp_path: Path) -> None:
    with pytest.raises(Broken), tables_of(str(file)) as ours, new_tables_at(url, ours.installation):
        raise Broken
    other = tmp_path / "other.db"
    SqliteEngine(other).open_store().close()
    with pytest.raises(DatabaseError, match="a part of a copy of another installation"):
        carry(str(other), url)


def test_a_source_in_use_is_refused(file: Path, url: str, tmp_path: Path) -> None:
    carry(str(file), url)
    commons = RowCommons(url, now=lambda: 1)
    commons.present(a_server("one"))
    with pytest.raises(DatabaseError, match="in use by name-one: stop all servers first"):
        carry(url, str(tmp_path / "back.db"))
    commons.leave("one")
    commons.close()
    assert carry(url, str(tmp_path / "back.db")) > JOBS


def test_a_text_that_postgresql_cannot_keep_is_kept_without_its_nul(file: Path, url: str) -> None:
    opened = on_disk(file)
    opened.probe.change("jobs", {"last_error": "a\0b"}, id=2)
    opened.close()
    carry(str(file), url)
    reader = PostgresEngine(url, "one").open_reader()
    job = reader.job(2)
    reader.close()
    assert job is not None
    assert job.last_error == "a\ufffdb"


def test_the_command(file: Path, url: str, tmp_path: Path) -> None:
    (file.parent / "signing-secret").write_text(SECRET)
    done = blobforge(tmp_path, "db", "copy", f"sqlite:///{file}", url)
    assert done.returncode == 0, done.stderr
    assert "each was compared" in done.stderr
    commons = RowCommons(url, now=lambda: 1)
    assert signing_secret(commons).hex() == SECRET
    reader = PostgresEngine(url, "one").open_reader()
    [key] = reader.signing_keys()
    reader.close()
    assert Sealer(signing_secret(commons)).open(key.sealed, PrivateHalf) == PRIVATE, "manifests keep their key"
    commons.close()
    sound = blobforge(tmp_path, "db", "check", BLOBFORGE_DATABASE_URL=url)
    assert sound.returncode == 0, sound.stderr
    assert "all is well" in sound.stderr
    again = blobforge(tmp_path, "db", "copy", f"sqlite:///{file}", url)
    assert again.returncode == 1
    assert "the database is not empty" in again.stderr
    wrong = blobforge(tmp_path, "db", "copy", "mysql://x", url)
    assert "names no database that can be copied" in wrong.stderr


def test_a_file_that_a_server_has_open_is_refused(file: Path, url: str, tmp_path: Path) -> None:
    with datadir.locked(file):
        refused = blobforge(tmp_path, "db", "copy", str(file), url)
    assert "another BlobForge holds" in refused.stderr
