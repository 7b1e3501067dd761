"""A transaction that cannot be begun leaves none open."""

from __future__ import annotations

from pathlib import Path

import pytest

from blobforge.store.errors import StoreUnavailable
from tests.fixtures.engines import ERRS, in_memory
from tests.store.making import Book, submission


def test_what_errs_behind_begin_leaves_no_transaction_open(tmp_path: Path) -> None:
    """Seen before: all others were refused from then on, until a restart."""
    database = in_memory(tmp_path)
    book = Book(database)
    asked: list[str] = []

    def second_errs(statement: str) -> str | None:
        asked.append(statement)
        return ERRS if len(asked) == 2 else None

    database.meets(second_errs)
    with pytest.raises(StoreUnavailable), book.store.transaction():
        pass
    database.meets(None)
    book.do(submission(1))
    book.counts_are_right()
    book.close()
