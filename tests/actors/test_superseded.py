"""Results that others have replaced: noted, kept by age and by number, deleted; and what is never deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from actors.messages import (
    Backfill,
    ChooseOutputs,
    Claim,
    Complete,
    DeleteJob,
    ObjectSeen,
    OutputChecked,
    Prune,
    Retry,
    Seen,
    Several,
    TakeDoomed,
    TellOutputs,
    Undo,
)
from blobforge.job import JobStatus
from blobforge.objects.keys import prefix_of
from blobforge.outputs import Output
from tests.actors.keeping import DAY, keeping
from tests.fixtures.engines import ENGINES
from tests.store.making import ADMIN, Book, submission

THERE = ObjectSeen(Seen.PRESENT, 7, version="1")  # which nothing writes over


@pytest.fixture(params=ENGINES)
def book(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Book]:
    opened = Book(ENGINES[request.param](tmp_path / "x.db"))
    opened.register("w1")
    yield opened
    opened.close()


def converted(book: Book, times: int, *, output: ObjectSeen = THERE, name: str = "a") -> int:
    """A job that was converted so often."""
    book.do(submission(name))
    for number in range(times):
        (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
        key = book.key(job.id, job.attempt)
        book.do(Complete(ADMIN, "w1", job.id, output_key=key, output=output, result=f'{{"n": {number}}}'))
        if number < times - 1:
            book.do(Retry(job.id))
    return int(job.id)


def noted(book: Book) -> list[tuple[int, int, int, int | None]]:
    rows = book.probe.rows("superseded", "job_id", "attempt", "newer", "size")
    return sorted(rows)  # type: ignore[arg-type]


def doomed(book: Book) -> set[str]:
    return set(book.probe.column("doomed_objects", "key"))


def test_each_that_is_replaced_is_noted_and_what_is_served_is_none(book: Book) -> None:
    job_id = converted(book, 1)
    assert noted(book) == []
    other = converted(book, 3, name="b")
    assert noted(book) == [(other, 1, 1, 7), (other, 2, 0, 7)]
    book.do(Retry(other))
    assert noted(book) == [(other, 1, 1, 7), (other, 2, 0, 7)], "the former result is still served"
    assert book.database.broken() == []
    book.do(DeleteJob(other), DeleteJob(job_id))
    assert noted(book) == []


def test_by_age(book: Book) -> None:
    job_id = converted(book, 3)
    replaced = dict(book.probe.rows("superseded", "attempt", "at"))
    assert book.do(Prune((), superseded_before=replaced[1])).results == 0
    assert book.do(Prune((), superseded_before=replaced[2])).results == 1
    assert doomed(book) == {book.key(job_id, 1)}
    assert noted(book) == [(job_id, 2, 0, 7)]
    assert book.do(Prune((), superseded_before=book.now)).results == 1
    assert doomed(book) == {book.key(job_id, 1), book.key(job_id, 2)}
    with book.reader() as reader:
        job = reader.job(job_id)
        assert job is not None
        assert (job.result_attempt, job.result, job.replaced) == (3, '{"n": 2}', None)
        assert reader.file(book.key(job_id, 3)) is not None
    taken = book.do(TakeDoomed(10))
    assert set(taken.keys) == doomed(book), "none is held to be needed"
    assert book.database.broken() == []


def test_by_number(book: Book) -> None:
    first, second = converted(book, 4), converted(book, 2, name="b")
    book.now += book.rules.url_lifetime_ms
    assert book.do(Prune((), superseded_kept=1, limit=1)).more
    assert not book.do(Prune((), superseded_kept=1)).more
    assert noted(book) == [(first, 3, 0, 7), (second, 1, 0, 7)]
    assert doomed(book) == {book.key(first, 1), book.key(first, 2)}
    assert book.do(Prune((), superseded_kept=0)).results == 2
    assert noted(book) == []


def test_what_was_replaced_just_now_may_still_be_fetched_by_a_url(book: Book) -> None:
    converted(book, 2)
    assert book.do(Prune((), superseded_kept=0)).results == 0
    book.now += book.rules.url_lifetime_ms
    assert book.do(Prune((), superseded_kept=0)).results == 1


def test_as_long_as_its_successor_is_not_proven_it_may_come_back(book: Book) -> None:
    job_id = converted(book, 2)
    book.do(Retry(job_id))
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    key = book.key(job.id, job.attempt)
    book.do(Complete(ADMIN, "w1", job.id, output_key=key, output=ObjectSeen(Seen.UNKNOWN)))
    book.now += book.rules.url_lifetime_ms
    assert book.do(Prune((), superseded_kept=0)).results == 1
    assert noted(book) == [(job_id, 2, 0, 7)], "the latest one stays"
    book.do(OutputChecked(job_id, 3, key, ObjectSeen(Seen.ABSENT)))
    with book.reader() as reader:
        found = reader.job(job_id)
        assert found is not None
        assert (found.result_attempt, found.output_key) == (2, book.key(job_id, 2))
    assert noted(book) == [], "it is the result again"
    book.now += book.rules.url_lifetime_ms
    assert book.do(Prune((), superseded_kept=0, superseded_before=book.now)).results == 0
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    book.do(Complete(ADMIN, "w1", job.id, output_key=book.key(job.id, job.attempt), output=THERE))
    assert noted(book) == [(job_id, 2, 0, 7)]
    assert book.database.broken() == []


@pytest.mark.parametrize("there", [True, False])
def test_it_may_come_back_after_a_retry_of_its_successor_too(book: Book, there: bool) -> None:
    """The job was left without any result."""
    job_id = converted(book, 1)
    book.do(Retry(job_id))
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    key = book.key(job.id, job.attempt)
    book.do(Complete(ADMIN, "w1", job.id, output_key=key, output=ObjectSeen(Seen.UNKNOWN), result="2"))
    book.do(Retry(job_id, compare=True))
    book.do(OutputChecked(job_id, 2, key, THERE if there else ObjectSeen(Seen.ABSENT)))
    result = (2, "2") if there else (1, '{"n": 0}')
    with book.reader() as reader:
        found = reader.job(job_id)
        assert found is not None
        assert (found.result_attempt, found.result, found.compare) == (*result, True)
        assert found.output_key == book.key(job_id, result[0])
    assert noted(book) == ([(job_id, 1, 0, 7)] if there else [])
    assert book.database.broken() == []
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    book.do(Complete(ADMIN, "w1", job.id, output_key=book.key(job.id, job.attempt), output=THERE))
    assert noted(book) == ([(job_id, 1, 1, 7), (job_id, 2, 0, 7)] if there else [(job_id, 1, 0, 7)])


def test_what_has_gone_is_not_compared_by_an_undo(book: Book) -> None:
    """An undone retry put the former result back, whose objects were deleted by then."""
    job_id = converted(book, 1)
    book.do(Retry(job_id, compare=True))
    (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
    book.do(Complete(ADMIN, "w1", job.id, output_key=book.key(job.id, job.attempt), output=THERE))
    for token in ("kept", "gone"):
        book.do(Retry(job_id, undo=token))
        if token == "gone":
            assert book.do(Prune((), superseded_before=book.now)).results == 1
            assert doomed(book) == {book.key(job_id, 1)}
        assert book.do(Undo(token)).changed == 1
        with book.reader() as reader:
            found = reader.job(job_id)
            assert found is not None
            assert (found.status, found.result_attempt) == (JobStatus.COMPLETED, 2)
            compared = token == "kept"
            assert (found.replaced is not None, found.compare, found.compare_until is not None) == (compared,) * 3
    assert book.database.broken() == []


def test_one_that_is_compared_stays(book: Book) -> None:
    job_id = converted(book, 3)
    book.probe.change("jobs", {"compare_until": 9_999_999_999_999}, id=job_id)
    book.now += book.rules.url_lifetime_ms
    assert book.do(Prune((), superseded_kept=0)).results == 1
    assert noted(book) == [(job_id, 2, 0, 7)]


def test_what_an_older_database_has_replaced_is_found(book: Book) -> None:
    converted(book, 3)
    converted(book, 1, name="b")
    converted(book, 2, name="c")
    known = sorted(book.probe.rows("superseded", "job_id", "attempt", "at", "key", "size", "newer"))
    book.probe.remove("superseded")
    book.probe.add("superseding", id=1, next_job=1, last_job=3)
    while book.do(Backfill(2)).more:
        pass
    assert sorted(book.probe.rows("superseded", "job_id", "attempt", "at", "key", "size", "newer")) == known
    assert book.probe.count("superseding") == 0


async def test_the_janitor_deletes_them_in_the_background(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, superseded=DAY) as kept:
        book, ask = kept.alone.book, kept.alone.ask
        job_id = await kept.done("a")
        served: list[str] = [book.key(job_id, 1)]
        for attempt in (2, 3):
            await ask(Retry(job_id))
            await ask(Claim(ADMIN, "w1", ("pdf",)))
            served.append(kept.shelf.put(book.key(job_id, attempt)))
            await ask(Complete(ADMIN, "w1", job_id, output_key=served[-1], output=THERE))
        await trio.sleep(DAY - 100)
        assert kept.shelf.deleted == []
        await trio.sleep(300)
        assert set(kept.shelf.deleted) == set(served[:2])
        assert served[2] in kept.shelf.objects


@pytest.mark.usefixtures("seldom")
async def test_without_a_setting_none_goes(tmp_path: Path, autojump_clock: Any) -> None:
    async with keeping(tmp_path, completed=10_000 * DAY) as kept:
        job_id = await kept.done("a")
        await kept.alone.ask(Retry(job_id))
        await kept.alone.ask(Claim(ADMIN, "w1", ("pdf",)))
        key = kept.shelf.put(kept.alone.book.key(job_id, 2))
        await kept.alone.ask(Complete(ADMIN, "w1", job_id, output_key=key, output=THERE))
        await trio.sleep(2 * DAY)
        assert kept.shelf.deleted == []


@pytest.mark.parametrize("pruned", [False, True])
def test_records_of_outputs_go_piece_by_piece_where_their_objects_stay(
    book: Book, monkeypatch: pytest.MonkeyPatch, pruned: bool
) -> None:
    """A hundred jobs of ten thousand outputs each were a million rows in one turn of the writer."""
    monkeypatch.setattr("actors.effects.deletions.OUTPUTS_AT_ONCE", 2)
    for name in range(6):
        book.do(submission(name))
        (job,) = book.do(Claim(ADMIN, "w1", ("pdf",))).jobs
        outputs = tuple(Output(f"{page}.md", 1) for page in range(3))
        book.do(TellOutputs(ADMIN, "w1", job.id, outputs))
        book.do(ChooseOutputs(ADMIN, "w1", job.id, outputs, True))
        key = f"{prefix_of(book.key(job.id))}0.md"
        book.do(Complete(ADMIN, "w1", job.id, output_key=key, several=Several(3, 3), result="{}"))
    if pruned:
        book.do(Prune(((JobStatus.COMPLETED, book.now + 1),), None, objects=False, limit=100))
    else:
        book.do(*(DeleteJob(number, objects=False) for number in range(1, 7)))
    assert book.probe.count("jobs") == 0
    left = [book.probe.count("outputs")]
    while book.probe.count("doomed_objects"):
        assert book.do(TakeDoomed(100)).keys == (), "no object goes"
        left.append(book.probe.count("outputs"))
    assert left == [18, 10, 6, 2, 0]
    book.counts_are_right()
