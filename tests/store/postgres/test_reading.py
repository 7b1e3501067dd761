"""Readers of PostgreSQL: of one moment, bounded, and whole again after an outage."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from blobforge.people import AuditEntry
from blobforge.store.errors import DatabaseError
from blobforge.store.filters import AuditFilter, JobFilter, TokenFilter
from blobforge.store.lists import NEWEST, Cursor
from blobforge.store.postgres import bulk_sql
from blobforge.store.postgres.reader import PostgresReader
from blobforge.store.postgres.spelling import spelled
from blobforge.store.postgres.statements import _SESSION, AT_ONCE, Queries
from blobforge.store.postgres.turns_sql import SESSION
from blobforge.store.sql import sql
from tests.fixtures.engines import ENGINES
from tests.fixtures.on_postgres import PostgresDatabase
from tests.store.making import Book, submission
from tests.store.postgres.making import terminate

Connection = psycopg.Connection[Any]


@pytest.fixture
def book(tmp_path: Any) -> Iterator[Book]:
    opened = Book(ENGINES["postgres"](tmp_path))
    yield opened
    opened.close()


def database_of(book: Book) -> PostgresDatabase:
    assert isinstance(book.database, PostgresDatabase)
    return book.database


@pytest.fixture
def reader(book: Book) -> Iterator[PostgresReader]:
    opened = database_of(book).engine.open_reader()
    yield opened
    opened.close()


def cut(book: Book) -> None:
    database = database_of(book)
    terminate(database.cluster, database.name)


def test_a_snapshot_is_of_one_moment(book: Book, reader: PostgresReader) -> None:
    book.do(submission(1))
    with reader.snapshot():
        assert reader.job(1) is not None
        book.do(submission(2))
        assert reader.job(2) is None
    assert reader.job(2) is not None


def test_a_reader_cannot_write(book: Book, reader: PostgresReader) -> None:
    with pytest.raises(DatabaseError, match="read-only transaction"), reader.outages_told():
        reader._ask.rows("DELETE FROM jobs")


def test_rows_are_fetched_as_they_are_taken(book: Book) -> None:
    """What is asked of a page is bounded, however many match; and several are walked side by side."""
    book.do(*(submission(number, type_=("pdf", "ocr")[number % 2]) for number in range(4 * AT_ONCE)))
    asked = Queries(database_of(book).engine.url)
    values = [("pending", type_, 3, NEWEST, 0) for type_ in ("pdf", "ocr")]
    with asked.moment():
        one, two = (asked.each(sql.STRATUM, each) for each in values)
        assert [next(one)[0], next(two)[0]] == [4 * AT_ONCE - 1, 4 * AT_ONCE]
        before = asked._pipe.round_trips  # type: ignore[union-attr]
        assert len([next(one) for _ in range(AT_ONCE - 1)]) == AT_ONCE - 1
        assert asked._pipe.round_trips == before  # type: ignore[union-attr]
        one.close()
        assert len(list(two)) == 2 * AT_ONCE - 1
        with closing(asked.each(sql.STRATUM, values[0])) as again:
            assert len(list(again)) == 2 * AT_ONCE
    asked.close()


def test_a_list_goes_on_at_any_length(book: Book, reader: PostgresReader) -> None:
    book.do(*(submission(number, priority=number % 5 + 1) for number in range(3 * AT_ONCE)))
    found, cursor = [], Cursor()
    while True:
        page = reader.list_jobs(JobFilter(), limit=40, cursor=cursor)
        found += [(job.priority, -job.id) for job in page.jobs]
        if page.next is None:
            break
        cursor = page.next
    assert found == sorted(found)
    assert len(set(found)) == 3 * AT_ONCE


def test_a_connection_that_was_cut_is_opened_anew(book: Book, reader: PostgresReader) -> None:
    book.do(submission(1))
    assert reader.job(1) is not None
    cut(book)
    assert reader.job(1) is not None
    cut(book)
    with reader.snapshot():
        assert reader.job(1) is not None
        assert reader.job_with_attempts(1) is not None


def test_a_moment_that_is_lost_is_not_another_one(book: Book, reader: PostgresReader) -> None:
    book.do(submission(1))

    def twice() -> None:
        with reader.outages_told(), reader.snapshot():
            assert reader.job(1) is not None
            cut(book)
            reader.job(1)

    with pytest.raises(DatabaseError, match="cannot read the database"):
        twice()
    assert reader.job(1) is not None


def test_a_statement_that_takes_too_long_is_given_up(book: Book, reader: PostgresReader) -> None:
    reader._ask.rows("SELECT set_config('statement_timeout', '20ms', false)")
    with pytest.raises(DatabaseError, match="statement timeout"), reader.outages_told(), reader.snapshot():
        reader._ask.rows("SELECT pg_sleep(5)")
    assert reader.job(1) is None


def test_a_database_that_cannot_be_reached_is_said_so() -> None:
    with pytest.raises(DatabaseError, match="cannot read the database"):
        PostgresReader("postgresql://127.0.0.1:1/x").sanity()


def test_what_no_text_can_hold_is_found_nowhere(book: Book, reader: PostgresReader) -> None:
    """PostgreSQL has no NUL in texts."""
    book.do(submission(1))
    assert reader.list_jobs(JobFilter(tag="a\0b"), limit=1, cursor=Cursor()).jobs == []
    assert reader.list_jobs(JobFilter(q="a\0b"), limit=1, cursor=Cursor()).jobs == []
    assert reader.tokens(TokenFilter(now=1, q="\0"), after=0, limit=1) == []
    assert reader.insights.audit(AuditFilter(subject="\0"), before=NEWEST, limit=1) == ([], None)


def test_what_people_and_workers_say_with_a_nul_is_kept_without_it(book: Book, reader: PostgresReader) -> None:
    """The API refuses it in names, and takes it out of texts; what comes another way costs no transaction."""
    with book.store.transaction():
        book.store.insert_audit(AuditEntry(0, 1, "user:1", "a\0b", "", "signed-in", "7", "x\0"))
    ((entry,), _) = reader.insights.audit(AuditFilter(), before=NEWEST, limit=1)
    assert (entry.name, entry.detail) == ("a\ufffdb", "x\ufffd")


# ------------------------------------------------------------------ plans

MANY = 20_000
PLANS: list[tuple[str, tuple[Any, ...], str]] = [
    (sql.STRATUM, ("dead", "pdf", 3, NEWEST, 0), "jobs_listed"),
    (sql.OF_FAILURE, (1, 3, NEWEST, 0), "jobs_by_failure"),
    (sql.OF_WORKER, ("w", 3, NEWEST, 0), "jobs_by_worker"),
    (sql.FIRST_PENDING, ("pdf", 3), "jobs_listed"),
    (sql.AHEAD, ("pdf", 0, 3, 9, 10), "jobs_ready"),
    (sql.ATTEMPTS_OF_WORKER, ("w", 9, 9, 9, 10), "attempts_by_worker"),
    (sql.ATTEMPTS_IN_SHORT, (1, 9, 10), "attempts_pkey"),
    (sql.RUNNING_ON, ("w", 9), "jobs_running"),
    (sql.RUNNING, (), "jobs_"),
    (sql.WAITING_FOR_TIME, (), "jobs_waiting"),
    (sql.DUE_STARTS, (1, 10), "jobs_to_start"),
    (sql.NEXT_START, (), "jobs_to_start"),
    (sql.DUE_EXPIRIES, (1, 10), "jobs_to_expire"),
    (sql.NEXT_EXPIRY, (), "jobs_to_expire"),
    (sql.FIRST_IN_LANE, ("pdf", 0, 3), "jobs_ready"),
    (sql.FIRST_HELD_UP, ("pdf", 3), "jobs_held_up"),
    (sql.AWAITED_SOURCES, (), "jobs_listed"),
    (sql.SAME_JOB, ("x", "pdf", ""), "jobs_by_source"),
    (sql.ENDED_BEFORE, ("dead", 9, 10), "jobs_ended"),
    (sql.IDS_OF_TAG, ("t", 10), "job_tags_pkey"),
    (sql.JOBS_BETWEEN, (1, 9, 10), "jobs_pkey"),
    (sql.AUDIT_OF, ("7", 9), "audit_by_subject"),
    (sql.HELD_SOURCES, ('["x"]',), "jobs_by_source"),
    (sql.FOUND_BY_HASH, ("a", "b", 9), "jobs_by_source"),
    (sql.FOUND_BY_WORKER, ("w", 9), "jobs_by_worker"),
    (sql.NOT_INDEXED, (7, 9), "jobs_pkey"),
    (sql.TEXTS_TO_INDEX, (9,), "jobs_pkey"),
    (sql.RUNNING_BY_WORKER, ('["w"]', 9), "jobs_running"),
    (sql.STRATUM_UP, ("dead", "pdf", 3, NEWEST, 0), "jobs_listed"),
    (sql.OF_CONVERTER_UP, ("m 1", "completed", "pdf", 3, NEWEST, 0), "jobs_by_converter"),
    (sql.BY_ID_DOWN, (NEWEST, 0), "jobs_pkey"),
    (sql.BY_END_UP, (0, 0, "completed"), "jobs_ended"),
    (sql.BY_END_DOWN, (NEWEST, NEWEST, "dead"), "jobs_ended"),
    (sql.BY_DURATION_UP, (0, 0), "jobs_by_duration"),
    (sql.BY_DURATION_DOWN, (NEWEST, NEWEST), "jobs_by_duration"),
    (sql.BY_SIZE_DOWN, (NEWEST, NEWEST), "jobs_by_size"),
    (sql.BY_TRIES_DOWN, (99, NEWEST), "jobs_by_tries"),
]
_FLOORS = f'[{{"c0": "pdf", "c1": 0, "c2": 0, "c3": 0, "c4": {MANY + 1}, "c5": 0, "c6": 0}}]'
_ONE = '[{"c0": "pdf", "c1": 0, "c2": 1}]'
BULK: list[tuple[str, tuple[Any, ...], str]] = [
    (bulk_sql.READY, (_ONE, "{7}", "{8}", 9, "[]"), "jobs_ready"),
    (bulk_sql.KEPT, (_ONE, "{7}", "{8}", 9), "jobs_kept"),
    (bulk_sql.JOBS, ("{7}",), "jobs_pkey"),
    (bulk_sql.OF_SOURCES, ('["x"]',), "jobs_by_source"),
    (bulk_sql.OF_WORKERS, ('["w"]',), "jobs_running"),
    (bulk_sql.FAILED, ("{7}", 3), "attempts_pkey"),
]


@pytest.fixture(scope="module", params=["completed", "pending", "running"])
def planner(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A session, in a database with many jobs, of which nearly all have that status."""
    book = Book(ENGINES["postgres"](tmp_path_factory.mktemp("plans")))
    database = database_of(book)
    worker = "NULL" if request.param == "pending" else "CASE WHEN n % 1000 = 0 THEN NULL ELSE 'w' || n % 4 END"
    completed = "n" if request.param == "completed" else "CASE WHEN n % 1000 = 0 THEN n END"
    database.looking.execute(
        "INSERT INTO jobs (id, type, status, priority, source_hash, created_at, updated_at, max_attempts, lease,"
        " worker_id, completed_at, failure)"
        f" SELECT n, 'pdf', CASE WHEN n % 1000 = 0 THEN 'dead' ELSE '{request.param}' END, 3, md5(n::text), n, n, 3,"
        f" 'l', {worker}, {completed}, CASE WHEN n % 1000 = 0 THEN n / 10000 END FROM generate_series(1, {MANY}) AS n"
    )
    database.looking.execute(
        "INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at)"
        f" SELECT n, 1, 'w' || n % 4, n::text, n FROM generate_series(1, {MANY}) AS n"
    )
    database.looking.execute(
        "INSERT INTO audit (id, at, actor, name, address, action, subject)"
        " SELECT n, n, 'token:1', 'a', '', 'job.retry', (n / 10)::text FROM generate_series(1, 10000) AS n"
    )
    # What was there before is gone, also from the indexes: pages that stay there make an index look dear.
    database.looking.execute("VACUUM")
    database.looking.execute("REINDEX SCHEMA public")
    database.looking.execute("VACUUM ANALYZE")
    with psycopg.connect(database.engine.url, autocommit=True) as connection:
        yield connection
    book.close()


