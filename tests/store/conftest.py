from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.engines import ENGINES, Database
from tests.store.making import Book


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A new database of each engine. `book` is what closes it."""
    return ENGINES[request.param](tmp_path / "blobforge.db")


@pytest.fixture
def book(database: Database) -> Iterator[Book]:
    opened = Book(database)
    yield opened
    opened.close()
