"""Claims do not walk past jobs that were ready once; and what is ready below a floor is found all the same."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace

from actors.effects import perform
from actors.effects.needs import needs_of
from actors.effects.transaction import Transaction, transact
from actors.messages import Claim, Complete, ObjectSeen, Register, Release, Seen, SetPriority
from blobforge.job import Job, ReleaseCause
from blobforge.options import QueueLine
from blobforge.store.postgres.engine import PostgresEngine
from blobforge.store.postgres.floors import LOOK_EACH, LineFloors
from blobforge.store.postgres.store import PostgresStore
from tests.fixtures.on_postgres import PostgresDatabase, on_postgres
from tests.store.making import ADMIN, Book, submission

NEXT = 1000
PDF, OTHER = QueueLine("pdf"), QueueLine("other")


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def job(id_: int, priority: int = 3) -> Job:
    return Job(id_, "pdf", "pending", priority, "0" * 64, 1, 1, 3)  # type: ignore[arg-type]


def test_a_line_begins_where_the_first_job_was_found() -> None:
    lines = LineFloors(time := Time())
    assert lines.known([PDF]) == {}
    lines.learn(PDF, [job(7, 2), job(3), job(9)], last=3, next_job=NEXT, whole=True)
    assert lines.known([PDF]) == {PDF: [NEXT, 7, 3, 0, 0]}  # what comes behind was not looked at
    lines.learn(PDF, [job(9)], last=None, next_job=NEXT + 5, whole=False)
    assert lines.known() == {PDF: [NEXT + 5, NEXT + 5, 9, NEXT + 5, NEXT + 5]}
    assert lines.known([OTHER]) == {}
    lines.lower(PDF, 3, 4)
    lines.lower(PDF, 3, 6)
    lines.lower(OTHER, 3, 1)
    assert lines.known()[PDF][2] == 4
    time.now += LOOK_EACH
    assert lines.known() == {}  # from the beginning, now and then
    lines.learn(PDF, [], last=None, next_job=NEXT, whole=True)
    assert lines.known() == {PDF: [NEXT] * 5}
    lines.clear()
    assert lines.known() == {}


def test_what_was_not_looked_at_is_known_as_before_unless_the_line_was_read_from_its_beginning() -> None:
    lines = LineFloors(time := Time())
    lines.learn(PDF, [], last=None, next_job=NEXT, whole=True)
    lines.lower(PDF, 4, 9)
    lines.learn(PDF, [job(7)], last=3, next_job=NEXT + 5, whole=False)
    assert lines.known() == {PDF: [NEXT + 5, NEXT + 5, 7, 9, NEXT]}
    lines.learn(PDF, [job(7)], last=3, next_job=NEXT + 5, whole=True)
    assert lines.known() == {PDF: [NEXT + 5, NEXT + 5, 7, 0, 0]}
    time.now += LOOK_EACH / 2
    lines.learn(PDF, [job(8)], last=3, next_job=NEXT + 5, whole=False)
    lines.learn(OTHER, [], last=None, next_job=NEXT + 5, whole=False)
    assert lines.known([PDF, OTHER]).keys() == {PDF}
    time.now += LOOK_EACH / 2
    assert lines.known() == {}, "that it was read from a floor on puts nothing off"


def test_a_floor_that_was_lowered_meanwhile_has_deceived_and_so_may_one_that_others_went_below() -> None:
    lines = LineFloors(time := Time())
    lines.learn(PDF, [job(7)], last=3, next_job=NEXT, whole=True)
    used = lines.known()[PDF]
    assert not lines.deceived(PDF, used, short=True)
    lines.lower(PDF, 3, 5)
    assert lines.deceived(PDF, used, short=False)
    time.now += 0.1
    lines.learn(PDF, [job(7)], last=3, next_job=NEXT, whole=True)
    lines.missed()
    assert not lines.deceived(PDF, lines.known()[PDF], short=False)
    assert lines.deceived(PDF, lines.known()[PDF], short=True)
    time.now += 0.1
    lines.learn(PDF, [job(7)], last=3, next_job=NEXT, whole=True)
    assert not lines.deceived(PDF, lines.known()[PDF], short=True)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    opened = Book(on_postgres(tmp_path))
    opened.register("w")
    yield opened
    opened.close()


@pytest.fixture
def other(book: Book) -> Iterator[PostgresStore]:
    """Another server of the same database."""
    assert isinstance(book.database, PostgresDatabase)
    opened = PostgresEngine(book.database.engine.url, "other").open_store()
    yield opened
    opened.close()


def elsewhere(book: Book, store: PostgresStore, *messages: Any, tells: bool = True) -> None:
    """The other server performs these."""

    def together(tx: Transaction) -> None:
        with store.transaction(needs_of((message, None) for message in messages), tx.now):
            for place, message in enumerate(messages):
                perform(tx, message, place)
            store.tell(tx.events if tells else [], tx.facts if tells else [])

    transact(lambda: Transaction(store, book.rules, book.now, book.dice), together)


def given_back(job_id: int) -> Release:
    return Release(ADMIN, "w", job_id, cause=ReleaseCause.PREEMPTED)


def claims(book: Book, n: int = 1) -> list[int]:
    return [job.id for job in book.do(Claim(ADMIN, "w", ("pdf",), n)).jobs]


def test_what_is_ready_again_below_a_floor_comes_first(book: Book) -> None:
    book.do(*map(submission, range(1, 9)))
    assert claims(book, 2) == [1, 2]
    assert claims(book) == [3]
    book.do(given_back(2))
    assert claims(book) == [2]
    book.do(given_back(1), SetPriority(8, 1))
    assert claims(book, 2) == [8, 1]
    assert claims(book, 10) == [4, 5, 6, 7]
    assert claims(book) == []
    book.do(given_back(6), submission("new", priority=5))
    assert claims(book, 2) == [6, 9]


def test_what_another_server_has_told_is_heeded_at_once(book: Book, other: PostgresStore) -> None:
    book.do(*map(submission, range(1, 9)))
    assert claims(book, 3) == [1, 2, 3]
    assert claims(book) == [4]  # from here on
    elsewhere(book, other, given_back(1))
    assert claims(book) == [5]  # its last turn was the last of all: nothing is read of others with this one
    elsewhere(book, other, given_back(2))
    assert claims(book, 2) == [1, 2]
    elsewhere(book, other, given_back(3))
    assert claims(book) == [3]


def test_where_it_is_not_known_what_others_have_done_an_empty_line_is_read_from_its_beginning(
    book: Book, other: PostgresStore
) -> None:
    book.do(*map(submission, range(1, 4)))
    assert claims(book, 3) == [1, 2, 3]
    assert claims(book) == []
    elsewhere(book, other, given_back(2), tells=False)
    assert claims(book) == [2]


@pytest.mark.parametrize("tells", [True, False])
def test_a_completion_is_given_what_another_server_gave_back_below_the_floor(
    book: Book, other: PostgresStore, tells: bool
) -> None:
    book.do(*map(submission, range(1, 4)))
    first, *_ = book.do(Claim(ADMIN, "w", ("pdf",), 3)).jobs
    assert claims(book) == []
    elsewhere(book, other, given_back(2), tells=tells)
    done = book.do(replace(complete(first), claim_next=True))
    assert [job.id for job in done.next.jobs] == [2]


def test_a_claim_looks_at_few_rows_whatever_was_claimed_before_under_a_snapshot_that_is_held(book: Book) -> None:
    assert isinstance(book.database, PostgresDatabase)
    for start in range(0, 3000, 500):
        book.do(*(submission(number) for number in range(start, start + 500)))
    with psycopg.connect(book.database.engine.url) as holding:
        holding.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holding.execute("SELECT count(*) FROM jobs")
        assert looked_at(book) < 10
        for _ in range(11):
            jobs = book.do(Claim(ADMIN, "w", ("pdf",), 250)).jobs
            book.do(*map(partial(complete), jobs))
        claims(book)
        assert looked_at(book) < 10


def test_a_claim_looks_once_for_jobs_that_are_kept_from_workers_where_there_are_none(book: Book) -> None:
    """And not into each of the lanes that its worker may have jobs from."""
    assert isinstance(book.database, PostgresDatabase)
    book.do(Register(ADMIN, "w", "pdf", labels='{"memory_gib":64}'))
    book.do(*(submission(number, requires=f'["memory_gib>={number}"]') for number in range(1, 31)))
    before = read_of(book, "jobs_kept_in_lanes", "idx_scan")
    assert claims(book) == [1]
    assert read_of(book, "jobs_kept_in_lanes", "idx_scan") - before <= 2


def complete(job: Job) -> Complete:
    return Complete(ADMIN, "w", job.id, lease=job.lease, output=ObjectSeen(Seen.VERIFIED, size=1))


def looked_at(book: Book) -> int:
    """Entries of the index of ready jobs, in one claim."""
    before = read_of(book, "jobs_ready", "idx_tup_read")
    assert len(claims(book)) == 1
    return read_of(book, "jobs_ready", "idx_tup_read") - before


def read_of(book: Book, index: str, what: str) -> int:
    """What the database has counted of an index by now."""
    assert isinstance(book.database, PostgresDatabase)
    turns = book.database.engine.turns
    turns.run("SELECT pg_stat_force_next_flush()")
    turns.run("SELECT 1")
    with psycopg.connect(book.database.engine.url) as looking:
        asked = f"SELECT {what} FROM pg_stat_user_indexes WHERE indexrelname = %s"
        ((n,),) = looking.execute(asked, (index,)).fetchall()
    return int(n)
