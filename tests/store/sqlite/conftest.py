from __future__ import annotations

from pathlib import Path

import pytest

from tests.fixtures.engines import Database, on_disk


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """SQLite on a disk: what is tested here is its alone."""
    return on_disk(tmp_path / "blobforge.db")
