"""Operations on each engine: every job treated once, whatever stops the server in between; rights; undo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.effects import jobs
from actors.messages import (
    AdvanceOperation,
    BeginOperation,
    Cancel,
    CancelJobs,
    ChangeTags,
    Claim,
    Complete,
    CreateToken,
    DeleteJobs,
    DeleteToken,
    EndOperation,
    OperationPlan,
    PrioritiseJobs,
    PruneOperations,
    RemoveWorker,
    RemoveWorkers,
    RetryJobs,
    SelectJobs,
    TagJobs,
    UndoJobs,
    UndoOperation,
    Unregister,
    Work,
)
from actors.works import touches
from blobforge.access import Caller, Scope
from blobforge.job import JobStatus
from blobforge.operation import UNDO_MS, Operation, OperationState
from blobforge.refusals import Refusal, RefusalCode
from blobforge.store.filters import JobFilter
from blobforge.worker import WorkerFilter
from tests.fixtures.engines import ENGINES, in_memory
from tests.store.making import ADMIN, Book, submission

ASKER = Caller(frozenset({Scope.SUBMIT}), name="ann")
ROOT = Caller(frozenset({Scope.ADMIN}), name="root")
JOBS = 7
A_TURN = 2


@pytest.fixture(params=ENGINES)
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    opened = Book(ENGINES[request.param](tmp_path / "x.db"))
    for number in range(JOBS):
        opened.do(submission(number, tags=("t",)))
    yield opened
    opened.close()


def begun(book: Book, work: Work, caller: Caller = ASKER, **more: Any) -> int:
    answer = book.do(BeginOperation(OperationPlan(work, filter=JobFilter(type="pdf"), **more), caller))
    assert not isinstance(answer, Refusal), answer
    return int(answer.operation_id)


def stands(book: Book, operation_id: int) -> Operation:
    with book.reader() as reader:
        found = reader.operation(operation_id)
    assert found is not None
    return found


def turn(book: Book, operation_id: int, work: Work) -> Any:
    """The next message that the operator would send."""
    operation = stands(book, operation_id)
    with book.reader() as reader:
        if operation.state is OperationState.SELECTING:
            jobs = [reader.job(job_id) for job_id in range(1, JOBS + 1)]
            ids = [job.id for job in jobs if job is not None and touches(work, job)]
            pages = tuple(tuple(ids[at : at + A_TURN]) for at in range(0, len(ids), A_TURN))
            return SelectJobs(operation.id, operation.pages, pages, len(jobs))
        ids = reader.operation_jobs(operation.undo_of or operation.id, operation.page)
    return AdvanceOperation(operation.id, operation.page, operation.verb, tuple(ids))


def carried_out(book: Book, operation_id: int, work: Work) -> Operation:
    while not (operation := stands(book, operation_id)).ended:
        assert not isinstance(book.do(turn(book, operation_id, work)), Refusal)
    book.counts_are_right()
    return operation


def statuses(book: Book) -> Counter[str]:
    return Counter(book.probe.column("jobs", "status"))


def test_it_selects_treats_and_ends(book: Book) -> None:
    number = begun(book, CancelJobs())
    done = carried_out(book, number, CancelJobs())
    assert (done.state, done.matched, done.total, done.done, done.changed, done.refused) == (
        OperationState.COMPLETED, 7, 7, 7, 7, 0,
    )  # fmt: skip
    assert (done.pages, done.page, done.verb, done.name) == (4, 4, "cancel", "ann")
    assert statuses(book) == {"cancelled": 7}
    assert book.do(EndOperation(number)).code is RefusalCode.OPERATION_ENDED


def test_how_far_it_is_is_told_each_second(book: Book) -> None:
    work = TagJobs(("new",))
    number = begun(book, work)
    book.do(turn(book, number, work))
    selected = book.now
    told = [stands(book, number).told_at]
    for seconds in (0.4, 0.4, 0.4):
        book.now += round(1000 * seconds) - 1000
        book.do(turn(book, number, work))
        told.append(stands(book, number).told_at)
    assert told == [selected, selected, selected, selected + 1200]


def test_how_far_it_is_is_told_where_the_clock_was_set_back(tmp_path: Path) -> None:
    book = Book(in_memory(tmp_path))
    book.do(*map(submission, range(JOBS)))
    work = TagJobs(("new",))
    number = begun(book, work)
    book.do(turn(book, number, work))
    book.now -= 3 * 3_600_000
    book.do(turn(book, number, work))
    assert stands(book, number).told_at == book.now
    book.close()


def test_a_turn_that_is_asked_for_twice_is_made_once(book: Book) -> None:
    """By two servers, or by one that did not hear the answer."""
    work = TagJobs(("new",), ("t",))
    number = begun(book, work)
    first = turn(book, number, work)
    book.do(first, first)
    assert stands(book, number).pages == 4
    again = turn(book, number, work)
    book.do(again, again)
    book.do(again)
    assert (stands(book, number).page, stands(book, number).changed) == (1, 2)
    assert carried_out(book, number, work).changed == 7
    assert book.probe.count("job_tags", tag="new") == 7
    assert book.probe.count("job_tags", tag="t") == 0


WORKS: list[tuple[Work, Caller]] = [
    (CancelJobs(), ASKER), (PrioritiseJobs(1), ASKER), (TagJobs(("new",), ("t",)), ASKER), (DeleteJobs(), ROOT),
    (RetryJobs(), ASKER),
]  # fmt: skip


@pytest.mark.parametrize(("work", "caller"), WORKS, ids=lambda each: type(each).__name__)
def test_killed_at_each_step_every_job_is_treated_once(
    book: Book, work: Work, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each transaction is broken off before its commit, and after it before the operator hears of it."""
    if isinstance(work, RetryJobs):
        book.do(*(_cancelled(job_id) for job_id in range(1, JOBS + 1)))
    number = begun(book, work, caller)
    while not stands(book, number).ended:
        asked, before = turn(book, number, work), stands(book, number)
        with monkeypatch.context() as patch:
            patch.setattr(book.store._bulk, "commit", _killed(book))  # type: ignore[attr-defined]
            with pytest.raises(KeyboardInterrupt):
                book.do(asked)
        assert stands(book, number) == before, "nothing of it has happened"
        book.do(asked)
        book.do(asked)  # the restarted server asks again
    done = stands(book, number)
    assert (done.total, done.done, done.changed) == (7, 7, 7)
    book.counts_are_right()
    match work:
        case DeleteJobs():
            assert book.probe.count("jobs") == 0
        case TagJobs():
            assert book.probe.count("job_tags", tag="new") == 7
        case PrioritiseJobs():
            assert set(book.probe.column("jobs", "priority")) == {1}
        case _:
            assert statuses(book) == {"cancelled" if isinstance(work, CancelJobs) else "pending": 7}


