"""Transactions: guarded updates, effects that are undone, and a disk that is full."""

from __future__ import annotations

from contextlib import suppress

import pytest
from msgspec.structs import replace

from actors.effects import perform
from actors.effects.needs import needs_of
from actors.effects.transaction import Transaction
from actors.messages import Batch, BatchDone, Cancel, Claim, Granted, JobChanged, NewJob, Register, Submit, Submitted
from blobforge.events import JobCreated, SourceAwaited
from blobforge.job import Job, JobStatus
from blobforge.refusals import Refusal
from blobforge.store.errors import StaleState, StoreUnavailable
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor
from tests.fixtures.engines import Database
from tests.store.making import ADMIN, T0, Book, hash_of, submission


def test_a_guarded_update_of_another_state_is_refused(book: Book) -> None:
    book.do(submission(1))
    stale = book.store.job(1)
    assert stale is not None
    book.do(Cancel(1))
    with pytest.raises(StaleState, match="job 1 was no longer pending"), book.store.transaction():
        book.store.save_job(stale, replace(stale, status=JobStatus.COMPLETED))
    now = book.store.job(1)
    assert now is not None
    assert now.status is JobStatus.CANCELLED
    book.counts_are_right()


def test_a_renewal_of_another_attempt_is_refused(book: Book) -> None:
    book.register("w")
    book.do(submission(1))
    (job,) = book.do(Claim(ADMIN, "w", ("pdf",))).jobs
    with pytest.raises(StaleState), book.store.transaction():
        book.store.beat_job(replace(job, attempt=2), progress=None, now=1)


def test_claim_order_is_priority_then_age_over_all_types(book: Book) -> None:
    book.register("w")
    plan = [("a", 3), ("b", 1), ("a", 5), ("c", 1), ("b", 3), ("a", 1), ("d", 1), ("c", 3)]
    for number, (type_, priority) in enumerate(plan):
        book.do(submission(number, type_=type_, priority=priority))
    wanted = sorted((priority, number + 1) for number, (type_, priority) in enumerate(plan) if type_ != "d")
    claimed = [job.id for _ in range(3) for job in book.do(Claim(ADMIN, "w", ("c", "a", "b"), 2)).jobs]
    claimed += [job.id for job in book.do(Claim(ADMIN, "w", ("c", "a", "b", "a"), 10)).jobs]
    assert claimed == [number for _, number in wanted]
    assert book.do(Claim(ADMIN, "w", ("c", "a", "b"))) == Granted()


def test_a_duplicate_is_the_same_job_whatever_else_is_in_the_transaction(book: Book) -> None:
    first, second, other = book.do(submission(1), submission(1, priority=1), submission(1, type_="ocr"))
    assert isinstance(first, Submitted)
    assert (second.job_id, second.existing) == (first.job_id, True)
    assert (other.job_id, other.existing) == (2, False)
    book.counts_are_right()


def test_what_is_undone_takes_its_counts_along(book: Book) -> None:
    book.register("w")
    tx = Transaction(book.store, book.rules, book.now, book.dice)

    def broken(tx: Transaction, _: None) -> None:
        perform(tx, submission(2), 0)
        perform(tx, Cancel(1), 1)
        perform(tx, Claim(ADMIN, "w", ("pdf",)), 2)
        raise RuntimeError

    needs = needs_of((message, None) for message in (submission(1), submission(2), Claim(ADMIN, "w", ("pdf",))))
    with book.store.transaction(needs):
        perform(tx, submission(1), 0)
        with suppress(RuntimeError):
            tx.whole(1, broken, None)
        perform(tx, submission(3), 2)
    book.counts_are_right()
    assert book.probe.rows("jobs", "id", "status") == [(1, "pending"), (2, "pending")]
    with suppress(RuntimeError), book.store.transaction():
        perform(tx, submission(4))
        raise RuntimeError
    book.do(submission(5))  # the counts of the transaction that failed must not come along now
    book.counts_are_right()


def test_a_worker_that_was_undone_is_forgotten(book: Book) -> None:
    """What was read of it in the transaction is not read again."""
    tx = Transaction(book.store, book.rules, book.now, book.dice)

    def broken(tx: Transaction, _: None) -> None:
        perform(tx, Register(ADMIN, "w", "pdf"))
        assert book.store.worker("w") is not None
        raise RuntimeError

    with book.store.transaction():
        with suppress(RuntimeError):
            tx.whole(0, broken, None)
        assert book.store.worker("w") is None


