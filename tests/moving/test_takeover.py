"""The original's databases are taken over, of every version, into a real database beside a real store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from actors.messages import (
    AdvanceSearch,
    Backfill,
    BeginSearch,
    Claim,
    Complete,
    DeleteJob,
    DeletionsTried,
    ObjectSeen,
    Register,
    Retry,
    Seen,
    TakeDoomed,
)
from blobforge.moving import takeover
from blobforge.moving.account import Account
from blobforge.objects import ObjectInfo, ObjectStoreError
from blobforge.objects.keys import original_output_key, source_key
from blobforge.objects.local import LocalStore
from blobforge.search import SearchedPage, SearchName
from blobforge.store.errors import DatabaseError
from blobforge.store.sqlite import original as reading
from blobforge.store.sqlite.check import check
from tests.fixtures import original
from tests.fixtures.original import BYTES, JOBS, RESULTS, SOURCES, source
from tests.objects.places import local_store
from tests.store.making import ADMIN, Book
from tests.store.sqlite.test_belonging import state

NOW = 1_795_000_000_000
TABLES = ("jobs", "attempts", "files", "tokens", "workers", "users", "audit", "job_tags", "job_hours")
LARGE = f'{{"text": "{"x" * 100_000}"}}'
ISSUER = "https://id.example"


@pytest.fixture
def objects(tmp_path: Path) -> LocalStore:
    """The original's bucket, as far as it goes."""
    store = local_store(tmp_path / "objects")
    put(store, source_key, SOURCES)
    put(store, original_output_key, RESULTS)
    return store