def plan_of(planner: Connection, statement: str, values: tuple[Any, ...], *options: str) -> list[str]:
    """Whatever is bound to it: plans are made once."""
    planner.execute(f"PREPARE asked AS {statement}".encode())
    bound = ", ".join(f"'{value}'" if isinstance(value, str) else str(value) for value in values)
    explained = planner.execute(
        f"EXPLAIN ({', '.join(options) or 'COSTS'}) EXECUTE asked{f'({bound})' if bound else ''}".encode()
    )
    plan = [str(line) for (line,) in explained]
    planner.execute("DEALLOCATE asked")
    return plan


@pytest.mark.parametrize(("statement", "values", "index"), PLANS)
def test_a_statement_goes_by_its_index(
    planner: Connection, statement: str, values: tuple[Any, ...], index: str
) -> None:
    planner.execute(_SESSION.encode())
    plan = plan_of(planner, spelled(statement), values)
    assert any(f" {index}" in line for line in plan if "Index" in line), plan
    # What the index has in order but for those with one time is sorted piece by piece, as far as it is asked for.
    pieces = any("Presorted Key" in line for line in plan)
    sorts = ("Seq Scan",) if pieces else ("Seq Scan", "Sort")
    assert not any(word in line for word in sorts for line in plan if "json" not in line), plan


