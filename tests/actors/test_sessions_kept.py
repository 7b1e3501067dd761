"""A person has no more than so many sessions at once, and those that are over go page by page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.effects import people, periodic
from actors.messages import EndSessions, NewSession, Person, Purge, SignIn
from tests.store.making import Book

PERSON = Person("https://id.example", "ada", None, None, (), False)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    opened = Book(tmp_path / "blobforge.db")
    yield opened
    opened.close()


def sign_in(number: int, *, expires_at: int = 2**50) -> SignIn:
    return SignIn(NewSession(f"{number:05}", expires_at), PERSON)


def test_the_oldest_session_ends_when_one_too_many_begins(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "MOST_SESSIONS", 3)
    for number in range(5):
        book.do(sign_in(number))
    assert book.probe.column("sessions", "hash", order="hash") == ["00002", "00003", "00004"]
    assert book.do(EndSessions(1)).count == 3


@pytest.mark.parametrize("over", ["idle", "expired"])
def test_sessions_that_are_over_go_page_by_page(book: Book, monkeypatch: pytest.MonkeyPatch, over: str) -> None:
    monkeypatch.setattr(periodic, "PURGED_AT_ONCE", 2)
    for number in range(5):
        book.do(sign_in(number, expires_at=book.now if over == "expired" else 2**50))
    purge = Purge(idle=0.0 if over == "idle" else 3600.0)
    seen = [(book.do(purge).more, book.probe.count("sessions")) for _ in range(3)]
    assert seen == [(True, 3), (True, 1), (False, 0)]
