"""A transaction is a handful of statements, whatever its size: each hands the interpreter's lock over, and on another
engine each is a round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from actors.messages import (
    Batch,
    Claim,
    Complete,
    Fail,
    Heartbeat,
    JobBeat,
    NewJob,
    ObjectSeen,
    Register,
    Release,
    Retry,
    Retype,
    Seen,
    Submit,
)
from blobforge.job import Job, ReleaseCause
from tests.fixtures.engines import in_memory
from tests.store.chaining import ChainBook, books, documents, join_two_at_once, page, turn
from tests.store.making import ADMIN, Book, at_work, hash_of, submission

SIZES = (64, 500)


@contextmanager
def counted(book: Book) -> Iterator[list[str]]:
    """The statements that are run within."""
    said: list[str] = []

    def note(_: apsw.Cursor, statement: str, __: Any) -> bool:
        said.append(statement)
        return True

    book.db.exec_trace = note
    try:
        yield said
    finally:
        book.db.exec_trace = None


def filled(book: Book, jobs: int) -> None:
    book.do(*(Register(ADMIN, f"w{number}", "pdf") for number in range(500)))
    book.do(*(submission(number, tags=("t",)) for number in range(jobs)))


def claims(n: int) -> list[Claim]:
    return [Claim(ADMIN, f"w{number}", ("pdf",)) for number in range(n)]


def claimed(book: Book, n: int) -> list[Job]:
    book.now += 10_000
    return [job for granted in book.do(*claims(n)) for job in granted.jobs]


def completion(book: Book, job: Job, **more: Any) -> Complete:
    assert job.worker_id is not None
    key, seen = book.key(job.id, job.attempt), ObjectSeen(Seen.PRESENT, 1)
    return Complete(ADMIN, job.worker_id, job.id, job.lease, key, seen, result="{}", **more)


WAYS: dict[str, tuple[Callable[[Book, list[Job]], list[Any]], int]] = {
    "complete": (lambda book, jobs: [completion(book, job) for job in jobs], 11),
    "complete, claim_next": (lambda book, jobs: [completion(book, job, claim_next=True) for job in jobs], 16),
    "complete, in a batch": (lambda book, jobs: [Batch(tuple(completion(book, job) for job in jobs))], 11),
    "fail": (lambda _, jobs: [Fail(ADMIN, job.worker_id or "", job.id, "no", job.lease) for job in jobs], 13),
    "release": (
        lambda _, jobs: [
            Release(ADMIN, job.worker_id or "", job.id, job.lease, None, ReleaseCause.SHUTDOWN) for job in jobs
        ],
        8,
    ),
    "heartbeat": (
        lambda _, jobs: [
            Heartbeat(ADMIN, job.worker_id or "", (JobBeat(job.id, job.lease, '{"percent":1}'),)) for job in jobs
        ],
        5,
    ),
    "repeated heartbeats": (
        lambda _, jobs: 2 * [Heartbeat(ADMIN, job.worker_id or "", (JobBeat(job.id, job.lease),)) for job in jobs],
        5,
    ),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS)
def test_what_is_done_with_jobs_in_hand(book: Book, way: str, size: int) -> None:
    messages, most = WAYS[way]
    filled(book, 2 * size)
    jobs = claimed(book, size)
    assert len(jobs) == size
    asked = messages(book, jobs)
    with counted(book) as said:
        book.do(*asked)
    assert len(said) <= most, said
    book.counts_are_right()


@pytest.mark.parametrize("size", SIZES)
def test_claims(book: Book, size: int) -> None:
    filled(book, size)
    book.now += 10_000  # each is a sign of life to be written, too
    with counted(book) as said:
        granted = book.do(*claims(size))
    assert [len(each.jobs) for each in granted] == [1] * size
    assert len(said) <= 10, said
    assert len({job.id for each in granted for job in each.jobs}) == size
    with counted(book) as said:
        assert not any(each.jobs for each in book.do(*claims(size)))
    assert len(said) <= 10, said
    book.counts_are_right()


@pytest.mark.parametrize("limit", [100, 500])
def test_a_claim_of_many(book: Book, limit: int) -> None:
    filled(book, limit)
    with counted(book) as said:
        assert len(book.do(Claim(ADMIN, "w1", ("pdf",), limit)).jobs) == limit
    assert len(said) <= 10, said


@pytest.mark.parametrize("known", [False, True], ids=["new", "known"])
def test_submissions(book: Book, known: bool) -> None:
    new = [Submit(NewJob("pdf", hash_of(number), tags=("a", "b"))) for number in range(1000)]
    book.do(submission("the first of its type"))
    if known:
        book.do(Batch(tuple(new)))
    with counted(book) as said:
        done = book.do(Batch(tuple(new)))
    assert [item.existing for item in done.items] == [known] * 1000
    assert len(said) <= 11, said  # two tags, each with what it counts
    book.counts_are_right()


def test_other_types(book: Book) -> None:
    filled(book, 500)
    with counted(book) as said:
        book.do(Batch(tuple(Retype(number, "ocr", undo="token") for number in range(1, 501))))
    assert len(said) <= 12, said
    assert book.probe.count("jobs", type="ocr") == 500
    book.counts_are_right()


def test_retries(book: Book) -> None:
    filled(book, 500)
    for job in claimed(book, 500):
        book.do(Fail(ADMIN, job.worker_id or "", job.id, "no", job.lease, retryable=False))
    with counted(book) as said:
        book.do(Batch(tuple(Retry(number, undo="token") for number in range(1, 501))))
    assert len(said) <= 12, said
    assert book.probe.count("jobs", status="pending") == 500
    book.counts_are_right()


@pytest.mark.parametrize("n", [6, 24])
def test_the_end_of_a_page_of_many_documents(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    join_two_at_once(monkeypatch)
    with at_work(ChainBook(in_memory(Path()))) as book:
        parents = documents(book, n)
        with counted(book) as said:
            page(book)
        assert books(book) == parents[:2]
        assert len(said) <= 63, said
        with counted(book) as said:
            turn(book)
        assert books(book) == parents[:4]
        assert len(said) <= 63, said
