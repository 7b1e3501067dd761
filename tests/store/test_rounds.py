"""Groups take turns by how many of their jobs run: the rounds in which they are, whatever changes these."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.effects import perform
from actors.effects.transaction import Transaction
from actors.messages import (
    Cancel,
    ChangeType,
    Claim,
    Complete,
    DeleteJob,
    Fail,
    Register,
    Release,
    Retype,
    SetPriority,
)
from blobforge.job import Job, ReleaseCause
from blobforge.jobtype import TypeChanges
from blobforge.store.needs import TurnsRead
from blobforge.store.sqlite import turns
from blobforge.store.sqlite.turns import _read
from tests.fixtures.engines import ENGINES
from tests.store.grouping import given, laid_in
from tests.store.making import ADMIN, Book, at_work, submission
from tests.store.sqlite.test_statements import counted
from tests.store.walking import do

SEEDS = int(os.environ.get("SEEDS") or 40)


@pytest.fixture(params=["memory", "postgres"])
def book(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Book]:
    with at_work(Book(ENGINES[request.param](tmp_path / "x.db"))) as opened:
        yield opened


def ended(book: Book, of: dict[int, str], group: str) -> int:
    """One running job of the group is completed."""
    job = next(job for job in book.store.jobs_of_worker("w") if of[job.id] == group)
    book.do(Complete(ADMIN, "w", job.id, lease=job.lease))
    return job.id


def test_a_group_with_long_jobs_holds_no_more_workers_than_one_with_short_ones(book: Book) -> None:
    """Whichever jobs end, the group of which fewer run is given the worker that is free."""
    of = laid_in(book, "a" * 20 + "b" * 40)
    assert Counter(given(book, of, times=8)) == {"a": 4, "b": 4}
    for _ in range(20):  # those of b end, those of a go on
        ended(book, of, "b")
        assert given(book, of) == "b"


def test_a_group_that_comes_when_all_workers_are_held_gets_those_that_come_free(book: Book) -> None:
    of = laid_in(book, "a" * 30)
    assert given(book, of, limit=10) == "a" * 10
    of |= laid_in(book, "b" * 30)
    found = ""
    for _ in range(9):
        ended(book, of, "a")
        found += given(book, of)
    assert found[:5] == "bbbbb", "until as many of each run"
    assert found[5:] == "aaaa", "then each keeps what it has"


def test_weights_are_of_what_runs(book: Book) -> None:
    book.do(ChangeType("pdf", "token:1", TypeChanges(weights={"a": 3})))
    of = laid_in(book, "a" * 30 + "b" * 30)
    assert Counter(given(book, of, times=8)) == {"a": 6, "b": 2}
    for _ in range(2):
        ended(book, of, "b")
    assert given(book, of, times=2) == "bb", "however many of the other one are waiting"


def test_other_weights_count_at_once(book: Book) -> None:
    of = laid_in(book, "a" * 30 + "b" * 30)
    assert Counter(given(book, of, times=8)) == {"a": 4, "b": 4}
    book.do(ChangeType("pdf", "token:1", TypeChanges(weights={"a": 3})))
    assert given(book, of, times=5) == "aaaaa", "4 of 3 were a round more, and 4 of 1 four"
    book.do(ChangeType("pdf", "token:1", TypeChanges(weights=None)))
    assert given(book, of, times=5) == "bbbbb"


def test_so_they_do_within_a_transaction(book: Book) -> None:
    of = laid_in(book, "a" * 30 + "b" * 30)
    assert Counter(given(book, of, times=8)) == {"a": 4, "b": 4}
    claim, changed = Claim(ADMIN, "w", ("pdf",), 2), ChangeType("pdf", "token:1", TypeChanges(weights={"a": 3}))
    first, _, second, third = book.do(claim, changed, claim, claim)
    found = ["".join(of[job.id] for job in answer.jobs) for answer in (first, second, third)]
    assert [sorted(each) for each in found] == [["a", "b"], ["a", "a"], ["a", "a"]]


def test_a_heavy_group_does_not_starve_a_light_one(book: Book) -> None:
    """Though it has far fewer workers than its weight: then turns decide."""
    book.do(ChangeType("pdf", "token:1", TypeChanges(weights={"a": 1000})))
    of = laid_in(book, "b" + "a" * 20)
    assert "b" in given(book, of, times=4)


def test_jobs_without_a_group_are_one_that_holds_workers_too(book: Book) -> None:
    of = laid_in(book, "." * 20)
    assert given(book, of, limit=6) == "......"
    of |= laid_in(book, "a" * 20)
    assert given(book, of, limit=6) == "aaaaaa"
    for _ in range(5):
        ended(book, of, "a")
        assert given(book, of) == "a"
    ended(book, of, ".")
    assert given(book, of) == "."


ENDS: dict[str, Callable[[Job], Any]] = {
    "complete": lambda job: Complete(ADMIN, "w", job.id, lease=job.lease),
    "fail": lambda job: Fail(ADMIN, "w", job.id, "no"),
    "release": lambda job: Release(ADMIN, "w", job.id, cause=ReleaseCause.SHUTDOWN),
    "cancel": lambda job: Cancel(job.id),
}


@pytest.mark.parametrize("way", ENDS)
def test_a_job_that_runs_no_more_is_no_longer_held_against_its_group(book: Book, way: str) -> None:
    of = laid_in(book, "a" * 9)
    first = book.do(Claim(ADMIN, "w", ("pdf",), 4)).jobs
    of |= laid_in(book, "b" * 9)
    assert given(book, of, times=4) == "bbbb"
    book.do(*map(ENDS[way], first[:3]))
    assert given(book, of, times=3) == "aaa"


def test_priorities_have_counts_of_their_own(book: Book) -> None:
    """A job that runs goes on counting where it stands."""
    of = laid_in(book, "aaaa")
    first = book.do(Claim(ADMIN, "w", ("pdf",), 2)).jobs
    of |= laid_in(book, "aabbb", priority=2)
    assert Counter(given(book, of, times=2)) == {"a": 1, "b": 1}
    book.do(SetPriority(first[0].id, 2))
    assert book.database.broken() == []
    assert given(book, of, times=1) == "b"


def test_what_leaves_the_queue_otherwise_is_followed(book: Book) -> None:
    laid_in(book, "aaaabbbb")
    book.do(Claim(ADMIN, "w", ("pdf",), 3))
    for way in (Cancel(7), DeleteJob(7), Retype(8, "other"), SetPriority(6, 5), Retype(6, "third")):
        book.do(way)
        assert book.database.broken() == []


def test_a_group_is_one_whatever_its_jobs_require(book: Book) -> None:
    book.do(Register(ADMIN, "w", "pdf", labels='["gpu"]'))
    of = laid_in(book, "aaaa", requires='["gpu"]') | laid_in(book, "....")
    of = {job_id: "a" if letter == "a" else "c" for job_id, letter in of.items()}
    groups = [(book.do(submission((9, n), group="a")).job_id, "a") for n in range(4)]
    groups += [(book.do(submission((8, n), group="b")).job_id, "b") for n in range(8)]
    of |= dict(groups)
    assert Counter(given(book, of, times=9)) == {"a": 3, "b": 3, "c": 3}


def test_one_leaves_and_another_comes_at_once(book: Book) -> None:
    """As many are ready as were, and the places of both come to the same when they are multiplied."""
    ids = [book.do(submission(n, group="a", priority=at)).job_id for n, at in enumerate((4, 5, 5, 3, 3, 3))]
    first, gone = book.store.job(ids[0]), book.store.job(ids[3])
    assert first is not None
    assert gone is not None
    book.do(SetPriority(first.id, 3), SetPriority(gone.id, 4))
    came = book.store.job(first.id)
    assert came is not None
    assert came.turn * came.id == gone.turn * gone.id
    assert book.database.broken() == []


def test_what_was_read_for_one_worker_says_nothing_of_the_lines_of_another(book: Book) -> None:
    """The group comes forward by the jobs that have ended: for the one worker it was read, for the other one it was
    behind all that were."""
    book.do(Register(ADMIN, "other", "pdf", labels='["gpu"]'))
    many = [book.do(submission(("many", n), group="many")).job_id for n in range(9)]
    running = book.do(Claim(ADMIN, "w", ("pdf",), 6)).jobs
    for n in range(6):
        book.do(submission(("few", n), group="few", requires='["gpu"]'))
    assert [job.of_group for job in book.do(Claim(ADMIN, "other", ("pdf",), 2)).jobs] == ["few", "few"]
    ended_ = [Complete(ADMIN, "w", job.id, lease=job.lease) for job in running]
    *_, theirs, mine = book.do(*ended_, Claim(ADMIN, "other", ("pdf",)), Claim(ADMIN, "w", ("pdf",)))
    assert [job.id for job in (*theirs.jobs, *mine.jobs)] == many[6:8]


def in_one_transaction(book: Book, *messages: Any) -> list[Any]:
    """With nothing read ahead, as where one is made again."""
    book.now += 1000
    tx = Transaction(book.store, book.rules, book.now, book.dice)
    with book.store.transaction():
        return [perform(tx, message, place) for place, message in enumerate(messages)]


def test_jobs_without_a_group_that_have_just_ended_run_no_more(book: Book) -> None:
    """Though virtual times were asked for before that was written."""
    of = laid_in(book, "....")
    running = book.do(Claim(ADMIN, "w", ("pdf",), 4)).jobs
    of |= laid_in(book, "aaa")
    assert given(book, of, limit=2) == "aa"
    of |= laid_in(book, "...") | laid_in(book, "a", priority=4)
    ended_ = [Complete(ADMIN, "w", job.id, lease=job.lease) for job in running[:3]]
    *_, granted = in_one_transaction(book, *ended_, SetPriority(max(of), 5), Claim(ADMIN, "w", ("pdf",)))
    assert [of[job.id] for job in granted.jobs] == ["."]


def test_jobs_without_a_group_run_when_the_first_group_comes(book: Book) -> None:
    of = laid_in(book, ".....")
    assert given(book, of, limit=3) == "..."
    first, second, granted = in_one_transaction(
        book, submission("x", group="a"), submission("y", group="a"), Claim(ADMIN, "w", ("pdf",), 2)
    )
    assert [job.id for job in granted.jobs] == [first.job_id, second.job_id], "three of the others run"


def test_what_is_undone_is_given_out_again(book: Book) -> None:
    """An effect that fails is undone; the others of the transaction are not."""
    of = laid_in(book, "ab")
    book.now += 1000
    claim = Claim(ADMIN, "w", ("pdf",))
    do(book, [claim, claim], 0, ahead=True)
    assert [of[job.id] for job in book.store.jobs_of_worker("w")] == ["a"]
    assert given(book, of) == "b"


def test_what_many_completions_and_claims_need_is_read_at_once(tmp_path: Path) -> None:
    """Of 64 workers that each complete a job of another group, and are given the next one."""
    book = Book(tmp_path / "x.db")
    book.do(Register(ADMIN, "w", "pdf"))
    for n in range(1500):
        book.do(submission(n, group=f"group {n % 500}"))
    jobs = book.do(Claim(ADMIN, "w", ("pdf",), 64)).jobs
    with counted(book) as said:
        book.do(*(Complete(ADMIN, "w", job.id, lease=job.lease, claim_next=True) for job in jobs))
    read = [each for each in said if "FROM group_lines" in each and each.lstrip().startswith("SELECT")]
    assert 0 < len(read) <= 4, "not for each"
    assert book.database.broken() == []
    book.close()


def test_a_heavy_group_is_not_read_to_the_end_of_its_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each no more than may be given out."""
    read: list[int] = []

    def counting(*asked: Any) -> TurnsRead:
        found = _read(*asked)
        read.append(len(found.jobs))
        return found

    monkeypatch.setattr(turns, "_read", counting)
    book = Book(tmp_path / "x.db")
    book.do(Register(ADMIN, "w", "pdf"), ChangeType("pdf", "token:1", TypeChanges(weights={"a": 1000})))
    book.do(*(submission(n, group="a") for n in range(200)))
    assert len(book.do(Claim(ADMIN, "w", ("pdf",))).jobs) == 1
    assert len(book.do(Claim(ADMIN, "w", ("pdf",), 5)).jobs) == 5
    assert read == [1, 5]
    book.close()
