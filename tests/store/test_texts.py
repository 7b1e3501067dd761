"""A job is found by a text, whatever the index of texts holds of it by now, and without a look at all jobs."""

from __future__ import annotations

import random

import pytest

from actors.effects import texts as effect
from actors.messages import ChangeTags, Claim, DeleteJob, IndexTexts
from blobforge import texts
from blobforge.job import Job
from blobforge.store import lists
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor
from tests.store.making import ADMIN, Book, hash_of, submission

JOBS = 60
ASKED = (
    "report-7", "REPORT-07", "Straße", "STRASSE", "x/Ä", "100%", "o'clock \"now\"", "in_here", "🙂🙂🙂", "a\\b",
    "second", "half-tag", "late", "nothing of it", "w-one", "w-on", "in/", "pdf",
    "\u03c9mega-k",
)  # fmt: skip
ODD = (
    "x/Ärger.pdf", "100% of it.pdf", "o'clock \"now\" AND (not) *.pdf", "in_here/🙂🙂🙂.pdf", "Straße.pdf",
    "a\\b.pdf",
)  # fmt: skip


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page looks at hardly any job that is not found for it."""
    monkeypatch.setattr(lists, "LOOKED_FIRST", 2)
    monkeypatch.setattr(lists, "SCAN_LIMIT", 5)


def filled(book: Book) -> None:
    dice = random.Random(2)
    book.register("w-one")
    for number in range(JOBS):
        path = ODD[number] if number < len(ODD) else f"in/Report-{number:02}.pdf"
        tags = ("half-tag",) * (number % 20 == 3) + ("other",)
        book.do(submission(number, source_path=path, tags=tags, priority=dice.randint(1, 5)))
    book.do(Claim(ADMIN, "w-one", ("pdf",), limit=3))


def everything(book: Book) -> list[tuple[Job, list[str]]]:
    """All jobs, in list order, with all texts that they are found by."""
    found = []
    with book.reader() as reader:
        for job_id in book.probe.column("jobs", "id"):
            job = reader.job(job_id)
            assert job is not None
            paths = [path for _, path in reader.paths(job_id, limit=99)]
            said = [job.source_path or "", *paths, *job.tags]
            found.append((job, [text.casefold() for text in said]))
    return sorted(found, key=lambda each: (each[0].priority, -each[0].id))


def is_right(book: Book) -> None:
    """On the first page there are all, and it says so."""
    jobs = everything(book)
    with book.reader() as reader:
        for asked in (*ASKED, hash_of(9)[:8], hash_of(9).upper()):
            wanted = [
                job.id
                for job, said in jobs
                if any(asked.casefold() in text for text in said)
                or job.worker_id == asked
                or (len(asked) >= 8 and job.source_hash.startswith(asked.lower()))
            ]
            page = reader.list_jobs(JobFilter(q=asked), limit=100, cursor=Cursor())
            assert [job.id for job in page.jobs] == wanted, asked
            assert (page.total, page.exact, page.next) == (len(wanted), True, None), asked
            rest = reader.list_jobs(JobFilter(q=asked), limit=100, cursor=Cursor(3, 30))
            assert [job.id for job in rest.jobs] == [
                job.id for job, _ in jobs if job.id in wanted and (job.priority, -job.id) > (3, -30)
            ]
            by_id, _ = reader.jobs_by_id(JobFilter(q=asked), after=10, limit=100)
            assert [job.id for job in by_id] == sorted(each for each in wanted if each > 10)


def test_a_job_is_found_whatever_of_it_is_indexed(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(book)
    is_right(book)  # nothing is
    assert book.do(IndexTexts(20)) == effect.TextsIndexed(20, more=True)
    is_right(book)
    while book.do(IndexTexts(20)).more:
        pass
    with book.reader() as reader:
        assert reader.texts.unindexed(most=9) == 0
    is_right(book)
    # What is in the index says something else now, or is gone.
    book.do(submission(8, source_path="second/of-late.pdf"))
    book.do(submission(8, source_path="second/\u2126mega-\u212a.pdf"))  # the signs of Ohm and Kelvin
    book.do(ChangeTags(10, ("late",), ("other",)), ChangeTags(4, (), ("half-tag",)), DeleteJob(30))
    book.do(submission("new", source_path="in/report-7-again.pdf", tags=("late",)))
    assert sorted(book.probe.column("texts_changed", "job_id")) == [4, 9, 10, 30]
    is_right(book)
    monkeypatch.setattr(effect, "MOST_CHARACTERS", 60)  # of two or three jobs
    done = 0
    while (one := book.do(IndexTexts(20))).more:
        done += one.jobs
    assert done + one.jobs == 5
    assert book.probe.count("texts_changed") == 0
    assert book.probe.count("job_texts") == book.probe.count("jobs")
    book.do(IndexTexts(20))
    assert not book.store.wrote, "there was nothing to do"
    is_right(book)
    book.probe.counts_are_right()


def test_a_job_that_says_too_much_is_looked_at_each_time(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(book)
    monkeypatch.setattr(texts, "MOST_INDEXED", 30)  # characters
    book.do(submission(8, source_path="second/of-late.pdf"))
    while book.do(IndexTexts(20)).more:
        pass
    large = book.probe.column("texts_changed", "job_id", large=1)
    assert 9 in large
    is_right(book)
    monkeypatch.undo()
    short = ChangeTags(9, ("late",), ())
    book.do(short)
    assert book.do(IndexTexts(20)).jobs == 1  # it is small enough by now
    assert book.probe.column("texts_changed", "job_id") == [each for each in large if each != 9]


def test_a_job_that_changes_before_it_is_indexed_is_indexed_once(book: Book) -> None:
    filled(book)
    book.do(ChangeTags(1, ("late",), ()))
    book.do(submission(8, source_path="second/of-late.pdf"))
    while book.do(IndexTexts(JOBS)).more:
        pass
    assert book.probe.count("texts_changed") == 0
    assert book.probe.count("job_texts") == JOBS
    is_right(book)


def test_a_job_that_gets_its_first_path_later_is_found_by_it(book: Book) -> None:
    filled(book)
    book.do(submission("unnamed"))
    while book.do(IndexTexts(50)).more:
        pass
    book.do(submission("unnamed", source_path="named/only-later.pdf"))
    with book.reader() as reader:
        (found,) = reader.list_jobs(JobFilter(q="only-later"), limit=9, cursor=Cursor()).jobs
    assert found.source_path == "named/only-later.pdf"
    is_right(book)


def test_where_many_have_it_they_are_not_counted(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(book)
    while book.do(IndexTexts(50)).more:
        pass
    monkeypatch.setattr(lists, "MOST_VERIFIED", 9)
    monkeypatch.setattr(lists, "SCAN_LIMIT", 50)
    wanted = [job.id for job, said in everything(book) if any("report-1" in text for text in said)]
    with book.reader() as reader:
        first = reader.list_jobs(JobFilter(q="report-1"), limit=6, cursor=Cursor())
        assert (first.total, first.exact, first.next is not None) == (7, False, True)
        assert first.next is not None
        second = reader.list_jobs(JobFilter(q="report-1"), limit=6, cursor=first.next)
        assert second.next is None
    assert [job.id for job in (*first.jobs, *second.jobs)] == wanted


def test_where_very_many_may_have_it_the_jobs_are_walked(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(book)
    while book.do(IndexTexts(50)).more:
        pass
    monkeypatch.setattr(lists, "MOST_FOUND", 10)
    wanted = [job.id for job, said in everything(book) if any("report" in text for text in said)]
    found: list[int] = []
    cursor: Cursor | None = Cursor()
    with book.reader() as reader:
        while cursor is not None:
            page = reader.list_jobs(JobFilter(q="report"), limit=7, cursor=cursor)
            assert not page.exact
            found += [job.id for job in page.jobs]
            cursor = page.next
    assert found == wanted


@pytest.mark.parametrize(("text", "job_id"), [("12", 12), (" #12 ", 12), ("#", None), ("1.2", None), ("²", None)])
def test_a_number_in_the_box_is_a_jobs(text: str, job_id: int | None) -> None:
    assert texts.job_id(text) == job_id
    assert texts.job_id("9" * 30) is None