def test_a_text_is_found_by_its_trigrams(planner: Connection) -> None:
    """Whatever the sessions of servers are kept from: the function has its own settings."""
    ((body,),) = planner.execute("SELECT prosrc FROM pg_proc WHERE proname = 'jobs_with_trigrams'").fetchall()
    asked = re.search(r"SELECT job_id .* LIMIT \$2", body)
    assert asked is not None
    planner.execute(_SESSION.encode())
    planner.execute("SET enable_bitmapscan = on")
    plan = plan_of(planner, asked[0], ("{1,2}", 9))
    assert any("job_texts_by_trigrams" in line for line in plan), plan
    assert planner.execute("SELECT * FROM jobs_with_trigrams('{1,2}', 9)").fetchall() == []


@pytest.mark.parametrize(("statement", "values", "index"), BULK)
def test_what_a_transaction_loads_goes_by_its_index(
    planner: Connection, statement: str, values: tuple[Any, ...], index: str
) -> None:
    planner.execute(SESSION.replace("$1", "'2s'").replace("$2", "'2s'").encode())
    plan = plan_of(planner, statement, values)
    assert any(f" {index}" in line for line in plan if "Index" in line), plan
    assert not any("Seq Scan" in line for line in plan), plan


def test_outputs_are_chosen_by_their_names_and_not_looked_through(planner: Connection) -> None:
    """Else each piece of 500 of ten thousand outputs takes a second of the writer."""
    plan = plan_of(planner, spelled(sql.CHOOSE_OUTPUTS), (1, 1, "[]"))
    assert any("Index Cond" in line and "name" in line for line in plan), plan
    assert not any("Join Filter" in line or "Nested Loop" in line for line in plan), plan


