"""What a fork has cost is settled in one turn, however many jobs run, and however long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.effects import recovery
from actors.messages import Claim, SettleFork
from blobforge.store.errors import StoreUnavailable
from blobforge.store.postgres import connection
from tests.fixtures.on_postgres import on_postgres
from tests.store.making import ADMIN, Book, submission


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    opened = Book(on_postgres(tmp_path))
    opened.register("w")
    yield opened
    opened.close()


def test_running_jobs_go_back_page_by_page_and_all_of_them(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "RUNNING_AT_ONCE", 2)
    book.do(*(submission(number) for number in range(6)))
    book.do(Claim(ADMIN, "w", ("pdf",), limit=5))
    book.do(SettleFork(1))
    assert book.probe.column("jobs", "status") == ["pending"] * 6
    assert book.probe.value("audit", "detail", action="history.forked") == "5 running jobs went back"
    book.counts_are_right()


def test_what_looks_through_all_jobs_may_take_long(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "ANSWER_WAIT", 0.2)
    turns = book.database.engine.turns  # type: ignore[attr-defined]
    with turns.patience():
        turns.run("SELECT pg_sleep(0.3)")
    with pytest.raises(StoreUnavailable):
        turns.run("SELECT pg_sleep(0.3)")


def test_the_newest_record_is_the_turn_before(book: Book) -> None:
    """No job is looked through for it, as long as there is a log."""
    book.do(submission(0))
    (at,) = book.probe.column("log", "at", order="n DESC")[:1]
    with book.store.transaction():
        assert book.store.recovery.seconds_lost(now=at + 5_000) == 5