def put(store: LocalStore, key_of, names) -> None:  # type: ignore[no-untyped-def]
    for name in names:
        path = store._path(key_of(source(name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BYTES)


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    return folder / "blobforge.db"


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    opened = Book(tmp_path / "ours.db")
    yield opened
    opened.close()


async def take(path: Path, book: Book, objects: LocalStore, *, issuer: str = ISSUER) -> Account:
    with reading.opened(path) as theirs:
        return await takeover.take_over(theirs, book.store, objects, issuer=issuer, now=NOW, on_done=lambda _: None)


def is_whole(book: Book) -> None:
    assert check(book.path) == []
    book.counts_are_right()


@pytest.mark.parametrize("wal", [False, True], ids=["closed", "killed"])
@pytest.mark.parametrize("version", range(1, 7))
async def test_all_of_every_version_is_taken(
    theirs: Path, book: Book, objects: LocalStore, version: int, wal: bool
) -> None:
    original.made(theirs, version, wal=wal, filled=True)
    before = state(theirs.parent)
    with reading.opened(theirs) as opened:
        planned = takeover.survey(opened, None, issuer=ISSUER, now=NOW)
    account = await take(theirs, book, objects)
    assert state(theirs.parent) == before
    is_whole(book)
    expected = dict(JOBS) | ({("pdf", "last"): ("uploading", 0)} if wal else {})
    found = {(type_, hash_): (status, attempt) for type_, hash_, status, attempt in book.rows(
        "SELECT type, source_hash, status, attempt FROM jobs")}  # fmt: skip
    assert found == {(type_, source(name)): known for (type_, name), known in expected.items()}
    assert account.jobs.taken == len(expected)
    assert account.jobs.refused == 1  # the one whose hash is none
    assert (account.results, account.without_result, account.without_source) == (2, 1, 1 + wal)
    assert account.tokens.taken == (3 if version >= 2 else 0)
    assert account.users.taken == (1 if version >= 2 else 0)
    assert account.workers.taken == (3 if version >= 5 else 1)
    # What was told before is what was done, but for what only the store knows.
    for (_, said), (_, done) in zip(planned.kinds(), account.kinds(), strict=True):
        assert said == done
    assert planned.review == account.review


async def test_a_job_keeps_what_it_had(theirs: Path, book: Book, objects: LocalStore) -> None:
    original.made(theirs, filled=True)
    with contextlib.closing(apsw.Connection(str(theirs))) as connection:
        connection.execute(
            "UPDATE jobs SET result = ? WHERE source_hash = ? AND type = 'text'", (LARGE, source("done"))
        )
    await take(theirs, book, objects)
    ((large,),) = book.rows("SELECT result FROM results")
    assert large == LARGE
    is_whole(book)
    ids = {hash_: id_ for id_, hash_ in book.rows("SELECT id, source_hash FROM jobs WHERE type = 'pdf'")}
    done = book.store.job(ids[source("done")])
    assert done is not None
    assert (done.id, done.priority, done.tags, done.result) == (5, 5, ("a", "c"), '{"pages": 3}')
    assert (done.worker_id, done.attempts, done.source_path) == ("w1", 2, "/scans/a.pdf")
    assert done.created_at < done.started_at < done.completed_at  # type: ignore[operator]
    assert done.output_key == f"outputs/{source('done')}"
    (attempt,) = book.store.attempts(done.id, limit=9)
    assert (attempt.attempt, attempt.worker_id, attempt.outcome) == (2, "w1", "completed")
    waits = book.store.job(ids[source("waits")])
    assert waits is not None
    assert (waits.priority, waits.tags, waits.metadata) == (1, ("a", "b"), '{"x": 1}')
    assert book.rows("SELECT tag FROM job_tags WHERE job_id = ? ORDER BY tag", (waits.id,)) == [("a",), ("b",)]
    spent = book.store.job(ids[source("spent")])
    assert spent is not None
    assert spent.last_error == "Boom: page 9"
    assert [each.error for each in book.store.attempts(spent.id, limit=9)] == ["Boom: page 9"]
    odd = book.store.job(ids[source("odd")])
    assert odd is not None
    assert odd.source_path == "caf%E9.pdf"


async def test_a_second_run_adds_nothing(theirs: Path, book: Book, objects: LocalStore) -> None:
    original.made(theirs, filled=True)
    first = await take(theirs, book, objects)
    before = [book.rows(f"SELECT * FROM {table}") for table in TABLES]
    again = await take(theirs, book, objects)
    assert again.taken == 0
    assert again.jobs.known == first.jobs.taken
    assert again.jobs.found == first.jobs.found
    assert [book.rows(f"SELECT * FROM {table}") for table in TABLES] == before
    is_whole(book)


async def test_one_that_was_broken_off_goes_on(
    theirs: Path, book: Book, objects: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original.made(theirs, filled=True)
    monkeypatch.setattr(takeover, "BATCH", 4)
    head, asked = objects.head, []

    async def failing(key: str, *, version: str | None = None) -> ObjectInfo | None:
        asked.append(key)
        if key == original_output_key(source("done")):
            raise ObjectStoreError("away")
        return await head(key)

    monkeypatch.setattr(objects, "head", failing)
    with pytest.raises(ObjectStoreError):
        await take(theirs, book, objects)
    assert 0 < book.rows("SELECT count(*) FROM jobs")[0][0] < len(JOBS)
    is_whole(book)
    monkeypatch.setattr(objects, "head", head)
    account = await take(theirs, book, objects)
    assert account.jobs.taken + account.jobs.known == len(JOBS)
    assert account.jobs.known > 0
    is_whole(book)
    assert book.rows("SELECT count(*) FROM jobs") == [(len(JOBS),)]


async def test_numbers_are_kept_where_they_are_free(theirs: Path, book: Book, objects: LocalStore) -> None:
    original.made(theirs, filled=True)
    with contextlib.closing(apsw.Connection(str(theirs))) as connection:
        connection.execute("UPDATE jobs SET id = id + 100 WHERE id > 3")
        numbers = dict(connection.execute("SELECT type || source_hash, id FROM jobs WHERE id > 1"))
    await take(theirs, book, objects)
    assert dict(book.rows("SELECT type || source_hash, id FROM jobs")) == numbers
    is_whole(book)


async def test_what_older_databases_have_not_kept_is_made_afterwards(
    theirs: Path, book: Book, objects: LocalStore
) -> None:
    original.made(theirs, filled=True)
    await take(theirs, book, objects)
    while book.do(Backfill(limit=3)).more:
        pass
    causes = book.rows(
        "SELECT f.place, c.status, c.n FROM failures f JOIN failure_counts c ON c.failure = f.id WHERE c.n > 0"
    )
    assert ("boom: page #", "dead", 1) in [(place.lower(), status, n) for place, status, n in causes]
    is_whole(book)


async def test_a_shared_result_goes_with_the_last_job_of_its_source(
    theirs: Path, book: Book, objects: LocalStore
) -> None:
    original.made(theirs, filled=True)
    await take(theirs, book, objects)
    key = original_output_key(source("done"))
    pdf, text = (
        id_ for (id_,) in book.rows("SELECT id FROM jobs WHERE source_hash = ? ORDER BY id", (source("done"),))
    )
    book.do(BeginSearch(SearchName.ORPHANS, "s", False, "outputs/"))
    looked = book.do(AdvanceSearch(SearchName.ORPHANS, "s", SearchedPage(1, ((key, 1),), "", "")))
    assert (looked.search.objects, looked.search.orphans) == (1, 0)
    book.do(DeleteJob(pdf))
    is_whole(book)
    assert book.do(TakeDoomed(10, first=True)).keys == ()
    assert book.store.file(key) is not None
    book.do(DeleteJob(text))
    is_whole(book)
    assert set(book.do(TakeDoomed(10)).keys) == {key, source_key(source("done"))}
    book.do(DeletionsTried(gone=(key,), refused=(), unanswered=(), epoch=1))
    assert book.store.file(key) is None


async def test_a_shared_result_on_the_list_is_spared_when_its_jobs_come_again(
    theirs: Path, book: Book, objects: LocalStore
) -> None:
    original.made(theirs, filled=True)
    await take(theirs, book, objects)
    for (number,) in book.rows("SELECT id FROM jobs WHERE source_hash = ?", (source("done"),)):
        book.do(DeleteJob(number))
    assert (await take(theirs, book, objects)).results == 2
    assert original_output_key(source("done")) not in book.do(TakeDoomed(10, first=True)).keys
    is_whole(book)


async def test_what_is_just_being_deleted_is_taken_later(theirs: Path, book: Book, objects: LocalStore) -> None:
    original.made(theirs, filled=True)
    await take(theirs, book, objects)
    for (number,) in book.rows("SELECT id FROM jobs WHERE source_hash = ?", (source("done"),)):
        book.do(DeleteJob(number))
    book.do(TakeDoomed(10, first=True))  # the store has been told, and has not answered yet
    account = await take(theirs, book, objects)
    assert (account.taken, account.jobs.refused) == (0, 3)
    is_whole(book)
    gone = (source_key(source("done")), original_output_key(source("done")))
    book.do(DeletionsTried(gone=gone, refused=(), unanswered=(), epoch=1))
    assert (await take(theirs, book, objects)).jobs.taken == 2
    is_whole(book)


async def test_a_result_stays_while_its_job_is_tried_again(theirs: Path, book: Book, objects: LocalStore) -> None:
    original.made(theirs, filled=True)
    await take(theirs, book, objects)
    ((number,),) = book.rows("SELECT id FROM jobs WHERE source_hash = ? AND type = 'text'", (source("done"),))
    book.do(Retry(number, reset_attempts=True))
    is_whole(book)
    job = book.store.job(number)
    assert job is not None
    assert (job.output_key, job.result_attempt) == (original_output_key(source("done")), 1)


@pytest.mark.parametrize("size", [len(BYTES), len(BYTES) + 1])
async def test_a_source_of_another_size_is_awaited(theirs: Path, book: Book, objects: LocalStore, size: int) -> None:
    original.made(theirs)
    with contextlib.closing(apsw.Connection(str(theirs))) as connection:
        original.insert(connection, "jobs", type="pdf", source_hash=source("waits"), source_size=size)
    await take(theirs, book, objects)
    assert book.rows("SELECT status FROM jobs") == [("pending" if size == len(BYTES) else "uploading",)]
    is_whole(book)


def test_a_database_that_a_process_has_open_is_not_read(theirs: Path) -> None:
    original.made(theirs)
    code = (
        "import sys, apsw; c = apsw.Connection(sys.argv[1]); c.execute('PRAGMA journal_mode=WAL').fetchall();"
        "c.execute('INSERT INTO workers (id, type) VALUES (1, 2)'); print('open', flush=True); input()"
    )
    import subprocess
    import sys

    with subprocess.Popen(
        [sys.executable, "-c", code, str(theirs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(DatabaseError, match="stop the original"), reading.opened(theirs):
            pass
        other.communicate(b"\n")
    with reading.opened(theirs) as opened:
        assert opened.count("workers") == 1


def test_what_is_no_database_of_the_original_is_told(tmp_path: Path, book: Book) -> None:
    with pytest.raises(DatabaseError, match="a database of this BlobForge"), reading.opened(book.path):
        pass
    other = tmp_path / "other.db"
    with contextlib.closing(apsw.Connection(str(other))) as connection:
        connection.execute("CREATE TABLE notes (text)")
    with pytest.raises(DatabaseError, match="another program"), reading.opened(other):
        pass


async def test_a_job_that_was_taken_over_runs_to_its_end(theirs: Path, book: Book, objects: LocalStore) -> None:
    original.made(theirs, filled=True)
    await take(theirs, book, objects)
    book.do(Register(ADMIN, "new", "pdf"))
    granted = book.do(Claim(ADMIN, "new", ("pdf",), limit=9))
    names = {job.source_hash for job in granted.jobs}
    assert names == {source("waits"), source("ran")}  # what was to be retried is due when the server has started
    job = granted.jobs[0]
    seen = ObjectSeen(Seen.PRESENT, size=3)
    book.do(Complete(ADMIN, "new", job.id, job.lease, output_key=job.upload_key, output=seen))
    is_whole(book)
