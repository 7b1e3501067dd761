"""Groups: within a priority their jobs take turns, whatever number of them each has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.messages import (
    Cancel,
    ChangeType,
    Claim,
    Complete,
    DeleteJob,
    Fail,
    HeedTimes,
    Register,
    Release,
    Retry,
    Retype,
    SetPriority,
    SetRequirements,
    Undo,
)
from blobforge.job import ReleaseCause
from blobforge.jobtype import TypeChanges
from blobforge.refusals import Refusal
from tests.fixtures.engines import ENGINES
from tests.store.grouping import given, laid_in
from tests.store.making import ADMIN, Book, at_work, submission
from tests.store.sqlite.test_statements import counted


@pytest.fixture(params=["memory", "postgres"])
def book(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Book]:
    with at_work(Book(ENGINES[request.param](tmp_path / "x.db"))) as opened:
        yield opened


def test_groups_take_turns_whatever_each_has(book: Book) -> None:
    of = laid_in(book, "aaaaaaaabbc")
    assert given(book, of, times=11) == "abcabaaaaaa"


@pytest.mark.parametrize("limit", [2, 3, 64])
def test_so_they_do_within_one_claim(book: Book, limit: int) -> None:
    of = laid_in(book, "aaaaaaaabbc")
    assert given(book, of, limit, times=6) == "abcabaaaaaa"


def test_a_group_that_comes_later_has_saved_nothing_up_and_owes_nothing(book: Book) -> None:
    of = laid_in(book, "a" * 20)
    assert given(book, of, times=10) == "a" * 10
    of |= laid_in(book, "bbb")
    assert sorted(given(book, of, times=6)) == list("aaabbb")
    assert given(book, of, times=7) == "a" * 7
    of |= laid_in(book, "bbbaaa")
    assert sorted(given(book, of, times=6)) == list("aaabbb")


def test_jobs_without_a_group_are_one_more(book: Book) -> None:
    """Also those that were there before any had one."""
    of = laid_in(book, "." * 12)
    assert given(book, of, times=2) == ".."
    of |= laid_in(book, "aaabbb")
    found = given(book, of, times=9)
    assert Counter(found) == {".": 3, "a": 3, "b": 3}
    assert given(book, of, times=9) == "." * 7
    of |= laid_in(book, "aaa..")
    assert Counter(given(book, of, times=5)) == {"a": 3, ".": 2}


def test_weights(book: Book) -> None:
    book.do(ChangeType("pdf", "token:1", TypeChanges(weights={"a": 3, "": 2})))
    of = laid_in(book, "a" * 30 + "b" * 30 + "." * 30)
    assert Counter(given(book, of, 6, times=5)) == {"a": 15, ".": 10, "b": 5}


def test_within_a_group_the_order_stays(book: Book) -> None:
    of = laid_in(book, "aabaab")
    book.do(SetRequirements(1, '["gpu"]'))
    book.do(Register(ADMIN, "w", "pdf", labels='["gpu"]'))
    first = book.do(Claim(ADMIN, "w", ("pdf",), 2))
    assert [job.id for job in first.jobs] == [1, 3]
    book.do(Release(ADMIN, "w", 1, cause=ReleaseCause.SHUTDOWN))
    book.do(Fail(ADMIN, "w", 3, "no"))
    ids = [job.id for job in (book.do(Claim(ADMIN, "w", ("pdf",), 9))).jobs]
    assert [each for each in ids if of[each] == "a"] == [1, 2, 4, 5]


def test_a_job_that_is_retried_by_hand_is_the_last_of_its_group(book: Book) -> None:
    """Who retries a million has no more turns by that."""
    of = laid_in(book, "aaaa")
    for job in (book.do(Claim(ADMIN, "w", ("pdf",), 4))).jobs:
        book.do(Complete(ADMIN, "w", job.id, lease=job.lease))
    of |= laid_in(book, "bbbb")
    assert given(book, of) == "b"
    for job_id in (1, 2, 3, 4):
        book.do(Retry(job_id))
    assert sorted(given(book, of, times=4)) == list("aabb")


def test_each_priority_has_turns_of_its_own(book: Book) -> None:
    of = laid_in(book, "aaab", priority=2)
    low = laid_in(book, "bbcc")
    book.do(SetPriority(max(of), 3))  # the last one of its group, then
    of |= low
    assert given(book, of, times=7) == "aaabcbc"


MANY: dict[str, Callable[[int], Any]] = {
    "cancel": Cancel,
    "retry": Retry,
    "priority": lambda job_id: SetPriority(job_id, 2),
    "retype": lambda job_id: Retype(job_id, "other"),
}


def test_turns_of_many_groups_are_read_at_once(tmp_path: Path) -> None:
    book = Book(tmp_path / "x.db")
    ids = [book.do(submission(n, group=f"group {n}")).job_id for n in range(60)]
    for made in MANY.values():
        with counted(book) as said:
            assert not any(isinstance(each, Refusal) for each in book.do(*map(made, ids)))
        assert sum("group_turns" in each for each in said) < 10, "a few each way, however many groups"
    book.close()


LEAVE: dict[str, Callable[[int], Any]] = {
    "cancel": Cancel,
    "delete": DeleteJob,
    "priority": lambda job_id: SetPriority(job_id, 5),
    "retype": lambda job_id: Retype(job_id, "other"),
}


@pytest.mark.parametrize("way", LEAVE)
@pytest.mark.parametrize("newest_first", [True, False])
def test_a_group_does_not_pay_for_jobs_that_were_not_given_out(book: Book, way: str, newest_first: bool) -> None:
    """A million that were a mistake do not hold up the ten that follow."""
    of = laid_in(book, "a" * 9 + "b" * 9)
    for job_id in sorted(range(1, 10), reverse=newest_first):
        book.do(LEAVE[way](job_id))
    of |= laid_in(book, "aaa")
    assert Counter(given(book, of, times=6, ends=True)) == {
        "a": 2,
        "b": 4,
    }  # b came first, and a owes one turn at most


def test_nor_for_those_that_have_expired(book: Book) -> None:
    of = laid_in(book, "b" * 9)
    laid_in(book, "a" * 9, expires_at=book.now + 20_000)
    book.now += 20_000
    assert book.do(HeedTimes(99)).expired == 9
    of |= laid_in(book, "aaa")
    assert Counter(given(book, of, times=6, ends=True)) == {"a": 2, "b": 4}


def test_what_a_group_has_cancelled_gives_it_no_more_than_its_share(book: Book) -> None:
    of = laid_in(book, "a" * 20 + "b" * 20)
    assert sorted(given(book, of, times=10)) == list("aaaaabbbbb")
    for job_id in range(6, 16):  # those that were next
        book.do(Cancel(job_id))
    of |= laid_in(book, "a" * 20)
    taken = Counter(given(book, of, times=20))
    assert taken["a"] <= taken["b"]


def test_jobs_that_have_ended_take_no_turns_from_their_group(book: Book) -> None:
    """Another priority counts for them from their next retry on."""
    of = laid_in(book, "aaaaaa")
    for job in (book.do(Claim(ADMIN, "w", ("pdf",), 6))).jobs:
        book.do(Complete(ADMIN, "w", job.id, lease=job.lease))
    for job_id in range(1, 7):
        book.do(SetPriority(job_id, 2))
    of |= laid_in(book, "bbbbaaaa", priority=2)
    assert Counter(given(book, of, times=4)) == {"a": 2, "b": 2}


def test_a_retry_that_is_undone_takes_no_turn(book: Book) -> None:
    of = laid_in(book, "aaaaaa")
    for job in (book.do(Claim(ADMIN, "w", ("pdf",), 6))).jobs:
        book.do(Complete(ADMIN, "w", job.id, lease=job.lease))
    for job_id in range(1, 7):
        book.do(Retry(job_id, undo="0"))
    assert book.do(Undo("0")).changed == 6
    of |= laid_in(book, "bbbbaaaa")
    assert Counter(given(book, of, times=5)) == {"a": 2, "b": 3}


def test_a_submission_of_what_is_there_is_told_what_it_does_not_change(book: Book) -> None:
    book.do(submission(1, group="a", metadata='{"a":1,"b":2}'))
    same = book.do(submission(1, group="a", metadata='{"b":2,"a":1}'))
    assert (same.existing, same.ignored) == (True, ())
    assert book.do(submission(1)).ignored == ()
    later = book.now + 99_000
    other: dict[str, Any] = {
        "priority": 1, "max_attempts": 9, "metadata": "{}", "requires": '["gpu"]', "group": "b",
        "not_before": later, "expires_at": later + 1,
    }  # fmt: skip
    said = book.do(submission(1, **other)).ignored
    assert said == ("requires", "group", "not_before", "expires_at"), "the others are answered as ever"
    book.do(submission(2, group="a", expires_at=book.now + 2_000))
    book.now += 5_000
    book.do(HeedTimes(9))
    assert book.do(submission(2, group="b", expires_at=later)).ignored == ("group",), "it has the times of this one"
