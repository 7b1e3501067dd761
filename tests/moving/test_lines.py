"""Our own export: read into a new database it is the same, and what is not whole is not taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from actors.effects.transaction import Rules
from actors.messages import (
    Cancel,
    Claim,
    Complete,
    CreateToken,
    DeleteJob,
    DeletionsTried,
    Fail,
    HeedTimes,
    ObjectSeen,
    Register,
    Retry,
    Seen,
    SetRequirements,
    TakeDoomed,
)
from blobforge.access import Scope, hash_secret
from blobforge.chain import ChainPlace, Join, Step
from blobforge.moving import lines, reading
from blobforge.moving.account import Account
from blobforge.people import User
from blobforge.store.errors import DatabaseError
from blobforge.store.sqlite.check import check
from blobforge.store.sqlite.database import migrations
from blobforge.store.sqlite.export import departing
from tests.store.making import ADMIN, T0, Book, hash_of, submission

SCHEMA = len(migrations())

TABLES = {
    "jobs": "id, type, status, priority, source_hash, created_at, updated_at, max_attempts, source_path, source_size,"
    " tags, metadata, attempts, losses, attempt, worker_id, started_at, completed_at, not_before, last_error,"
    " output_key, result, result_size, kept_attempt, replaced, upload_key",
    "attempts": "job_id, attempt, worker_id, started_at, ended_at, outcome, kind, error, traceback, log_tail,"
    " output_key",
    "job_tags": "tag, job_id",
    "results": "job_id, attempt, result",
    "files": "key, size, sha256, job_id, attempt, checked_at, etag, kept, keeping",
    "deferred_counts": "type, priority, n",
    "job_hours": "hour, first_id, last_id",
    "installation": "id",
    "sqlite_sequence": "name, seq",
}


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    """One job of each status, and one that keeps an earlier result."""
    opened = Book(tmp_path / "from.db")
    opened.register("w1")
    opened.do(CreateToken("ci", hash_secret("bf_x"), "bf_x", frozenset({Scope.READ})))
    with opened.store.transaction():
        opened.store.save_user(User(0, "https://id", "s", None, "Ann", (), False, T0, T0))
    for name in ("done", "again", "fails", "dies", "runs", "cancelled", "waits"):
        opened.do(submission(name, tags=("a", name), metadata='{"x": 1}', source_path=f"/{name}.pdf"))
    opened.do(submission("uploads", ready=False))
    finish(opened, 1, result='{"pages": 1}')
    finish(opened, 2, result=f'"{"x" * 100_000}"')
    fail(opened, 3, retryable=True)
    fail(opened, 4, retryable=False)
    opened.do(Claim(ADMIN, "w1", ("pdf",)))
    opened.do(Cancel(6))
    opened.do(Retry(2))
    yield opened
    opened.close()


def claimed(book: Book, job_id: int) -> str:
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    assert job.id == job_id
    return str(job.lease)


def finish(book: Book, job_id: int, *, result: str) -> None:
    lease = claimed(book, job_id)
    seen = ObjectSeen(Seen.PRESENT, size=3)
    book.do(Complete(ADMIN, "w1", job_id, lease, book.key(job_id), seen, result=result))


def fail(book: Book, job_id: int, *, retryable: bool) -> None:
    book.do(Fail(ADMIN, "w1", job_id, "boom", claimed(book, job_id), retryable=retryable))


def exported(book: Book, to: Path, *, credentials: bool = False) -> Path:
    with departing(book.path) as departures:
        to.write_bytes(b"".join(lines.export(departures, credentials=credentials, now=book.now)))
    return to


def take(book: Book, path: Path) -> Account:
    return reading.Import(book.store, newest=SCHEMA, now=T0 + 10**6, on_done=lambda _: None).run(path)


def contents(book: Book) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: sorted(book.probe.rows(table, *columns.split(", ")), key=repr) for table, columns in TABLES.items()
    }


def test_an_output_that_is_the_source_of_a_job_outlives_its_own_there_too(tmp_path: Path) -> None:
    book, new = Book(tmp_path / "from.db"), Book(tmp_path / "to.db")
    book.register("w1")
    book.do(submission("scan", then=(Step("summary"),)))
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",), write_once=True)).jobs
    book.do(Complete(ADMIN, "w1", 1, job.lease, job.upload_key, ObjectSeen(Seen.VERIFIED, 3, hash_of("text"))))
    take(new, exported(book, tmp_path / "jobs"))
    for job_id, gone in ((1, False), (2, True)):
        new.do(DeleteJob(job_id))
        keys = new.do(TakeDoomed(limit=10)).keys
        new.do(DeletionsTried(keys, (), (), epoch=1))
        assert (job.upload_key in keys) is gone
    assert new.database.broken() == []
    book.close()
    new.close()


def test_what_follows_a_job_comes_along_and_what_was_said_of_it_does_not(tmp_path: Path) -> None:
    """Of the jobs that came of it nothing is known there."""
    book, new = Book(tmp_path / "from.db"), Book(tmp_path / "to.db")
    book.register("w1")
    then = (Step("ocr", join=Join("book")),)
    book.do(submission("scan", then=then))
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",), write_once=True)).jobs
    output = ObjectSeen(Seen.VERIFIED, 3, hash_of("text"))
    book.do(Complete(ADMIN, "w1", 1, job.lease, job.upload_key, output), Cancel(2))
    with book.reader() as reader:
        said = reader.job(1)
    assert said is not None
    assert said.chain is not None
    assert said.chain.unjoined
    take(new, exported(book, tmp_path / "jobs"))
    with new.reader() as reader:
        found = reader.job(1)
    assert found is not None
    assert found.chain == ChainPlace(then)
    book.close()
    new.close()


def test_what_comes_back_is_the_same(book: Book, tmp_path: Path) -> None:
    new = Book(tmp_path / "to.db")
    new.probe.change("installation", {"id": "banother1"})
    path = exported(book, tmp_path / "all.ndjson")
    planned, account = reading.survey(path, None, newest=SCHEMA), take(new, path)
    assert planned == account
    assert account.statuses == {
        "completed": 1, "pending": 3, "failed": 1, "dead": 1, "cancelled": 1, "uploading": 1,
    }  # fmt: skip
    assert check(new.path) == []
    new.counts_are_right()
    # The one that ran has gone back here, and would there.
    runs = book.probe.rows("jobs", "id", status="running")
    mine, its = contents(book), contents(new)
    for table in TABLES:
        if table in ("jobs", "attempts"):
            place = 0
            left = [row for row in mine[table] if (row[place],) not in runs]
            assert [row for row in its[table] if (row[place],) not in runs] == left, table
        elif table == "sqlite_sequence":
            assert ("jobs", 8) in its[table]
        else:
            assert its[table] == mine[table], table
    ((number,),) = runs
    assert new.probe.column("attempts", "outcome", job_id=number) == ["released"]
    new.close()


def test_a_second_run_adds_nothing_and_a_number_is_never_given_again(book: Book, tmp_path: Path) -> None:
    with book.store.transaction():
        job = book.store.job(8)
        assert job is not None
        book.store.delete_job(job)
    path = exported(book, tmp_path / "all.ndjson")
    new = Book(tmp_path / "to.db")
    assert take(new, path).jobs.taken == 7
    before = contents(new)
    again = take(new, path)
    assert (again.taken, again.jobs.known) == (0, 7)
    assert contents(new) == before
    assert new.do(submission("new")).job_id == 9
    assert check(new.path) == []
    new.close()


def test_one_that_was_broken_off_goes_on(book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", 3)
    path = exported(book, tmp_path / "all.ndjson")
    new = Book(tmp_path / "to.db")

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reading.Import(new.store, newest=SCHEMA, now=T0, on_done=stop).run(path)
    assert new.probe.count("jobs") == 3
    account = take(new, path)
    assert (account.jobs.known, account.jobs.taken) == (3, 5)
    assert check(new.path) == []
    new.close()


def test_credentials_only_where_they_are_asked_for(book: Book, tmp_path: Path) -> None:
    plain = exported(book, tmp_path / "plain").read_text()
    leases = book.probe.column("attempts", "lease")
    for secret in (hash_secret("bf_x"), "https://id", "token:", '"worker"', *leases):
        assert secret not in plain
    path = exported(book, tmp_path / "all", credentials=True)
    assert not any(lease in path.read_text() for lease in leases)
    new = Book(tmp_path / "to.db")
    account = take(new, path)
    assert (account.tokens.taken, account.workers.taken, account.users.taken) == (1, 1, 1)
    assert new.store.token_by_hash(hash_secret("bf_x")) is not None
    assert new.store.user_of("https://id", "s") is not None
    assert check(new.path) == []
    with departing(new.path) as known:
        planned = reading.survey(path, known, newest=SCHEMA)
    again = take(new, path)
    assert planned == again, "a dry run knows what is here"
    assert (again.tokens.known, again.workers.known, again.users.known) == (1, 1, 1)
    new.close()


def test_who_submitted_is_known_under_the_new_number(book: Book, tmp_path: Path) -> None:
    with book.store.transaction():
        book.store.insert_token(replace(_token(book), hash="ab" * 32))
    book.probe.change("jobs", {"submitter": "token:2"}, id=1)
    new = Book(tmp_path / "to.db")
    new.do(CreateToken("first", hash_secret("bf_y"), "bf_y", frozenset({Scope.READ})))
    take(new, exported(book, tmp_path / "all", credentials=True))
    assert new.probe.column("jobs", "submitter", id=1) == ["token:3"]
    new.close()


def _token(book: Book):  # type: ignore[no-untyped-def]
    return book.store.token_by_hash(hash_secret("bf_x"))


def test_a_database_with_jobs_of_its_own_takes_nothing(book: Book, tmp_path: Path) -> None:
    path = exported(book, tmp_path / "all.ndjson")
    new = Book(tmp_path / "to.db")
    new.probe.change("installation", {"id": "banother1"})
    new.do(submission("mine"))
    with pytest.raises(DatabaseError, match="jobs of its own"):
        take(new, path)
    with departing(new.path) as known, pytest.raises(DatabaseError, match="jobs of its own"):
        reading.survey(path, known, newest=SCHEMA)
    assert new.probe.count("jobs") == 1
    new.close()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: text.rindex("\n", 0, -1) + 1], "its last line is missing"),
        (lambda text: "\n".join(text.split("\n")[:2] + text.split("\n")[3:]), "not whole"),
        (lambda text: text.replace('"status":"dead"', '"status":"eaten"'), r"line \d+ .*cannot be read"),
        (lambda text: text.replace('"schema":', '"schema":9'), "newer release"),
        (lambda text: "[]\n" + text, "no export"),
        (lambda text: "", "no export"),
    ],
)
def test_what_is_not_whole_is_told_before_anything_is_done(book: Book, tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    path = exported(book, tmp_path / "all.ndjson")
    path.write_text(damage(path.read_text()))
    with pytest.raises(DatabaseError, match=said):
        reading.survey(path, None, newest=SCHEMA)


def test_the_lines_say_what_they_are(book: Book, tmp_path: Path) -> None:
    first, *rest = (json.loads(line) for line in exported(book, tmp_path / "all").read_text().splitlines())
    assert first["blobforge_export"] == 1
    assert first["credentials"] is False
    assert rest[-1] == {"end": {"jobs": 8, "tokens": 0, "workers": 0, "users": 0}}
    assert [line["job"]["job"]["id"] for line in rest[:-1]] == list(range(1, 9))


def test_a_job_that_is_not_to_be_started_yet_waits_here_too(tmp_path: Path) -> None:
    old = Book(tmp_path / "from.db")
    start = T0 + 10**9
    old.do(submission("later", not_before=start), submission("uploads", ready=False, not_before=start))
    new = Book(tmp_path / "to.db")
    new.probe.change("installation", {"id": "banother1"})
    take(new, exported(old, tmp_path / "all.ndjson"))
    assert new.probe.rows("jobs", "status", "not_before", order="id") == [("pending", start), ("uploading", start)]
    assert new.probe.rows("deferred_counts", "type", "priority", "n") == [("pdf", 3, 1)]
    assert check(new.path) == []
    new.now = start
    assert new.do(HeedTimes(9)).jobs == 1
    old.close()
    new.close()


def test_what_jobs_require_comes_along_and_their_lanes_are_made_anew(tmp_path: Path) -> None:
    """Also of more sets than a submission may make: no job is lost."""
    old, rules = Book(tmp_path / "from.db"), Rules(max_requirement_sets=1)
    old.do(*(submission(number, requires=f'["l{number % 3}"]', priority=5 - number) for number in range(4)))
    old.do(SetRequirements(1, None))
    path = exported(old, tmp_path / "all.ndjson")
    new = Book(tmp_path / "to.db", rules=rules)
    new.probe.change("installation", {"id": "banother1"})
    take(new, path)
    assert check(new.path) == []
    sets = set(new.probe.rows("requirement_sets", "number", "requires"))
    assert sets == {(1, '["l1"]'), (2, '["l2"]'), (3, '["l0"]')}
    assert [row[0] for row in new.probe.rows("jobs", "requires", order="id")] == [None, '["l1"]', '["l2"]', '["l0"]']
    new.do(Register(ADMIN, "w1", "pdf", labels='["l1","l2"]'))
    assert [job.id for job in new.do(Claim(ADMIN, "w1", ("pdf",), 9)).jobs] == [3, 2, 1]
    old.close()
    new.close()


def test_groups_come_along_and_get_their_turns_anew(tmp_path: Path) -> None:
    """What ran waits again, and is held against no group any more."""
    old = Book(tmp_path / "from.db")
    old.do(*(submission(number, group=group) for number, group in enumerate(("a", "a", "a", "b", None))))
    old.do(Register(ADMIN, "w1", "pdf"))
    assert [job.of_group for job in old.do(Claim(ADMIN, "w1", ("pdf",), 2)).jobs] == ["a", "b"]
    path = exported(old, tmp_path / "all.ndjson")
    new = Book(tmp_path / "to.db")
    new.probe.change("installation", {"id": "banother1"})
    take(new, path)
    assert check(new.path) == []
    assert new.probe.rows("group_lines", "of_group", "ready", "running") == [("a", 3, 0), ("b", 1, 0)]
    assert new.probe.rows("group_runs", "running") == []
    new.do(Register(ADMIN, "w1", "pdf"))
    given = [new.do(Claim(ADMIN, "w1", ("pdf",))).jobs[0].of_group for _ in range(5)]
    assert sorted(map(str, given[:3])) == ["None", "a", "b"], given
    assert given[3:] == ["a", "a"]
    assert check(new.path) == []
    old.close()
    new.close()