# Beside many jobs of priority 3.
EMPTY: list[tuple[str, tuple[Any, ...]]] = [
    *((spelled(sql.STRATUM), (status, "pdf", priority, NEWEST, 0))
      for status in ("completed", "pending", "running") for priority in (2, 4)),
    *((spelled(sql.OF_WORKER), ("w1", priority, NEWEST, 0)) for priority in (2, 4)),
    *((spelled(sql.FIRST_PENDING), ("pdf", priority)) for priority in (2, 4)),
    *((spelled(sql.AHEAD), ("pdf", 0, priority, NEWEST, 10)) for priority in (2, 4)),
    (spelled(sql.RUNNING_ON), ("w", 10)),
    (bulk_sql.OF_WORKERS, ('["w"]',)),
    (bulk_sql.READY, (_ONE, "{}", "{}", 9, _FLOORS)),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "values"), EMPTY)
def test_an_empty_range_is_found_to_be_empty_at_once(
    planner: Connection, statement: str, values: tuple[Any, ...]
) -> None:
    """It does not go on behind its end."""
    planner.execute(SESSION.replace("$1", "'2s'").replace("$2", "'2s'").encode())
    plan = plan_of(planner, statement, values, "ANALYZE", "BUFFERS", "TIMING off")
    executed = itertools.takewhile(lambda line: "Planning" not in line, plan)
    touched = [line for line in executed if "Buffers:" in line][:1]  # none: an index without entries
    assert sum(map(int, re.findall(r"(?:hit|read)=(\d+)", "".join(touched)))) < 30, plan
