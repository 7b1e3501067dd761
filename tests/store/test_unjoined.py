"""Each stage that has ended is joined, or its parent says why it is not, on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.effects import families, joining, manystages
from actors.messages import (
    AdvanceOperation,
    BeginOperation,
    Cancel,
    CancelFamilies,
    EndOperation,
    ObjectSeen,
    OperationPlan,
    OutputChecked,
    Retry,
    Seen,
    SelectJobs,
    UndoOperation,
)
from blobforge.chain import Join, Step
from blobforge.job import JobStatus
from tests.fixtures.engines import ENGINES
from tests.store.chaining import (
    ASKER,
    PAGES,
    ChainBook,
    books,
    complete,
    complete_several,
    documents,
    join_two_at_once,
    manifest_of,
    open_operations,
    page,
    read,
    split,
    submitted,
)
from tests.store.making import at_work

CUT = "nothing was joined as 'book': what came of job {} was cancelled"


@pytest.fixture(params=["memory", "postgres"])
def book(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ChainBook]:
    with at_work(ChainBook(ENGINES[request.param](tmp_path / "x.db"))) as opened:
        yield opened


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message joins two stages."""
    join_two_at_once(monkeypatch)


def to_its_end(book: ChainBook, *verbs: str) -> None:
    """Operations of these verbs, or all, are gone on with to their ends."""
    while going := [each for each in open_operations(book) if not verbs or each.verb in verbs]:
        book.do(AdvanceOperation(going[0].id, going[0].page))


def family_cancelled(book: ChainBook, *ids: int) -> int:
    """An operation has cancelled these, and what came of them."""
    begun = book.do(BeginOperation(OperationPlan(CancelFamilies(), ids=ids), ASKER))
    book.do(SelectJobs(begun.operation_id, 0, (ids,), len(ids)))
    to_its_end(book, "cancel-families")
    return int(begun.operation_id)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("size", [1, 200])
def test_a_stage_that_ends_as_its_family_is_cancelled_says_so_until_it_is_joined(
    book: ChainBook, monkeypatch: pytest.MonkeyPatch, size: int, *, many: bool
) -> None:
    monkeypatch.setattr(families, "A_TURN", size)
    parent = split(book)
    page(book)
    if many:
        family_cancelled(book, parent)
    else:
        book.do(Cancel(parent, children=True))
    to_its_end(book)
    assert (books(book), book.said(parent)) == ([], CUT.format(parent))
    (left,) = [job.id for job in book.children(parent) if job.status is JobStatus.CANCELLED]
    book.do(Retry(left))
    page(book)
    assert (books(book), book.said(parent)) == ([parent], None)


def test_stages_that_are_too_many_for_the_cancellation_say_so_behind_it(
    book: ChainBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "MOST_WORK", joining.TO_ASK)
    then = tuple(Step(f"read{n}", "*", None, (), Join(f"book{n}")) for n in range(3))
    parent = submitted(book, then=then)
    complete_several(book, "1.png")
    book.do(Cancel(parent, children=True))
    to_its_end(book)
    assert (book.said(parent) or "").split("; ") == [
        CUT.format(parent).replace("book", f"book{n}") for n in range(3)
    ]  # fmt: skip


@pytest.mark.usefixtures("narrow")
def test_a_stage_that_is_still_to_be_looked_at_as_its_family_is_cancelled_says_so(book: ChainBook) -> None:
    parents = documents(book, 4)
    page(book)
    book.do(Cancel(parents[3], children=True))
    to_its_end(book)
    assert books(book) == parents[:3]
    assert [book.said(parent) for parent in parents] == [None, None, None, CUT.format(parents[3])]


@pytest.mark.usefixtures("narrow")
def test_a_stage_at_which_the_server_meets_a_bug_says_so(book: ChainBook, monkeypatch: pytest.MonkeyPatch) -> None:
    parents = documents(book, 4)
    page(book)
    whole = joining._join

    def broken(tx: Any, parent: Any, *rest: Any) -> bool:
        if parent.id == parents[2]:
            raise ZeroDivisionError
        return whole(tx, parent, *rest)

    monkeypatch.setattr(joining, "_join", broken)
    to_its_end(book)
    assert books(book) == [parents[0], parents[1], parents[3]]
    bug = f"nothing was joined as 'book': {manystages.BUG}"
    assert [book.said(parent) for parent in parents] == [None, None, bug, None]


