"""What servers of an older release have not kept is counted beside the turns, and corrected by differences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.messages import (
    BeginRecount,
    ChangeTags,
    Claim,
    Complete,
    CorrectCounts,
    CountsCorrected,
    DeleteJob,
    ObjectSeen,
    Seen,
)
from blobforge.store.miscounts import Miscounts
from blobforge.store.postgres.check import check
from blobforge.store.tallies import Tallies, Weight
from tests.fixtures.on_postgres import on_postgres
from tests.store.making import ADMIN, T0, Book, submission

SEEN = ObjectSeen(Seen.VERIFIED, size=100)
# A server that knows schema 5 or less takes the turn without saying so.
OLDER_TURN = "UPDATE turn SET n = n + 1"
# What was counted is wrong, jobs with results have no bytes, and one was made without a word about them.
UNCOUNTED = """
    UPDATE job_counts SET source_bytes = 0, output_bytes = 7;
    UPDATE tag_counts SET n = n + 2, source_bytes = 0, output_bytes = 0;
    UPDATE converter_counts SET n = 0;
    UPDATE deferred_counts SET n = 7;
    UPDATE jobs SET output_bytes = 0 WHERE id = 1;
    UPDATE jobs SET output_bytes = NULL WHERE id = 2"""


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    """Six jobs, of which four are completed, and an older server that has been at them."""
    opened = Book(on_postgres(tmp_path))
    opened.register("w")
    for number in range(6):
        opened.do(submission(number, tags=("t", f"t{number}")))
    opened.do(submission("later", not_before=T0 + 10**9))
    for job in opened.do(Claim(ADMIN, "w", ("pdf",), limit=4, converter="ocr 1")).jobs:
        complete(opened, job)
    assert check(url(opened)) == []
    older_writes(opened, UNCOUNTED)
    yield opened
    opened.close()


def url(book: Book) -> str:
    return str(book.database.engine.url)  # type: ignore[attr-defined]


def complete(book: Book, job: Any) -> None:
    book.do(Complete(ADMIN, "w", job.id, job.lease, book.key(job.id), output=SEEN))


def older_writes(book: Book, statements: str = "") -> None:
    book.database.looking.execute(f"{OLDER_TURN};{statements}".encode())  # type: ignore[attr-defined]


def found(book: Book, *, most: int = 100) -> Miscounts:
    """On a snapshot of now, in a recount that was begun just before."""
    begun = book.do(BeginRecount(book.do(BeginRecount(None)).older))
    with book.reader() as reader:
        seen = reader.miscounts(most=most)
    assert seen is not None
    assert (seen.recount, seen.older) == (begun.recount, begun.older)
    return seen


def corrected(book: Book, seen: Miscounts) -> list[CountsCorrected]:
    return [book.do(CorrectCounts(seen.recount, seen.older, lacking, jobs)) for lacking, jobs in seen.pages(2, 1)]


def nothing(seen: Miscounts) -> bool:
    return seen.lacking == Tallies() and not seen.unweighed


def test_what_is_committed_between_snapshot_and_correction_stays_counted(book: Book) -> None:
    seen = found(book)
    assert set(seen.unweighed) == {1, 2}
    assert seen.lacking.deferred == {("pdf", 3): -6}
    assert seen.lacking.tags["t",] == Weight(-3, 5, 200), "the two that are not weighed yet have none"
    for job in book.do(Claim(ADMIN, "w", ("pdf",), limit=1, converter="ocr 1")).jobs:
        complete(book, job)
    book.do(ChangeTags(6, add=("new",), remove=("t",)))
    book.do(submission("another", tags=("t",)))

    pages = corrected(book, seen)
    assert all(each.holds for each in pages)
    assert sum(each.jobs for each in pages) == 2
    again = found(book)
    assert nothing(again)
    assert book.do(CorrectCounts(again.recount, again.older, done=True)).holds
    assert check(url(book)) == []
    assert book.do(BeginRecount(again.older)).older is None


def test_a_counter_that_was_kept_from_falling_below_zero_is_right_after_another_look(book: Book) -> None:
    older_writes(book, "UPDATE tag_counts SET n = 0")
    seen = found(book)
    book.do(DeleteJob(3))
    corrected(book, seen)
    again = found(book)
    assert again.lacking.tags == {("t",): Weight(-1), ("t2",): Weight(-1)}
    assert again.lacking.converters == {("ocr 1", "completed", "pdf", 3): -1}
    corrected(book, again)
    assert nothing(found(book))
    assert check(url(book)) == []


@pytest.mark.parametrize("what", ["an older server writes", "another recount begins"])
def test_what_was_found_before_is_void_when(book: Book, what: str) -> None:
    seen = found(book)
    if what == "another recount begins":
        book.do(BeginRecount(seen.older))
    else:
        older_writes(book)
    done = CorrectCounts(seen.recount, seen.older, done=True)
    assert not any(each.holds for each in [*corrected(book, seen), book.do(done)])
    assert not nothing(found(book))


def test_no_more_is_told_at_once_than_was_asked_for(book: Book) -> None:
    for _ in range(7):
        seen = found(book, most=2)
        assert len(seen.lacking.tags) <= 2
        assert len(seen.unweighed) <= 2
        corrected(book, seen)
    assert nothing(found(book, most=2))
    assert check(url(book)) == []
