"""On each engine: how many converters there may be, and what they have made again by an operation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.effects.transaction import Rules
from actors.messages import Claim, Complete, ObjectSeen, Register, Seen
from blobforge.job import RetryPolicy
from blobforge.refusals import Refusal
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor
from tests.fixtures.engines import ENGINES
from tests.store.making import ADMIN, Book, submission


@pytest.fixture(params=ENGINES)
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    opened = Book(ENGINES[request.param](tmp_path / "x.db"), rules=Rules(RetryPolicy(jitter=0), max_converters=2))
    opened.register("w1", "w2")
    for number in range(4):
        opened.do(submission(number))
    yield opened
    opened.close()


def refused(answer: object) -> str:
    assert isinstance(answer, Refusal), answer
    assert (answer.code, answer.field) == ("invalid", "converter")
    return answer.detail


def done(book: Book, said: str | None, *, at_completion: str | None = None) -> object:
    claimed = book.do(Claim(ADMIN, "w1", ("pdf",), converter=said))
    if isinstance(claimed, Refusal):
        return claimed
    (job,) = claimed.jobs
    return book.do(
        Complete(ADMIN, "w1", job.id, job.lease, None, ObjectSeen(Seen.ABSENT), None, "{}", converter=at_completion)
    )


def test_a_converter_that_is_one_too_many_is_refused_wherever_it_is_said(book: Book) -> None:
    for said in ("m 1", "m 2"):
        assert not isinstance(done(book, said), Refusal)
    assert "2 converters already, and 'm 3' would be one more" in refused(done(book, "m 3"))
    refused(book.do(Register(ADMIN, "w2", "pdf", converter="m 3")))
    # The job stays with its worker, who may complete it without, or with one that is known.
    (job,) = book.do(Claim(ADMIN, "w2", ("pdf",))).jobs
    complete = Complete(ADMIN, "w2", job.id, job.lease, None, ObjectSeen(Seen.ABSENT), None, "{}", converter="m 3")
    refused(book.do(complete))
    known = Complete(ADMIN, "w2", job.id, job.lease, None, ObjectSeen(Seen.ABSENT), None, "{}", converter="m 1")
    assert not isinstance(book.do(known), Refusal)
    # None is no converter.
    assert not isinstance(book.do(Register(ADMIN, "w2", "pdf")), Refusal)
    book.counts_are_right()


def test_one_that_only_a_worker_has_counts_and_goes_with_it(book: Book) -> None:
    assert not isinstance(done(book, "m 1"), Refusal)
    assert not isinstance(book.do(Register(ADMIN, "w2", "pdf", converter="m 2")), Refusal)
    refused(book.do(Claim(ADMIN, "w1", ("pdf",), converter="m 3")))
    assert not isinstance(book.do(Register(ADMIN, "w2", "pdf", converter="m 1")), Refusal)
    assert not isinstance(book.do(Claim(ADMIN, "w1", ("pdf",), converter="m 3")), Refusal)


def test_two_in_one_transaction_are_one_too_many(book: Book) -> None:
    assert not isinstance(done(book, "m 1"), Refusal)
    first, second = book.do(
        Register(ADMIN, "w2", "pdf", converter="m 2"), Claim(ADMIN, "w1", ("pdf",), converter="m 3")
    )
    assert not isinstance(first, Refusal)
    refused(second)


def test_results_are_found_by_what_made_them(book: Book) -> None:
    for said in ("m 1.2", "m 1.10", None):
        done(book, said)
    with book.reader() as reader:
        page = reader.list_jobs(JobFilter(made_by="m<1.10"), limit=10, cursor=Cursor())
    assert (len(page.jobs), page.total, page.exact) == (1, 1, True)