def test_a_full_disk_undoes_all_and_is_no_bug(book: Book) -> None:
    book.register("w")
    book.do(submission("before"))
    many = [submission(number, metadata="x" * 2000) for number in range(200)]
    with book.database.full() as make_room:
        with pytest.raises(StoreUnavailable, match="full"):
            book.do(Cancel(1), *many)
        assert book.probe.column("jobs", "status") == ["pending"]  # the job that came before the failure, too
        book.counts_are_right()
        make_room()
        assert len(book.do(*many)) == 200
    book.counts_are_right()


def test_a_database_that_another_process_holds_is_unavailable(book: Book) -> None:
    with book.database.held(), pytest.raises(StoreUnavailable):
        book.do(submission(1))
    assert book.do(submission(1)).job_id == 1


def test_a_snapshot_is_one_moment(book: Book, database: Database) -> None:
    """Also one inside another, and what a call reads with several statements."""
    book.do(submission(1))
    with book.reader() as reader, reader.snapshot():
        assert reader.stats(now=book.now).jobs[JobStatus.PENDING] == 1
        if database.both_at_once:
            book.do(submission(2))
            with reader.snapshot():
                assert reader.stats(now=book.now).jobs[JobStatus.PENDING] == 1
        assert reader.list_jobs(JobFilter(), limit=5, cursor=Cursor()).total == 1
        assert reader.job(2) is None
    with book.reader() as reader:
        assert (reader.job(2) is not None) is database.both_at_once


TEMPLATE = Job(0, "pdf", JobStatus.UPLOADING, 3, hash_of(0), T0, T0, 3)
ODD = ['a "quoted" \\ path', "späß 日本 \U0001f4d8", "line\nbreak\ttab", "null", "[1, 2]", "12", "{}", " "]


def test_new_jobs_are_stored_as_they_are_in_their_order(book: Book) -> None:
    """They go to SQLite as JSON: nothing of them may be taken for something else on the way."""
    new = [
        replace(TEMPLATE, type=f"t{number % 3}", source_hash=hash_of(number), source_path=odd, tags=(odd, "x"),
                source_size=2**63 - 1 if number % 2 else None, metadata='{"a":"\\u0000\\ud800","b":null}')
        for number, odd in enumerate(ODD)
    ]  # fmt: skip
    with book.store.transaction():
        stored = book.store.insert_jobs(new)
    assert [replace(job, id=0) for job in stored] == new
    assert [job.id for job in stored] == list(range(1, len(new) + 1))
    assert [book.store.job(job.id) for job in stored] == stored
    tags = book.probe.rows("job_tags", "job_id", "tag")
    assert tags == sorted((job.id, tag) for job in stored for tag in job.tags)
    with book.store.transaction():
        (later,) = book.store.insert_jobs([replace(TEMPLATE, source_hash=hash_of(99))])
    assert later.id == len(new) + 1
    book.counts_are_right()


@pytest.mark.parametrize("careful", [True, False], ids=["one by one", "together"])
def test_a_batch_of_submissions(book: Book, careful: bool) -> None:
    """Known and unknown sources, the same one twice, first ones of a type, and other items in between. Where a
    transaction could not be written, each is written by itself."""
    book.do(submission(1), submission(2))
    book.do(Cancel(2))

    def item(name: int, type_: str = "pdf", tags: tuple[str, ...] = ()) -> Submit:
        return Submit(NewJob(type_, hash_of(name), tags=tags))

    items = [item(3), item(1), item(4, "ocr"), item(3), Cancel(1), item(5), item(3, "ocr"), Cancel(77), item(2),
             item(6, tags=("a", "b", "a"))]  # fmt: skip
    tx = Transaction(book.store, book.rules, book.now, book.dice, careful=careful)
    with book.store.transaction():
        done = perform(tx, Batch(tuple(items)))
    assert isinstance(done, BatchDone)
    told = [each.existing if isinstance(each, Submitted) else type(each) for each in done.items]
    assert told == [False, True, False, True, JobChanged, False, False, Refusal, True, False]
    submitted = [(item, each) for item, each in zip(items, done.items, strict=True) if isinstance(each, Submitted)]
    for item_, each in submitted:
        assert isinstance(item_, Submit)
        job = book.store.job(each.job_id)
        assert job is not None
        assert (job.type, job.source_hash) == (item_.job.type, item_.job.source_hash)
        assert each.upload is (each.status is JobStatus.UPLOADING)
    ids = [each.job_id for _, each in submitted]
    assert ids[0] == ids[3], "the same source twice is one job"
    assert len(set(ids)) == len(ids) - 1
    assert book.probe.count("jobs") == 7
    assert book.probe.column("job_tags", "tag") == ["a", "b"]
    assert sum(isinstance(event, JobCreated) for event in tx.events) == 5
    assert sum(isinstance(fact, SourceAwaited) for fact in tx.facts) == 5
    book.counts_are_right()
