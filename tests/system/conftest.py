"""What tests of whole servers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.seaweed import Seaweed
from tests.fixtures.server import ServerProcess


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest) -> str:
    """The kind of the object store."""
    return str(request.param)


@pytest.fixture
def unstarted(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server on either object store, without a backup, that the test starts and kills as it likes."""
    settings: dict[str, str] = {}
    if store == "s3":
        seaweed: Seaweed = request.getfixturevalue("seaweed")
        settings = seaweed.settings(f"system/{tmp_path.name}")
    (tmp_path / "data").mkdir()
    process = ServerProcess(tmp_path / "data", litestream_disabled=True, **settings)
    yield process
    process.close()