def _cancelled(job_id: int) -> Any:
    return Cancel(job_id)


def _killed(book: Book) -> Callable[[], float]:
    def commit() -> float:
        book.store.ensure()  # all of it is written, and not committed
        raise KeyboardInterrupt

    return commit


def test_workers_are_removed_a_page_at_a_turn_killed_at_each_step(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they run goes back; one that has come back since, or was made anew, is left alone."""
    for worker in ("w1", "w2", "w3", "w4"):
        book.register(worker)
        book.do(Claim(ADMIN, worker, ("pdf",)))
    work = RemoveWorkers(chosen=WorkerFilter("online"))
    number = int(book.do(BeginOperation(OperationPlan(work), ROOT)).operation_id)
    book.do(SelectJobs(number, 0, (("w1", "w2"), ("w3", "w4", "gone")), 4))
    book.now += 1
    book.do(RemoveWorker("w2"))
    book.register("w2")
    book.do(Unregister(ADMIN, "w3"))
    while not (before := stands(book, number)).ended:
        with book.reader() as reader:
            workers = reader.operation_workers(number, before.page)
        asked = AdvanceOperation(number, before.page, "remove-workers", workers=tuple(workers))
        with monkeypatch.context() as patch:
            patch.setattr(book.store._bulk, "commit", _killed(book))  # type: ignore[attr-defined]
            with pytest.raises(KeyboardInterrupt):
                book.do(asked)
        assert stands(book, number) == before, "nothing of it has happened"
        book.do(asked)
        book.do(asked)
    done = stands(book, number)
    assert (done.state, done.total, done.changed, done.refused) == (OperationState.COMPLETED, 5, 2, 3)
    assert set(book.probe.column("workers", "id")) == {"w2", "w3"}
    assert statuses(book) == {"pending": JOBS}
    assert book.do(UndoOperation(number, ROOT)).code is RefusalCode.NO_SUCH_UNDO
    book.counts_are_right()


def test_workers_are_removed_by_an_administrators_token(book: Book) -> None:
    book.register("w1")
    token = book.do(CreateToken("t", "h" * 64, "bf_x", frozenset({Scope.SUBMIT, Scope.WORK}))).token_id
    plan = OperationPlan(RemoveWorkers(("w1",)))
    number = book.do(BeginOperation(plan, Caller(frozenset({Scope.SUBMIT}), token_id=token))).operation_id
    book.do(SelectJobs(number, 0, (("w1",),), 1))
    assert stands(book, number).state is OperationState.FAILED
    assert book.probe.count("workers") == 1


def test_what_has_moved_on_is_left_alone(book: Book) -> None:
    work = CancelJobs()
    number = int(
        book.do(BeginOperation(OperationPlan(work, filter=JobFilter(JobStatus.PENDING)), ASKER)).operation_id
    )
    book.do(turn(book, number, work))
    book.register("w1")
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    done = carried_out(book, number, work)
    assert (done.total, done.changed, done.refused) == (7, 6, 1)
    assert book.probe.value("jobs", "status", id=job.id) == "running"


def test_of_two_retries_the_second_leaves_what_the_first_has_brought_about(book: Book) -> None:
    work = RetryJobs()
    book.do(*(_cancelled(job_id) for job_id in range(1, JOBS + 1)))
    numbers = [begun(book, work) for _ in range(2)]
    for number in numbers:
        book.do(turn(book, number, work))
    assert carried_out(book, numbers[0], work).changed == JOBS
    book.register("w1")
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    book.do(Complete(ADMIN, "w1", job.id))
    assert carried_out(book, numbers[1], work).changed == 0
    assert statuses(book) == {"completed": 1, "pending": JOBS - 1}


def test_cancelled_it_stops_and_what_it_did_can_be_taken_back(book: Book) -> None:
    work = CancelJobs()
    number = begun(book, work)
    book.do(turn(book, number, work))
    book.do(turn(book, number, work))
    assert isinstance(refused := book.do(UndoOperation(number, ASKER)), Refusal)
    assert refused.code is RefusalCode.OPERATION_RUNNING
    stopped = book.do(EndOperation(number)).operation
    assert (stopped.state, stopped.changed) == (OperationState.CANCELLED, 2)
    book.do(AdvanceOperation(number, 1))
    assert statuses(book) == {"cancelled": 2, "pending": 5}
    undo = book.do(UndoOperation(number, ASKER)).operation_id
    back = carried_out(book, undo, UndoJobs(number))
    assert (back.verb, back.undo_of, back.total, back.changed) == ("undo", number, 2, 2)
    assert statuses(book) == {"pending": 7}
    assert book.do(UndoOperation(number, ASKER)).code is RefusalCode.NO_SUCH_UNDO
    assert book.do(UndoOperation(undo, ASKER)).code is RefusalCode.NO_SUCH_UNDO


def test_an_undo_takes_back_exactly_what_was_changed(book: Book) -> None:
    """Not what others did to the same jobs before or since."""
    book.do(ChangeTags(1, ("new",), ()))
    work = TagJobs(("new",), ("t",))
    number = begun(book, work)
    assert carried_out(book, number, work).changed == 7
    book.do(ChangeTags(2, ("own",), ()))
    book.do(ChangeTags(3, (), ("new",)))
    undo = book.do(UndoOperation(number, ASKER)).operation_id
    assert carried_out(book, undo, UndoJobs(number)).changed == 7
    tags = {job_id: set(book.probe.column("job_tags", "tag", job_id=job_id)) for job_id in range(1, 8)}
    assert tags == {1: {"t", "new"}, 2: {"t", "own"}, **{job_id: {"t"} for job_id in range(3, 8)}}


def test_a_retry_is_taken_back_where_nothing_was_started(book: Book) -> None:
    for job_id in range(1, JOBS + 1):
        book.do(_cancelled(job_id))
    number = begun(book, RetryJobs())
    carried_out(book, number, RetryJobs())
    book.register("w1")
    book.do(Claim(ADMIN, "w1", ("pdf",)))
    undo = book.do(UndoOperation(number, ASKER)).operation_id
    done = carried_out(book, undo, UndoJobs(number))
    assert (done.changed, done.refused) == (6, 1)
    assert statuses(book) == {"cancelled": 6, "running": 1}


def test_an_undo_that_was_broken_off_is_gone_on_with(book: Book) -> None:
    number = begun(book, CancelJobs())
    carried_out(book, number, CancelJobs())
    undo = book.do(UndoOperation(number, ASKER)).operation_id
    book.do(turn(book, undo, UndoJobs(number)))
    book.do(EndOperation(undo))
    for job_id in (1, 2):
        book.do(_cancelled(job_id))  # they were brought back, and are cancelled by a person now
    rest = book.do(UndoOperation(number, ASKER)).operation_id
    assert carried_out(book, rest, UndoJobs(number)).changed == 5
    assert statuses(book) == {"cancelled": 2, "pending": 5}


def test_an_undo_has_its_time_and_then_nothing_of_it_is_kept(book: Book) -> None:
    number = begun(book, CancelJobs())
    carried_out(book, number, CancelJobs())
    assert book.probe.count("operation_pages") == 4
    assert not book.do(PruneOperations()).more
    assert book.probe.count("operation_pages") == 4
    book.now += UNDO_MS
    assert book.do(UndoOperation(number, ASKER)).code is RefusalCode.NO_SUCH_UNDO
    assert book.do(PruneOperations(3)).more
    assert not book.do(PruneOperations(3)).more
    assert book.probe.count("operation_pages") == 0
    assert stands(book, number).changed == 7, "what it came to is kept longer"
    book.now += 31 * 86_400_000
    book.do(PruneOperations())
    assert book.probe.count("operations") == 0


def test_with_its_token_it_ends(book: Book) -> None:
    token = book.do(CreateToken("t", "h" * 64, "bf_x", frozenset({Scope.SUBMIT}))).token_id
    caller = Caller(frozenset({Scope.SUBMIT}), token_id=token, name="t")
    number = begun(book, CancelJobs(), caller)
    book.do(turn(book, number, CancelJobs()))
    book.do(turn(book, number, CancelJobs()))
    book.do(DeleteToken(token))
    book.do(turn(book, number, CancelJobs()))
    done = stands(book, number)
    assert (done.state, done.changed) == (OperationState.FAILED, 2)
    assert done.reason == "the API token that it was asked for with was revoked"
    assert statuses(book) == {"cancelled": 2, "pending": 5}
    undo = book.do(UndoOperation(number, ASKER)).operation_id
    carried_out(book, undo, UndoJobs(number))
    assert statuses(book) == {"pending": 7}


def test_a_deletion_needs_an_administrators_token(book: Book) -> None:
    token = book.do(CreateToken("t", "h" * 64, "bf_x", frozenset({Scope.SUBMIT}))).token_id
    number = begun(book, DeleteJobs(), Caller(frozenset({Scope.SUBMIT}), token_id=token))
    book.do(turn(book, number, DeleteJobs()))
    assert stands(book, number).state is OperationState.FAILED
    assert book.probe.count("jobs") == JOBS


def test_its_own_jobs_are_those_of_then_by_their_numbers(book: Book) -> None:
    number = int(book.do(BeginOperation(OperationPlan(CancelJobs(), ids=(1, 3, 99)), ASKER)).operation_id)
    book.do(SelectJobs(number, 0, ((1, 3),), 3))
    done = carried_out(book, number, CancelJobs())
    assert (done.matched, done.total, done.changed) == (3, 2, 2)


def test_a_job_that_meets_a_bug_holds_up_no_other(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = jobs.cancelled

    def broken(step: Any, message: Any) -> Any:
        done = cancelled(step, message)
        if message.job_id == 3:
            raise ZeroDivisionError
        return done

    monkeypatch.setattr(jobs, "cancelled", broken)
    number = begun(book, CancelJobs())
    done = carried_out(book, number, CancelJobs())
    assert (done.changed, done.refused) == (6, 1)
    assert book.probe.value("jobs", "status", id=3) == "pending"


def test_there_is_a_bound_on_those_that_have_not_ended(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.effects.beginning.MOST_OPEN", 2)
    begun(book, CancelJobs())
    begun(book, CancelJobs())
    refused = book.do(BeginOperation(OperationPlan(CancelJobs()), ASKER))
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.SLOW_DOWN
