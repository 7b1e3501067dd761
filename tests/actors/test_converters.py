"""On each engine: how many converters there may be, and what they have made again by an operation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.effects.transaction import Rules
from actors.messages import (
    AdvanceOperation,
    Batch,
    BeginOperation,
    Cancel,
    Claim,
    Complete,
    DeleteJob,
    DeleteJobs,
    ObjectSeen,
    OperationPlan,
    Register,
    Retry,
    RetryJobs,
    Seen,
    SelectJobs,
    UndoOperation,
)
from actors.works import touches
from blobforge.job import JobStatus, RetryPolicy
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor
from tests.actors.test_operations import ASKER, ROOT, stands
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


def test_what_is_forgotten_has_no_place_though_the_store_was_asked_for_it(book: Book) -> None:
    """Only what is kept counts, as a server that has just started sees it."""
    assert not isinstance(done(book, "m 1"), Refusal)
    assert not isinstance(book.do(Register(ADMIN, "w2", "pdf", converter="m 1")), Refusal)
    assert not isinstance(book.do(Register(ADMIN, "w1", "pdf", converter="m 2")), Refusal)
    assert not isinstance(book.do(Register(ADMIN, "w2", "pdf", converter="m 2")), Refusal)
    assert not isinstance(book.do(DeleteJob(1)), Refusal)
    assert not isinstance(book.do(Register(ADMIN, "w1", "pdf", converter="m 3")), Refusal)
    refused(book.do(Register(ADMIN, "w1", "pdf", converter="m 1")))


def test_what_goes_in_the_same_transaction_makes_room(book: Book) -> None:
    """And what goes and is said again counts once, in whichever order."""
    assert not isinstance(done(book, "m 1"), Refusal)
    book.do(Register(ADMIN, "w1", "pdf", converter="m 2"))
    *_, third, moved, back = book.do(
        Register(ADMIN, "w2", "pdf", converter="m 1"),
        Register(ADMIN, "w2", "pdf", converter="m 2"),
        DeleteJob(1),
        Register(ADMIN, "w2", "pdf", converter="m 3"),
        Register(ADMIN, "w1", "pdf", converter="m 3"),
        Register(ADMIN, "w2", "pdf", converter="m 2"),
    )
    assert not isinstance(third, Refusal)
    assert not isinstance(moved, Refusal)
    assert not isinstance(back, Refusal), "there are m 3 and room for one"
    refused(book.do(Register(ADMIN, "w1", "pdf", converter="m 1")))


def test_an_attempt_keeps_what_it_was_begun_with(book: Book) -> None:
    """Also where neither a result nor a worker has it any more: a conversion of hours is not refused for it."""
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",), converter="m 1")).jobs
    book.do(Register(ADMIN, "w1", "pdf", converter="m 2"), Register(ADMIN, "w2", "pdf", converter="m 3"))
    complete = Complete(ADMIN, "w1", job.id, job.lease, None, ObjectSeen(Seen.ABSENT), None, "{}", converter="m 1")
    assert not isinstance(book.do(complete), Refusal)
    refused(book.do(Claim(ADMIN, "w1", ("pdf",), converter="m 4")))
    book.counts_are_right()


def test_what_a_completion_says_costs_one_look_in_a_transaction(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not isinstance(done(book, "m 1"), Refusal)
    jobs = book.do(Claim(ADMIN, "w2", ("pdf",), 3)).jobs
    looks: list[str] = []
    is_written = book.store._is_written  # type: ignore[attr-defined]

    def counted(converter: str) -> bool:
        looks.append(converter)
        return bool(is_written(converter))

    monkeypatch.setattr(book.store, "_is_written", counted)
    answers = book.do(
        *(
            Complete(ADMIN, "w2", job.id, job.lease, None, ObjectSeen(Seen.ABSENT), None, "{}", converter="m 1")
            for job in jobs
        )
    )
    assert not any(isinstance(each, Refusal) for each in answers)
    assert looks == ["m 1"]


def test_results_are_found_by_what_made_them(book: Book) -> None:
    for said in ("m 1.2", "m 1.10", None):
        done(book, said)
    with book.reader() as reader:
        page = reader.list_jobs(JobFilter(made_by="m<1.10"), limit=10, cursor=Cursor())
    assert (len(page.jobs), page.total, page.exact) == (1, 1, True)


def test_an_operation_makes_again_what_an_old_version_made_and_its_undo_puts_it_back(book: Book) -> None:
    """By the filter alone: selected by the kept counters of converters, treated a page at a turn."""
    for said in ("m 1.2", "m 1.2", "m 1.10", "m 1.2"):
        assert not isinstance(done(book, said), Refusal)
    wanted = JobFilter(made_by="m<1.10", type="pdf")
    work = RetryJobs(completed_too=True, compare=True)
    with book.reader() as reader:
        page = reader.list_jobs(wanted, limit=10, cursor=Cursor())
        among = reader.list_jobs(JobFilter(type="pdf"), limit=1, cursor=Cursor())
    assert (page.total, page.exact, among.total, among.exact) == (3, True, 4, True)
    ids = [job.id for job in page.jobs if touches(work, job)]
    number = book.do(BeginOperation(OperationPlan(work, filter=wanted), ASKER)).operation_id
    book.do(SelectJobs(number, 0, (tuple(ids[:2]), tuple(ids[2:])), page.total))
    for place, some in enumerate((ids[:2], ids[2:])):
        book.do(AdvanceOperation(number, place, "retry", tuple(some)))
    ended = stands(book, number)
    assert (ended.state, ended.matched, ended.changed) == ("completed", 3, 3)
    assert Counter(book.probe.column("jobs", "status")) == {"pending": 3, "completed": 1}
    # They are still those that the old version made: their results are served.
    with book.reader() as reader:
        assert reader.list_jobs(wanted, limit=10, cursor=Cursor()).total == 3
    undone = book.do(UndoOperation(number, ASKER)).operation_id
    for place, some in enumerate((ids[:2], ids[2:])):
        book.do(AdvanceOperation(undone, place, "undo", tuple(some)))
    assert Counter(book.probe.column("jobs", "status")) == {"completed": 4}
    book.counts_are_right()


def test_of_two_that_ask_for_the_same_the_second_makes_nothing_again(book: Book) -> None:
    """Both were selected before the first one's jobs were made anew."""
    for _ in range(4):
        assert not isinstance(done(book, "m 1.2"), Refusal)
    works = [
        (RetryJobs(completed_too=True), JobFilter(made_by="m<1.10"), "m 1.10"),  # it does not match any more
        (RetryJobs(completed_too=True), JobFilter(status=JobStatus.COMPLETED), "m 1.10"),  # it does, being new
    ]
    for work, wanted, maker in works:
        first, second = (
            book.do(BeginOperation(OperationPlan(work, filter=wanted), ASKER)).operation_id for _ in range(2)
        )
        for number in (first, second):
            book.do(SelectJobs(number, 0, ((1, 2, 3, 4),), 4))
        book.do(AdvanceOperation(first, 0, "retry", (1, 2, 3, 4)))
        for _ in range(3):
            assert not isinstance(done(book, maker), Refusal)
        book.do(AdvanceOperation(second, 0, "retry", (1, 2, 3, 4)))
        assert Counter(book.probe.column("jobs", "status")) == {"completed": 3, "pending": 1}
        assert (stands(book, second).changed, stands(book, second).refused) == (0, 4)
        assert not isinstance(done(book, maker), Refusal)
        if wanted.made_by is not None:
            (moved_on,) = book.do(Batch((Retry(1),), wanted)).items
            assert isinstance(moved_on, Refusal)
            assert moved_on.code is RefusalCode.JOB_MOVED_ON
    book.counts_are_right()


def test_a_result_that_was_made_anew_is_not_deleted_as_the_old_one(book: Book) -> None:
    for _ in range(2):
        assert not isinstance(done(book, "m 1.2"), Refusal)
    wanted = JobFilter(made_by="m<1.10")
    number = book.do(BeginOperation(OperationPlan(DeleteJobs(), filter=wanted), ROOT)).operation_id
    book.do(SelectJobs(number, 0, ((1, 2),), 2))
    for another in (3, 4):
        book.do(Cancel(another))
    book.do(Retry(1))
    assert not isinstance(done(book, "m 1.10"), Refusal)
    book.do(AdvanceOperation(number, 0, "delete", (1, 2)))
    assert book.probe.column("jobs", "id") == [1, 3, 4]
