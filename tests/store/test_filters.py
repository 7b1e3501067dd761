"""One filter of jobs: a list, a bulk action, a page's form and a client mean the same things by the same names."""

from __future__ import annotations

import pytest

from actors.messages import Cancel
from blobforge.client import JobFilters
from blobforge.job import JobStatus
from blobforge.store.filters import JobFilter
from tests.store.making import Book, submission
from web.api import bulk, wire_bulk, wire_jobs

NAMES = set(JobFilter.__struct_fields__)
PLACES = {"cursor", "limit", "offset", "sort"}


def test_what_can_be_asked_for_has_one_list() -> None:
    in_bodies = NAMES - {"priority"} | {"only_priority"}  # `priority` is what the jobs are to get
    assert set(wire_jobs.ListQuery.__struct_fields__) - PLACES == NAMES
    assert (
        set(wire_bulk.BulkBody.__struct_fields__) - {"ids", "dry_run", "undo", "background"}
        == in_bodies
        == set(bulk.FILTERS)
    )
    assert set(JobFilters.__annotations__) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_each_part_of_it_leaves_something_out(book: Book, name: str) -> None:
    book.do(submission(1, tags=("a",), source_path="in/1.pdf", priority=2))
    book.do(submission(2, type_="ocr"))
    book.do(Cancel(1))
    another = {
        "status": JobStatus.DEAD, "priority": 5, "failure": 9, "created_since": book.now + 1, "created_until": 1,
        "updated_since": book.now + 1, "updated_until": 1, "made_by": "other",
    }  # fmt: skip
    job = book.store.job(1)
    assert job is not None
    assert JobFilter().matches(job)
    assert not JobFilter(**{name: another.get(name, "another")}).matches(job)  # type: ignore[arg-type]