@pytest.mark.usefixtures("narrow")
def test_stages_of_an_operation_that_is_broken_off_say_so(book: ChainBook) -> None:
    parents = documents(book, 4)
    page(book)
    (operation,) = open_operations(book)
    book.do(EndOperation(operation.id, "the server met a bug"))
    bug = "nothing was joined as 'book': the server met a bug"
    assert [book.said(parent) for parent in parents] == [None, None, bug, bug]


def test_what_is_said_of_one_stage_stays_when_another_one_is_joined(book: ChainBook) -> None:
    then = tuple(Step(f"read{n}", "*", None, (), Join("book")) for n in range(2))
    parent = submitted(book, then=then)
    complete(book)
    for child in (children := book.children(parent)):
        book.do(Cancel(child.id))
    nothing = "nothing was joined as 'book': no job of the stage has brought an output"
    assert book.said(parent) == nothing
    for n, after in ((0, nothing), (1, None)):
        book.do(Retry(children[n].id))
        complete(book, f"text {n}", type_=f"read{n}")
        assert book.said(parent) == after
    assert books(book) == [parent, parent]


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("looked_at", [False, True])
def test_an_undo_of_the_cancellation_joins_what_had_ended_before_it(book: ChainBook, *, looked_at: bool) -> None:
    parents = documents(book, 4)
    page(book)
    waits = submitted(book, "waits")
    cancelled = family_cancelled(book, parents[3], waits)
    if looked_at:
        to_its_end(book)
        assert book.said(parents[3]) == CUT.format(parents[3])
    book.do(UndoOperation(cancelled, ASKER))
    to_its_end(book, "undo")
    to_its_end(book)
    assert (books(book), book.said(parents[3])) == (parents, None)


@pytest.mark.usefixtures("narrow")
def test_an_undo_of_the_cancellation_goes_by_no_words_of_a_reason(book: ChainBook) -> None:
    parents = documents(book, 3)
    page(book)
    (operation,) = open_operations(book)
    book.do(EndOperation(operation.id, joining.cut_off(parents[2])))
    waits = submitted(book, "waits")
    cancelled = family_cancelled(book, parents[2], waits)
    book.do(UndoOperation(cancelled, ASKER))
    to_its_end(book)
    assert (books(book), book.said(parents[2])) == (parents[:2], CUT.format(parents[2]))


@pytest.mark.parametrize("size", [1, 2, 200])
def test_an_undo_of_the_cancellation_joins_nothing_that_is_brought_back(
    book: ChainBook, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(families, "A_TURN", size)
    parent = submitted(book, then=PAGES)
    complete_several(book, "1.png", "2.png", "3.png")
    for fact in book.proofs():
        read(book, fact, fact.key)
    page(book)
    cancelled = family_cancelled(book, parent)
    book.do(UndoOperation(cancelled, ASKER))
    to_its_end(book)
    assert books(book) == []
    page(book)
    page(book)
    (made,) = [job for job in book.children(parent) if job.type == "book"]
    assert (len(manifest_of(book, made).inputs), book.said(parent)) == (3, None)


def test_a_stage_that_ended_while_another_result_stood_is_joined_when_its_own_is_back(book: ChainBook) -> None:
    parent = submitted(book, then=(Step("ocr", "*", None, (), Join("book")),))
    complete(book, "first")
    book.do(Retry(parent, compare=True))
    done = complete(book, "second", proven=False, seen=Seen.UNKNOWN)
    page(book)
    assert books(book) == []
    book.do(OutputChecked(parent, 2, done.upload_key or "", ObjectSeen(Seen.ABSENT)))
    assert book.job(parent).result_attempt == 1
    assert books(book) == [parent]
