"""What pages read where there are very many types: not a statement for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from actors.messages import Claim, Complete, Sample
from blobforge.job import JobStatus
from blobforge.store.figures import KEPT
from blobforge.store.filters import JobFilter
from blobforge.store.lists import Cursor
from blobforge.store.reading import Reader
from tests.store.making import ADMIN, Book, submission

TYPES = 60
FEW = 12  # statements


@pytest.fixture
def reader(book: Book) -> Iterator[Reader]:
    """A job of each type waits, and a second one of some is completed."""
    book.register("w1")
    names = [f"type-{number:02}" for number in range(TYPES)]
    book.do(*(submission(number, type_=name, priority=1 + number % 2) for number, name in enumerate(names)))
    for name in names[:20]:
        (job,) = book.do(Claim(ADMIN, "w1", (name,))).jobs
        book.do(Complete(ADMIN, "w1", job.id))
    book.do(*(submission(f"again {name}", type_=name, priority=2) for name in names[:20]))
    with book.reader() as opened:
        yield opened


@pytest.fixture
def asked(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that the reader asks."""
    found: list[str] = []
    queries: Any = vars(reader)["_ask"]

    def noted(ask: Callable[..., Any]) -> Callable[..., Any]:
        def note(statement: str, *values: Any) -> Any:
            found.append(statement)
            return ask(statement, *values)

        return note

    for name in ("row", "rows", "each"):
        monkeypatch.setattr(queries, name, noted(getattr(queries, name)))
    return found


def test_a_page_of_jobs_asks_for_the_ranges_that_it_shows(reader: Reader, asked: list[str]) -> None:
    every = sorted((job.priority, -job.id) for job in reader.list_jobs(JobFilter(), limit=200, cursor=Cursor()).jobs)
    assert len(every) == TYPES + 20
    cursor, found = Cursor(), []
    while cursor is not None:
        asked.clear()
        page = reader.list_jobs(JobFilter(), limit=7, cursor=cursor)
        assert len(asked) <= 7 + FEW
        found += [(job.priority, -job.id) for job in page.jobs]
        cursor = page.next
    assert found == every
    waiting = reader.list_jobs(JobFilter(JobStatus.PENDING, priority=1), limit=3, cursor=Cursor()).jobs
    assert [(job.priority, -job.id) for job in waiting] == [
        place for place in every if place[0] == 1 and -place[1] in {job.id for job in waiting}
    ]


def test_statistics_are_a_few_statements(reader: Reader, asked: list[str], book: Book) -> None:
    stats = reader.stats(now=book.now)
    assert len(asked) <= FEW
    asked.clear()
    totals = reader.totals()
    assert len(asked) <= 2
    assert (totals.jobs, totals.by_priority, totals.workers) == (stats.jobs, stats.by_priority, stats.workers)
    assert reader.types.names() == sorted(stats.by_type)
    assert reader.insights.queues()[0].oldest_at == stats.oldest_pending_at


@pytest.mark.usefixtures("reader")
def test_a_sample_is_a_few_statements_for_each_width(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    do: Any = vars(book.store.rollups)["_do"]
    rows = do.rows

    def note(statement: str, *values: Any) -> Any:
        asked.append(statement)
        return rows(statement, *values)

    monkeypatch.setattr(do, "rows", note)
    assert book.do(Sample()).wait > 1
    monkeypatch.undo()
    assert len(asked) <= len(KEPT) * FEW
    newest = max(book.probe.column("depths", "slot", step=60))
    waiting = book.probe.rows("depths", "type", "n", step=60, slot=newest, status="pending")
    again = {f"type-{number:02}": 1 for number in range(TYPES)}
    assert dict(waiting) == again
    assert book.probe.rows("depths", "type", "n", step=60, slot=newest, status="online") == [("", 1)]
