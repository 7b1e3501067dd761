"""Batches on each engine: counted with their jobs, in several of them too, and ended exactly once for each time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from actors.messages import (
    AdvanceOperation,
    BeginOperation,
    Cancel,
    Claim,
    CloseBatch,
    Complete,
    DeleteBatch,
    DeleteJob,
    Fail,
    MakeBatch,
    OperationPlan,
    Prune,
    Retry,
    SelectJobs,
)
from blobforge import batch
from blobforge.access import Caller, Scope
from blobforge.batch import JobBatch
from blobforge.events import BatchEnded
from blobforge.job import JobStatus
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor
from tests.fixtures.engines import ENGINES
from tests.store.making import ADMIN, Book, at_work, submission


class BatchBook(Book):
    """Remembers which batches were told to have ended, and for which time."""

    ended: list[tuple[int, int]]

    def _do(self, messages: Sequence[Any], tx: Any) -> list[Any]:
        answers = super()._do(messages, tx)
        self.ended = [(each.batch_id, each.ending) for each in tx.events if isinstance(each, BatchEnded)]
        return answers

    def counts(self, number: int) -> dict[str, int]:
        with self.reader() as reader:
            return {status: n for (status, _), n in reader.batches.counts([number])[number].items()}

    def batch(self, number: int) -> JobBatch:
        with self.reader() as reader:
            found = reader.batches.get(number)
        assert found is not None
        return found

    def jobs(self, number: int, **more: Any) -> list[int]:
        """By the list, and by their numbers: the same ones."""
        wanted = JobFilter(batch=number, **more)
        with self.reader() as reader:
            by_id, _ = reader.jobs_by_id(wanted, after=0, limit=100)
            listed = reader.list_jobs(wanted, limit=100, cursor=Cursor()).jobs
        assert {job.id for job in by_id} == {job.id for job in listed}
        return [job.id for job in by_id]


@pytest.fixture(params=["memory", "postgres"])
def book(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BatchBook]:
    with at_work(BatchBook(ENGINES[request.param](tmp_path / "x.db"))) as opened:
        yield opened


def made(book: Book, name: str = "scans", **more: Any) -> int:
    return int(book.do(MakeBatch(name, **more)).batch_id)


def end_one(book: Book, *, well: bool = True) -> int:
    (job,) = book.do(Claim(ADMIN, "w", ("pdf",))).jobs
    book.do(Complete(ADMIN, "w", job.id) if well else Fail(ADMIN, "w", job.id, "broken", retryable=False))
    return int(job.id)


def test_a_batch_ends_with_the_last_of_its_jobs_and_again_after_a_retry(book: BatchBook) -> None:
    number = made(book, metadata='{"for":"acme"}', submitter="token:1")
    book.do(*(submission(n, batch=number) for n in range(3)), submission("another's"))
    assert book.counts(number) == {"pending": 3}
    assert (book.batch(number).state, book.batch(number).started_at) == ("open", None)
    end_one(book)
    started = book.batch(number).started_at
    assert started == book.now - 1000
    end_one(book, well=False)
    book.do(CloseBatch(number))
    assert (book.batch(number).state, book.ended) == ("closed", [])
    end_one(book)
    assert book.ended == [(number, 1)]
    assert book.counts(number) == {"completed": 2, "dead": 1}
    assert book.batch(number) == JobBatch(
        number, "scans", book.batch(number).created_at, '{"for":"acme"}', "token:1", book.now - 2000, started,
        book.now, 1,
    )  # fmt: skip
    book.do(CloseBatch(number))
    assert (book.ended, book.batch(number).closed_at) == ([], book.now - 3000)
    book.do(Retry(2))
    assert (book.ended, book.batch(number).state) == ([], "closed")
    book.do(Cancel(2))
    assert (book.ended, book.batch(number).endings) == ([(number, 2)], 2)
    book.do(Retry(2), Cancel(2))
    assert book.ended == [(number, 3)], "each time that it ends"


def test_an_open_batch_never_ends_and_an_empty_one_ends_when_it_is_closed(book: BatchBook) -> None:
    number = made(book)
    book.do(submission(1, batch=number))
    end_one(book)
    assert (book.ended, book.batch(number).state) == ([], "open")
    book.do(CloseBatch(number))
    assert book.ended == [(number, 1)]
    book.do(CloseBatch(made(book)))
    assert book.ended == [(number + 1, 1)]
    closed = made(book, closed=True)
    assert (book.ended, book.batch(closed).state) == ([(closed, 1)], "ended")


def test_a_document_of_two_batches_is_one_job_of_both(book: BatchBook) -> None:
    """A client that submitted it for the second waits for it, and finds it there; it is not made anew."""
    first, second, third = made(book, "a"), made(book, "b"), made(book, "c")
    book.do(submission(1, batch=first), submission(2, batch=first))
    answer = book.do(submission(1, batch=second))
    assert (answer.existing, answer.job_id, answer.batches) == (True, 1, (first, second))
    assert book.do(submission(1)).batches == (), "a client that knows of none is told none"
    assert (book.jobs(first), book.jobs(second)) == ([1, 2], [1])
    assert book.jobs(first, status=JobStatus.PENDING) == [1, 2]
    book.do(CloseBatch(first), CloseBatch(second))
    assert book.do(submission(1, batch=second)).batches == (first, second), "it is in it already"
    end_one(book)
    assert (book.ended, book.counts(second)) == ([(second, 1)], {"completed": 1})
    assert book.do(submission(1, batch=third)).batches == (first, second, third), "of what has ended, too"
    book.do(CloseBatch(third))
    assert (book.ended, book.counts(third)) == ([(third, 1)], {"completed": 1})
    end_one(book)
    assert book.ended == [(first, 1)]
    book.do(Retry(1))
    assert [book.batch(each).state for each in (first, second, third)] == ["closed"] * 3
    end_one(book)
    assert book.ended == [(first, 2), (second, 2), (third, 2)]


def test_what_is_deleted_is_gone_and_waited_for_no_longer(book: BatchBook) -> None:
    number = made(book)
    book.do(*(submission(n, batch=number) for n in range(3)))
    book.do(CloseBatch(number))
    end_one(book)
    book.do(DeleteJob(2))
    assert (book.counts(number), book.ended) == ({"completed": 1, "pending": 1, "gone": 1}, [])
    book.do(DeleteJob(3))
    assert (book.counts(number), book.ended) == ({"completed": 1, "gone": 2}, [(number, 1)])
    book.do(Prune(((JobStatus.COMPLETED, book.now),), limit=10))
    assert (book.counts(number), book.ended, book.jobs(number)) == ({"gone": 3}, [], [])


@pytest.mark.parametrize("results", [False, True])
def test_a_batch_is_forgotten_with_the_last_of_its_jobs(book: BatchBook, results: bool) -> None:
    number, other = made(book), made(book, "other")
    book.do(*(submission(n, batch=number) for n in range(2)), submission(1, batch=other))
    end_one(book), end_one(book)
    plan = OperationPlan(DeleteBatch(number, results), filter=JobFilter(batch=number))
    root = Caller(frozenset({Scope.ADMIN}), name="root")
    operation = book.do(BeginOperation(plan, root, number)).operation_id
    book.do(SelectJobs(operation, 0, ((1, 2),), matched=2))
    book.do(AdvanceOperation(operation, 0, "delete-batch", (1, 2)))
    with book.reader() as reader:
        assert reader.batches.get(number) is None
        assert [each for each in (1, 2) if reader.job(each)] == ([2] if results else [1, 2])
    assert (book.counts(number), book.counts(other)) == ({}, {"completed": 1})


def test_what_is_refused_changes_nothing(book: BatchBook) -> None:
    number = made(book)
    same = book.do(MakeBatch("scans"))
    assert isinstance(same, Refusal)
    assert (same.code, same.field) == (RefusalCode.BATCH_EXISTS, "name")
    assert str(number) in same.detail
    book.do(CloseBatch(number))
    again = made(book)
    assert again > number, "of those that are open each has its own"
    for refused, code in (
        (book.do(CloseBatch(99)), RefusalCode.NO_SUCH_BATCH),
        (book.do(submission(1, batch=99)), RefusalCode.NO_SUCH_BATCH),
        (book.do(submission(1, batch=number)), RefusalCode.BATCH_CLOSED),
    ):
        assert isinstance(refused, Refusal)
        assert refused.code is code
    _, refused, _ = book.do(submission(1, batch=again), submission(2, batch=number), submission(3, batch=again))
    assert isinstance(refused, Refusal)
    assert book.counts(again) == {"pending": 2}


def test_a_job_is_in_so_many_batches(book: BatchBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MOST_BATCHES", 2)
    numbers = [made(book, name) for name in "abc"]
    *_, refused = book.do(*(submission(1, batch=number) for number in numbers))
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.BATCHES_FULL
    assert book.do(submission(1, batch=numbers[0])).batches == tuple(numbers[:2])


def test_many_at_once(book: BatchBook) -> None:
    """In one transaction a batch is made of what a list of submissions brings, given out, and ended."""
    number = made(book)
    book.do(*(submission(n, batch=number) for n in range(20)), CloseBatch(number))
    jobs = book.do(Claim(ADMIN, "w", ("pdf",), 20)).jobs
    assert book.counts(number) == {"running": 20}
    book.do(*(Complete(ADMIN, "w", job.id) for job in jobs))
    assert (book.ended, book.counts(number)) == ([(number, 1)], {"completed": 20})
